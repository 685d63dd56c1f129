"""A task about label maps with the maps of its splits."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from surgrec_jax.evaluation.features.maps import Maps
from surgrec_jax.evaluation.metrics import maps as metrics
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask, Split
from surgrec_jax.evaluation.tasks.task import (
    RefusedTaskError,
    Task,
    check_empty,
    check_splits,
    leaks,
)
from surgrec_jax.records.maps import VOID, Kind

DEPTH = ("depth",)  # the one "class" of a map of depths


@dataclasses.dataclass(frozen=True)
class LabelledMaps(LabelledTask):
    """A task whose units are frames with a map.

    The labels of a split are int [n, C], whether each class is in a frame; its scores are the parts
    of `metrics.maps`.

    Attributes:
        maps: split -> the maps of its rows.
    """

    maps: Mapping[str, Maps] = dataclasses.field(default_factory=dict)

    @property
    def depth(self) -> bool:
        return self.task.kind == "depth"

    def truth(self, split: str, rows: np.ndarray) -> np.ndarray:
        """The truth of rows of a split: ids uint8 [b, M, M], or millimetres float32."""
        of_split = self.maps[split]
        if not self.depth:
            return of_split.values[rows]
        scale = of_split.millimetres[rows].astype(np.float32)
        return of_split.values[rows] * scale[:, None, None]

    def parts(self, split: str, rows: np.ndarray, predictions: np.ndarray) -> np.ndarray:
        """The parts [b, K] of predicted maps [b, M, M] of rows of a split."""
        pairs = zip(self.truth(split, rows), predictions, strict=True)
        if self.depth:
            return np.stack([metrics.depth_parts(true, found) for true, found in pairs])
        return np.stack([metrics.class_parts(true, found, self.classes) for true, found in pairs])

    def score(self, metric: str, split: Split, scores: np.ndarray) -> float:
        """A metric of the parts [U, K] of a split's frames, of which each case counts once."""
        cases, index = np.unique(split.case_id, return_inverse=True)
        once = np.ones((1, len(cases)))
        return float(registry.score(metric, split.labels, scores, index, once)[0])


def label_maps(
    task: Task, kinds: Mapping[str, Kind], splits: Mapping[str, Maps], *, clean: bool = True
) -> LabelledMaps:
    """The task with the maps of its splits; frames without a known pixel are left out.

    Args:
        kinds: the maps of the source: name -> classes, or None for depths.
        splits: split -> its maps of this task.
        clean: as for `label_task`.

    Raises:
        LeakedSplitError, RefusedTaskError: as `label_task`.
    """
    classes = classes_of(task, kinds)
    parts, maps = [], {}
    for name in task.splits:
        of_split = splits[name]
        values = of_split.values
        each = [_present(frame, task, len(classes)) for frame in values]
        present = np.array(each, np.int64).reshape(-1, len(classes))
        rows = np.flatnonzero(present.any(1))
        maps[name] = Maps(**{k: v[rows] for k, v in vars(of_split).items()})
        kept = maps[name]
        unlabelled = len(np.unique(of_split.video_id)) - len(np.unique(kept.video_id))
        ids = kept.case_id, kept.video_id, kept.ends[:, 0], kept.ends[:, 1], kept.time
        parts.append(Split(rows, present[rows], *ids, len(values) - len(rows), unlabelled))
    cases = {name: part.case_id for name, part in zip(task.splits, parts, strict=True)}
    (check_splits if clean else check_empty)(task, cases)
    return LabelledMaps(task, classes, *parts, tuple(leaks(task, cases)), maps)


def classes_of(task: Task, kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """The classes of a task's map; raises RefusedTaskError where the source has no such map."""
    if task.track not in kinds or (kinds[task.track] is None) != (task.kind == "depth"):
        there = ", ".join(f"{k} ({'depth' if v is None else 'classes'})" for k, v in kinds.items())
        raise RefusedTaskError(
            f"task {task.name}: {task.source} has no {task.kind} map {task.track!r}; it has: "
            f"{there or 'none'}"
        )
    return DEPTH if kinds[task.track] is None else tuple(kinds[task.track])


def _present(frame: np.ndarray, task: Task, classes: int) -> np.ndarray:
    if task.kind == "depth":
        return np.array([int((frame > 0).any())])
    return (np.bincount(frame[frame != VOID], minlength=classes) > 0).astype(np.int64)
