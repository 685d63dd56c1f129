"""Probing tasks, declared and not coded: which labels of which source, in what unit, scored how."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation import metrics

UNITS = ("clip", "video")


class LeakedSplitError(ValueError):
    """Two splits of a task share cases: its scores would measure memory."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of frozen features.

    Attributes:
      name: of the task, unique within a source.
      source: name of the data set.
      track: a label track or a per-video label. A pattern with `*` ("instrument_*")
        makes the task multi-label over the matching binary tracks (class 1 = present).
      metric: headline metric, one of metrics.METRICS.
      unit: "clip" scores every clip; "video" averages the clips' probabilities per video first.
      splits: names of the train, validation and test splits.
    """

    name: str
    source: str
    track: str
    metric: str = "balanced_accuracy"
    unit: str = "clip"
    splits: tuple[str, str, str] = ("train", "val", "test")

    def __post_init__(self):
        allowed = metrics.metrics_for(self.multi_label)
        if self.metric not in allowed:
            kind = "multi-label" if self.multi_label else "one class per example"
            raise ValueError(
                f"task {self.name}: metric {self.metric!r} does not fit ({kind}: "
                f"{', '.join(allowed)})"
            )
        if self.unit not in UNITS:
            raise ValueError(f"task {self.name}: unit {self.unit!r} is not one of {UNITS}")

    @property
    def multi_label(self) -> bool:
        return "*" in self.track

    def tracks(self, available: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Names of this task's tracks among `available` (name -> class names).

        Raises:
          ValueError: none matches, or a track of a multi-label task is not binary.
        """
        names = tuple(sorted(fnmatch.filter(available, self.track)))
        if not names:
            raise ValueError(
                f"task {self.name}: {self.source} has no label {self.track!r}; it has: "
                f"{', '.join(sorted(available))}"
            )
        if self.multi_label:
            for name in names:
                if len(available[name]) != 2:
                    raise ValueError(
                        f"task {self.name}: track {name} has {len(available[name])} classes, "
                        "a multi-label task needs (absent, present)"
                    )
        return names

    def classes(self, available: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Class names in the order of the score columns."""
        names = self.tracks(available)
        if not self.multi_label:
            return tuple(available[names[0]])
        prefix = self.track.split("*")[0]
        return tuple(name.removeprefix(prefix) for name in names)


TASKS: dict[str, tuple[Task, ...]] = {
    "phantom_surgery": (
        Task("phase", "phantom_surgery", "phase"),
        Task("action", "phantom_surgery", "action"),
        Task("instruments", "phantom_surgery", "instrument_*", metric="mean_average_precision"),
        Task("skill", "phantom_surgery", "skill", unit="video"),
        Task("domain", "phantom_surgery", "domain"),
    ),
}


def select_tasks(source: str, names: Sequence[str]) -> tuple[Task, ...]:
    """The declared tasks of `source` with these names, in this order; ("all",) gives all of
    them."""
    if source not in TASKS:
        raise ValueError(f"no tasks are declared for {source!r}; declared: {', '.join(TASKS)}")
    declared = {task.name: task for task in TASKS[source]}
    if tuple(names) == ("all",):
        return TASKS[source]
    unknown = [name for name in names if name not in declared]
    if unknown or not names:
        raise ValueError(
            f"{source} has no task {', '.join(map(repr, unknown)) or '(none given)'}; "
            f"choose from: {', '.join(declared)} or all"
        )
    return tuple(declared[name] for name in names)


def check_splits(task: Task, cases: Mapping[str, np.ndarray]) -> None:
    """Refuses a task whose splits share cases, or one of whose splits has none.

    Args:
      task: the task.
      cases: split name -> case ids of its labelled examples.

    Raises:
      LeakedSplitError: a case stands in two splits; the message names the splits and the cases.
      ValueError: a split has no labelled example.
    """
    sets = {split: set(np.unique(cases[split]).tolist()) for split in task.splits}
    for split, found in sets.items():
        if not found:
            raise ValueError(
                f"task {task.name} refused: {task.source} has no example labelled with "
                f"{task.track!r} in split {split}"
            )
    for i, first in enumerate(task.splits):
        for second in task.splits[i + 1 :]:
            shared = sorted(sets[first] & sets[second])
            if shared:
                some = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
                raise LeakedSplitError(
                    f"task {task.name} refused: {len(shared)} of the {len(sets[second])} cases of "
                    f"{second} are also in "
                    f"{first} ({some}); split {task.source} by case"
                )
