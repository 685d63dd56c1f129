"""The probing procedure for one task: train on train, choose on validation, score test cases.

A seed changes which training examples count (`resample`), and the head's initial values. The test
clips never change. So the spread over seeds is the noise of training the probe, and the
bootstrap interval over test cases is the noise of the test; both are reported.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features import baselines
from surgrec_jax.evaluation.features.extraction import joined
from surgrec_jax.evaluation.heads.registry import HEADS, Rows
from surgrec_jax.evaluation.tasks.folds import places
from surgrec_jax.evaluation.tasks.labelled_task import (
    LabelledTask,
    Split,
    missing_classes,
    one_hot,
    train_weights,
)
from surgrec_jax.evaluation.tasks.task import RefusedTaskError


@dataclasses.dataclass(frozen=True)
class Answer:
    """Test scores of one model with one head.

    Attributes:
        scores: float [S, U, C], one per seed.
        chosen: hyper-parameter chosen on validation cases, one per seed.
        validation: validation score of the chosen one, one per seed.
        missing: number of test classes without a training example, one per seed.
        train_cases: training cases that counted, one number per seed.
        shown: of maps, the (units, predictions) of some frames by the first seed.
    """

    scores: np.ndarray
    chosen: tuple[float | str, ...] = ()
    validation: tuple[float, ...] = ()
    missing: tuple[int, ...] = ()
    train_cases: tuple[int, ...] = ()
    shown: tuple[np.ndarray, ...] = ()

    @classmethod
    def of_seed(
        cls,
        labelled: LabelledTask,
        weights: np.ndarray,
        scores: np.ndarray,
        chosen: float | str,
        validation: float,
        shown: tuple[np.ndarray, ...] = (),
    ) -> "Answer":
        """The answer of one seed, whose training examples had weights [n], by scores [U, C]."""
        missing = missing_classes(labelled, weights)
        cases = len(np.unique(labelled.train.case_id[weights > 0]))
        return cls(scores[None], (chosen,), (float(validation),), (missing,), (cases,), shown)

    def joined(self, other: "Answer") -> "Answer":
        """Both answers' seeds together (for several random initialisations)."""
        scores = np.concatenate([self.scores, other.scores])
        return dataclasses.replace(_chosen_of_both(self, other), scores=scores)


def _rows(split: Split, features: np.ndarray) -> Rows:
    """The labelled clips of a split, as heads take them."""
    return Rows(features[split.rows], split.video_id, split.time)


def _concatenate(first: Rows, second: Rows) -> Rows:
    """The clips of both, in this order."""
    return Rows(
        joined([first.features, second.features]),
        np.concatenate([first.video_id, second.video_id]),
        np.concatenate([first.time, second.time]),
    )


def run_head(
    head: str,
    labelled: LabelledTask,
    features: Mapping[str, np.ndarray],
    *,
    seeds: Sequence[int],
    resample: str = "cases",
    share: float = 1.0,
) -> Answer:
    """Trains a head per seed, chooses its hyper-parameter on validation cases, scores test units.

    Args:
        head: a name in HEADS.
        labelled: the task with its labels.
        features: split name -> float [M, D], rows as in the Features that the task was labelled by.
        seeds: probe seeds.
        resample: see train_weights.
        share: of the training cases that are drawn per seed (few-shot); 1 = all, resampled as
            `resample` says.

    Raises:
        ValueError: unknown head, NaN features, or a metric that is undefined on the validation
            cases.
    """
    if head not in HEADS:
        raise ValueError(f"unknown head {head!r}; known: {', '.join(HEADS)}")
    task = labelled.task
    names = dict(zip(("train", "validation", "test"), task.splits, strict=True))
    clips = {role: _rows(getattr(labelled, role), features[name]) for role, name in names.items()}
    queries, cut = _concatenate(clips["validation"], clips["test"]), len(clips["validation"])
    targets = one_hot(labelled, labelled.train.labels)
    answers = []
    for seed in seeds:
        weights = train_weights(labelled, seed, resample, share)
        values, scores = HEADS[head](
            clips["train"], targets, weights, queries, task.multi_label, seed
        )
        pooled = labelled.pool(labelled.validation, scores[:, :cut])
        quality = np.array([labelled.score(task.metric, labelled.validation, s) for s in pooled])
        if np.isnan(quality).all():
            raise RefusedTaskError(
                f"task {task.name}: {task.metric} is undefined on the validation cases; it cannot "
                "choose a hyper-parameter"
            )
        quality = np.nan_to_num(quality, nan=-np.inf)
        best = len(quality) - 1 - int(np.argmax(quality[::-1]))  # ties: the most regularised
        test = labelled.pool(labelled.test, scores[best, cut:])
        answers.append(Answer.of_seed(labelled, weights, test, values[best], quality[best]))
    return functools.reduce(Answer.joined, answers)


def stitched(labelled: LabelledTask, answers: Sequence[Answer]) -> Answer:
    """The answers to the folds of a task as one: each unit by heads that never saw its case."""
    seeds, _, columns = answers[0].scores.shape
    units, _ = labelled.units(labelled.test)
    scores = np.full((seeds, len(units), columns), np.nan)
    for fold, answer in zip(labelled.folds, answers, strict=True):
        scores[:, places(labelled, fold)] = answer.scores
    return dataclasses.replace(functools.reduce(_chosen_of_both, answers), scores=scores)


def _chosen_of_both(first: Answer, second: Answer) -> Answer:
    fields = ("chosen", "validation", "missing", "train_cases")
    both = {name: getattr(first, name) + getattr(second, name) for name in fields}
    return dataclasses.replace(first, **both)


def majority(labelled: LabelledTask) -> Answer:
    """The majority class (or the labels' rates) of the training split's units, as answer.

    Where videos are scored they count once each, however long they are.
    """
    if labelled.folds:
        return stitched(labelled, [majority(fold) for fold in labelled.folds])
    (training, _), (labels, _) = labelled.units(labelled.train), labelled.units(labelled.test)
    row = baselines.majority_scores(
        training, len(labels), len(labelled.classes), labelled.task.multi_label
    )
    return Answer(row[None])
