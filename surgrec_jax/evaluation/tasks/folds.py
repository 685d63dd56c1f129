"""Cross-validation over cases, for sets too small for a test split of their own.

Every case is tested once, by heads that were trained on the cases of other folds, with
hyper-parameters chosen on those of the next fold. The splits of the data set play no part.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features.extraction import Features, concatenate
from surgrec_jax.evaluation.tasks.labelled_task import (
    LabelledTask,
    Split,
    check_classes,
    label_split,
)
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task, check_empty

ALL = "all splits"


def pooled(splits: Mapping[str, Mapping[str, Features]]) -> dict[str, dict[str, Features]]:
    """The clips of all splits as one, named ALL: split -> feature name -> features, as given.

    Records are numbered on from one split to the next.
    """
    names = next(iter(splits.values()))
    return {ALL: {name: _joined([of[name] for of in splits.values()]) for name in names}}


def _joined(parts: Sequence[Features]) -> Features:
    counts = [int(part.record.max(initial=-1)) + 1 for part in parts]
    firsts = np.cumsum([0, *counts[:-1]])
    return concatenate([
        dataclasses.replace(part, record=part.record + first)
        for part, first in zip(parts, firsts, strict=True)
    ])  # fmt: skip


def label_folds(
    task: Task, available: Mapping[str, Sequence[str]], clips: Features, folds: int
) -> LabelledTask:
    """The task with all its cases as test, and a task per fold.

    Args:
        available: label name -> class names of the source.
        clips: those of ALL, see `pooled`.
        folds: how many parts of the cases, at least 3.

    Raises:
        RefusedTaskError: fewer labelled cases than folds, or as `label_task`.
    """
    task = dataclasses.replace(task, splits=(ALL, ALL, ALL))
    whole, classes = label_split(task, available, clips), task.classes(available)
    check_empty(task, {ALL: whole.case_id})
    cases = np.unique(whole.case_id)
    if len(cases) < folds:
        raise RefusedTaskError(
            f"task {task.name} refused: {len(cases)} labelled cases are too few for folds={folds}; "
            f"give --config.folds={len(cases)} or less, and at least 3"
        )
    fold_of = _dealt(whole, folds)[np.searchsorted(cases, whole.case_id)]
    parts = []
    for fold in range(folds):
        test, chosen = fold_of == fold, fold_of == (fold + 1) % folds
        splits = (whole.where(mask) for mask in (~test & ~chosen, chosen, test))
        parts.append(LabelledTask(task, classes, *splits))
        check_classes(parts[-1])
    labelled = LabelledTask(
        task, classes, parts[0].train, parts[0].validation, whole, folds=tuple(parts)
    )
    labelled.units(whole)
    return labelled


def _dealt(whole: Split, folds: int) -> np.ndarray:
    """The fold int [cases] of each case: dealt out in the order of mean labels, ties at random.

    So a class that whole cases have stands in as many folds as it can.
    """
    cases, index = np.unique(whole.case_id, return_inverse=True)
    labels = whole.labels.reshape(len(index), -1).mean(1)
    means = np.bincount(index, labels) / np.bincount(index)
    ties = np.random.default_rng([folds, 107]).random(len(cases))
    place = np.empty(len(cases), int)
    place[np.lexsort((ties, means.round(6)))] = np.arange(len(cases)) % folds
    return place


def places(labelled: LabelledTask, fold: LabelledTask) -> np.ndarray:
    """The positions int [u] of a fold's test units among those of the whole task."""
    if labelled.task.unit == "video":
        return np.searchsorted(np.unique(labelled.test.video_id), np.unique(fold.test.video_id))
    return np.searchsorted(labelled.test.rows, fold.test.rows)
