"""The probing procedure for one task: train heads on training cases, choose on validation cases,
score test cases.

What a seed changes: which training examples count (`resample`), and the head's initial values. The
test clips never change. So the spread over seeds is the noise of training the probe, and the
bootstrap interval over test cases is the noise of the test; both are reported.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation import baselines, knn, linear, metrics
from surgrec_jax.evaluation.features import Features
from surgrec_jax.evaluation.tasks import Task, check_splits

RESAMPLE = ("cases", "clips", "none")
_MAX_DRAWS = 1000


@dataclasses.dataclass(frozen=True)
class Split:
    """Labelled clips of one split.

    Attributes:
      rows: int [n], positions among the split's features.
      labels: int [n], or [n, K] of 1, 0, -1 for multi-label.
      case_id, video_id: text [n].
      record, view: int [n].
    """

    rows: np.ndarray
    labels: np.ndarray
    case_id: np.ndarray
    video_id: np.ndarray
    record: np.ndarray
    view: np.ndarray


@dataclasses.dataclass(frozen=True)
class Problem:
    """A task with the labels of its three splits; the same for every encoder that sees the same
    clips."""

    task: Task
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

    @property
    def unseen(self) -> tuple[str, ...]:
        """Classes of the test split without a training example. They stay in the test and count as
        errors."""
        if self.task.multi_label:
            taught = (self.train.labels == 1).any(0)
            asked = (self.test.labels == 1).any(0)
        else:
            ids = np.arange(len(self.classes))
            taught, asked = np.isin(ids, self.train.labels), np.isin(ids, self.test.labels)
        return tuple(np.asarray(self.classes)[asked & ~taught].tolist())

    def units(self, split: Split) -> tuple[np.ndarray, np.ndarray]:
        """Labels [U] or [U, K] and case ids [U] of what is scored: clips, or videos for unit
        "video"."""
        if self.task.unit == "clip":
            return split.labels, split.case_id
        _, first, group = np.unique(split.video_id, return_index=True, return_inverse=True)
        if (split.labels != split.labels[first][group]).any():
            raise ValueError(
                f"task {self.task.name} has unit video, but {self.task.track!r} changes within a "
                "video"
            )
        return split.labels[first], split.case_id[first]

    def pool(self, split: Split, scores: np.ndarray) -> np.ndarray:
        """Scores of clips [..., n, C] -> of units [..., U, C]: the mean over a video's clips for
        unit "video"."""
        if self.task.unit == "clip":
            return scores
        _, group = np.unique(split.video_id, return_inverse=True)
        member = (group[None] == np.arange(group.max() + 1)[:, None]).astype(np.float64)  # [U, n]
        return (member / member.sum(1, keepdims=True)) @ scores


def build_problem(
    task: Task, available: Mapping[str, Sequence[str]], splits: Mapping[str, Features]
) -> Problem:
    """Labels of `task` in its splits; clips without a label are left out.

    Args:
      task: the task.
      available: label name -> class names of the source.
      splits: split name -> features (only labels and ids are used here).

    Raises:
      LeakedSplitError: splits share cases.
      ValueError: no such label, a split without a labelled clip, a label that changes within a
        video of a task with that unit, or a training split with one class.
    """
    tracks = task.tracks(available)
    parts = []
    for name in task.splits:
        found = splits[name]
        columns = np.stack([found.labels[track] for track in tracks], 1)  # [M, K]
        rows = np.flatnonzero((columns >= 0).any(1))
        labels = columns[rows] if task.multi_label else columns[rows, 0]
        fields = (found.case_id, found.video_id, found.record, found.view)
        parts.append(Split(rows, labels, *(field[rows] for field in fields)))
    check_splits(task, {name: part.case_id for name, part in zip(task.splits, parts, strict=True)})
    problem = Problem(task, task.classes(available), *parts)
    for part in parts:
        problem.units(part)  # finds a label that changes within a unit before any training
    if not task.multi_label and len(np.unique(problem.train.labels)) < 2:
        raise ValueError(f"task {task.name} refused: the training split has one class only")
    return problem


def _one_hot(problem: Problem, labels: np.ndarray) -> np.ndarray:
    """Targets float [n, C]; NaN where a label of a multi-label task is unknown."""
    if problem.task.multi_label:
        return np.where(labels < 0, np.nan, labels.astype(np.float64))
    return np.eye(len(problem.classes))[labels]


def train_weights(problem: Problem, seed: int, resample: str) -> np.ndarray:
    """How often each training example counts for this probe seed: float [n].

    "cases": training cases drawn with replacement. "clips": one random clip of each stored record.
    "none": all once. Draws that lose a class of the training split (or all labels of one column)
    are drawn again.

    Raises:
      ValueError: unknown mode, or no such draw in 1000.
    """
    split = problem.train
    if resample not in RESAMPLE:
        raise ValueError(f"train_resample {resample!r} is not one of {', '.join(RESAMPLE)}")
    if resample == "none":
        return np.ones(len(split.labels))
    rng = np.random.default_rng([seed, 101])
    targets = _one_hot(problem, split.labels)
    # Columns that must keep weight: each class, or each label's positives and its known entries.
    need = np.concatenate([np.nan_to_num(targets), ~np.isnan(targets)], 1) > 0
    need = need[:, need.any(0)].astype(np.float64)
    cases, case_index = np.unique(split.case_id, return_inverse=True)
    records, record_index = np.unique(split.record, return_inverse=True)
    for _ in range(_MAX_DRAWS):
        if resample == "cases":
            drawn = np.bincount(rng.integers(len(cases), size=len(cases)), minlength=len(cases))
            weights = drawn[case_index].astype(np.float64)
        else:
            order = rng.permutation(len(split.labels))
            _, first = np.unique(record_index[order], return_index=True)
            weights = np.zeros(len(split.labels))
            weights[order[first]] = 1.0
        if (weights @ need > 0).all():
            return weights
    raise ValueError(
        f"task {problem.task.name}: no draw of {resample} in {_MAX_DRAWS} keeps every training "
        "class "
        f"({len(cases)} cases, {len(records)} records); use train_resample=none"
    )


# A head: (train, targets, weights, queries, multi_label, seed) -> (hyper-parameter values, scores
# [G, M, C]), from the least to
# the most regularised.
Head = Callable[..., tuple[tuple[float, ...], np.ndarray]]


def _linear(train, targets, weights, queries, multi_label, seed):
    models = linear.fit_logistic(
        train, targets, multi_label=multi_label, weights=weights, seed=seed
    )
    return linear.L2_GRID, models.scores(queries)


def _ridge(train, targets, weights, queries, multi_label, seed):
    return linear.L2_GRID, linear.fit_ridge(train, targets, weights=weights).scores(queries)


def _knn(train, targets, weights, queries, multi_label, seed):
    return knn.NEIGHBOURS, knn.knn_scores(train, targets, queries, weights=weights)


HEADS: dict[str, Head] = {"linear": _linear, "ridge": _ridge, "knn": _knn}


@dataclasses.dataclass(frozen=True)
class Answer:
    """Test scores of one model with one head.

    Attributes:
      scores: float [S, U, C], one per seed.
      chosen: hyper-parameter chosen on validation cases, one per seed.
      validation: validation score of the chosen one, one per seed.
    """

    scores: np.ndarray
    chosen: tuple[float, ...] = ()
    validation: tuple[float, ...] = ()

    def joined(self, other: "Answer") -> "Answer":
        """Both answers' seeds together (for several random initialisations)."""
        return Answer(
            np.concatenate([self.scores, other.scores]),
            self.chosen + other.chosen,
            self.validation + other.validation,
        )


