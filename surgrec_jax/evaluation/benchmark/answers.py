"""The answers of one column of the table to one task.

They come from heads on its features, from its own classifier where it was fine-tuned, or from the
majority class.
"""

import fnmatch
import functools
from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED, PROBABILITIES, TOKENS, Column
from surgrec_jax.evaluation.features.baselines import fit_pca
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.heads.registry import HEADS
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.heads.run_head import Answer, majority, run_head, stitched
from surgrec_jax.evaluation.tasks.folds import ALL
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task


def answer_task(
    labelled: LabelledTask,
    column: Column,
    features: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> dict[str, Answer]:
    """Row of the table -> answer of a column.

    Args:
        features: split -> feature name -> features.

    Raises:
        UserError: as `run_head`.
        RefusedTaskError: under a protocol that trains whole encoders, a column whose
            classifier cannot answer the task.
    """
    if column.kind == "majority":
        rows = [row for row, _, _ in settings.rows(labelled.task)] or [FINE_TUNED]
        return dict.fromkeys(rows, majority(labelled))
    answers = _classify(labelled, column, features)
    if settings.rules.finetune and not answers:
        why = unfit(column, labelled.task, labelled.classes)
        raise RefusedTaskError(why or f"{column.name} was not trained on this task")
    for row, head, share in settings.rows(labelled.task):
        suffix = TOKENS if HEADS[head].tokens else ""
        parts = [
            _run_head(head, labelled, column, name + suffix, features, settings, share)
            for name in column.encoders
        ]
        answers[row] = functools.reduce(Answer.joined, parts)
    return answers


def _run_head(head, labelled, column, name, features, settings, share) -> Answer:
    """A head's answer; under cross-validation those of its folds together."""
    options = {"seeds": range(settings.seeds), "resample": settings.train_resample, "share": share}
    if not labelled.folds:
        rows = {split: features[split][name].features for split in labelled.task.splits}
        return run_head(head, labelled, rows, **options)
    answers = []
    for fold in labelled.folds:
        if column.kind == "pixels":  # whose components are of the fold's training clips alone
            pixels = features[ALL][name.removesuffix(TOKENS)].features
            rows = fit_pca(pixels[fold.train.rows])(pixels)
            rows = rows[:, None] if name.endswith(TOKENS) else rows
        else:
            rows = features[ALL][name].features
        answers.append(run_head(head, fold, {ALL: rows}, **options))
    return stitched(labelled, answers)


def unfit(column: Column, task: Task, classes: Sequence[str]) -> str:
    """Why the column's own classifier cannot answer the task; empty where it can or there is none.

    It has other classes, or was trained on the labels of another frame of the clip.
    """
    classifier = column.classifier
    if not _learnt(column, task):
        return ""
    if classifier.classes != tuple(classes) or classifier.multi_label != task.multi_label:
        return (
            f"{column.name} was fine-tuned on the classes {', '.join(classifier.classes)}, task "
            f"{task.name} of {task.source} has {', '.join(classes)}: its classifier is not asked "
            f"(fine-tune on {task.source})"
        )
    if task.unit == "video" or classifier.frame == task.frame:
        return ""
    return (
        f"{column.name} was fine-tuned on the label of a clip's {classifier.frame} frame, "
        f"task {task.name} of {task.source} scores that of the {task.frame} one: its classifier "
        f"is not asked (fine-tune with --config.classify.frame={task.frame})"
    )


def _learnt(column: Column, task: Task) -> bool:
    """Whether the column has a classifier of the task's labels."""
    classifier = column.classifier
    return classifier is not None and all(
        fnmatch.fnmatch(track, task.track) for track in classifier.tracks
    )


def _classify(
    labelled: LabelledTask, column: Column, features: Mapping[str, Mapping[str, Features]]
) -> dict[str, Answer]:
    """The answer of the column's classifier, where it fits the task."""
    task = labelled.task
    if labelled.folds or not _learnt(column, task) or unfit(column, task, labelled.classes):
        return {}  # the encoder is probed all the same, and the notes say why
    probabilities = features[task.splits[-1]][column.name + PROBABILITIES]
    scores = labelled.pool(labelled.test, probabilities.features[labelled.test.rows])
    return {FINE_TUNED: Answer(scores[None])}