def run_head(
    head: str,
    problem: Problem,
    features: Mapping[str, np.ndarray],
    *,
    seeds: Sequence[int],
    resample: str = "cases",
) -> Answer:
    """Trains a head per seed, chooses its hyper-parameter on validation cases and scores the test
    units.

    Args:
      head: a name in HEADS.
      problem: the task.
      features: split name -> float [M, D], rows as in the Features the problem was built from.
      seeds: probe seeds.
      resample: see train_weights.

    Raises:
      ValueError: unknown head, NaN features, or a metric that is undefined on the validation cases.
    """
    if head not in HEADS:
        raise ValueError(f"unknown head {head!r}; known: {', '.join(HEADS)}")
    task = problem.task
    names = dict(zip(("train", "validation", "test"), task.splits, strict=True))
    train = features[names["train"]][problem.train.rows]
    held = [features[names[s]][getattr(problem, s).rows] for s in ("validation", "test")]
    queries, cut = np.concatenate(held), len(held[0])
    targets = _one_hot(problem, problem.train.labels)
    truth, _ = problem.units(problem.validation)
    answers = []
    for seed in seeds:
        weights = train_weights(problem, seed, resample)
        values, scores = HEADS[head](train, targets, weights, queries, task.multi_label, seed)
        pooled = problem.pool(problem.validation, scores[:, :cut])
        quality = np.array([float(metrics.score(task.metric, truth, s)) for s in pooled])
        if np.isnan(quality).all():
            raise ValueError(
                f"task {task.name}: {task.metric} is undefined on the validation cases (no class "
                "to average); "
                "it cannot choose a hyper-parameter"
            )
        quality = np.nan_to_num(quality, nan=-np.inf)
        best = len(quality) - 1 - int(np.argmax(quality[::-1]))  # ties: the most regularised
        test = problem.pool(problem.test, scores[best, cut:])
        answers.append(Answer(test[None], (float(values[best]),), (float(quality[best]),)))
    return functools.reduce(Answer.joined, answers)


def majority(problem: Problem) -> Answer:
    """Answer of the majority class (or the labels' rates) of the training split."""
    labels, _ = problem.units(problem.test)
    row = baselines.majority_scores(
        problem.train.labels, len(labels), len(problem.classes), problem.task.multi_label
    )
    return Answer(row[None])
