"""Probing tasks, declared and not coded: which labels of which source, in what unit, scored how.

The list of declared tasks is `task_list.TASKS`.
"""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features.clips import LAST
from surgrec_jax.evaluation.metrics import maps as metrics_maps
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.safety.errors import UserError

UNITS = ("clip", "frame", "video", "pixel")
KINDS = (
    *("phase", "step", "gesture", "action", "instruments", "triplets"),
    *("finding", "polyp", "skill", "event", "domain", "segmentation", "depth", "other"),
)


class RefusedTaskError(UserError, ValueError):
    """A task that cannot be scored on a data set or for a column; tables list the reason."""


class LeakedSplitError(RefusedTaskError):
    """Two splits of a task share cases: its scores would measure memory."""


@dataclasses.dataclass(frozen=True)
class Task:
    """One question asked of frozen features.

    Attributes:
        name: of the task, unique within a source.
        source: name of the data set, or name/config.
        track: a label track or a per-video label. A pattern with `*` ("instrument_*")
            makes the task multi-label over the matching binary tracks (class 1 = present).
        metric: headline metric, one of metrics.METRICS.
        unit: "clip" scores every clip by the label of its centre frame. "frame" is online
            recognition along a video: a clip ends at the frame it is scored by, so that nothing
            after it is seen. "video" averages the clips' probabilities per video first. "pixel"
            asks for a label map: the track is a map, a clip ends at the frame that has one.
        splits: names of the train, validation and test splits.
        kind: what is asked, one of KINDS; for the report and for questions in words.
        domain: of the source, for the report.
        ordered: the classes are a scale (novice < intermediate < expert).
    """

    name: str
    source: str
    track: str
    metric: str = "balanced_accuracy"
    unit: str = "clip"
    splits: tuple[str, str, str] = ("train", "val", "test")
    kind: str = "other"
    domain: str = "any"
    ordered: bool = False

    def __post_init__(self):
        if self.unit not in UNITS:
            raise ValueError(f"task {self.name}: unit {self.unit!r} is not one of {UNITS}")
        if self.kind not in KINDS:
            raise ValueError(f"task {self.name}: kind {self.kind!r} is not one of {KINDS}")
        if self.metric not in self.metrics or self.metric in metrics_maps.ERRORS:
            kind = (
                self.kind
                if self.unit == "pixel"
                else "multi-label"
                if self.multi_label
                else "one class per example"
            )
            raise ValueError(
                f"task {self.name}: metric {self.metric!r} does not fit ({kind}, unit {self.unit}: "
                f"{', '.join(self.metrics)})"
            )

    @property
    def title(self) -> str:
        """Its name in reports."""
        return f"{self.source}: {self.name}"

    @property
    def frame(self) -> str:
        """Of a clip, whose label scores it: "last" for unit "frame", else "centre"."""
        return "last" if self.unit in ("frame", "pixel") else "centre"

    @property
    def multi_label(self) -> bool:
        """Whether an example may have several labels; a frame shows several classes of a map."""
        return "*" in self.track or self.unit == "pixel"

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics that fit it."""
        if self.unit == "pixel":
            return tuple(metrics_maps.DEPTH if self.kind == "depth" else metrics_maps.SEGMENTATION)
        return registry.metrics_for(
            self.multi_label,
            along_video=self.unit == "frame",
            ordered=self.ordered,
            triplets=self.kind == "triplets",
        )

    def tracks(self, available: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Names of this task's tracks among `available` (name -> class names).

        Raises:
            RefusedTaskError: none matches, or a track of a multi-label task is not binary.
        """
        names = tuple(sorted(fnmatch.filter(available, self.track)))
        if not names:
            raise RefusedTaskError(
                f"task {self.name}: {self.source} has no label {self.track!r}; it has: "
                f"{', '.join(sorted(available)) or 'none'}"
            )
        if self.multi_label:
            for name in names:
                if len(available[name]) != 2:
                    raise RefusedTaskError(
                        f"task {self.name}: track {name} has {len(available[name])} classes, "
                        "a multi-label task needs (absent, present)"
                    )
        return names

    def columns(self, labels: Mapping[str, np.ndarray], tracks: Sequence[str]) -> np.ndarray:
        """Labels of clips [M, K], one column per track, at the frame that this task scores.

        Raises:
            RefusedTaskError: the clips lack such labels, or a task of frames is asked of a label
                that has no value per frame.
        """
        suffix = LAST if self.frame == "last" else ""
        missing = [track for track in tracks if track + suffix not in labels]
        if missing:
            raise RefusedTaskError(
                f"task {self.name}: the clips have no label {missing[0] + suffix!r}"
                + (" (unit frame needs a label per frame)" if suffix else "")
            )
        return np.stack([labels[track + suffix] for track in tracks], 1)

    def classes(self, available: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """Class names in the order of the score columns."""
        names = self.tracks(available)
        if not self.multi_label:
            return tuple(available[names[0]])
        prefix = self.track.split("*")[0]
        return tuple(name.removeprefix(prefix) for name in names)


def check_empty(task: Task, cases: Mapping[str, np.ndarray]) -> None:
    """Refuses a task one of whose splits has no labelled example."""
    for split in task.splits:
        if not len(cases[split]):
            raise RefusedTaskError(
                f"task {task.name} refused: {task.source} has no example labelled with "
                f"{task.track!r} in split {split}; where few frames have a "
                "label, --config.clips_per_record=0 takes every clip that meets one"
            )


def leaks(task: Task, cases: Mapping[str, np.ndarray]) -> list[str]:
    """Which splits of a task share cases, in words; empty where none do.

    Args:
        task: the task.
        cases: split name -> case ids of its labelled examples.
    """
    sets = {split: set(np.unique(cases[split]).tolist()) for split in task.splits}
    sentences = []
    for i, first in enumerate(task.splits):
        for second in task.splits[i + 1 :]:
            shared = sorted(sets[first] & sets[second])
            if not shared:
                continue
            some = ", ".join(shared[:5]) + (", ..." if len(shared) > 5 else "")
            whole = f" ({first} and {second} hold the same cases)"
            sentences.append(
                f"{len(shared)} of the {len(sets[second])} cases of {second} are also in {first} "
                f"({some})" + (whole if sets[first] == sets[second] else "")
            )
    return sentences


def check_splits(task: Task, cases: Mapping[str, np.ndarray]) -> None:
    """Refuses a task whose splits share cases, or one of whose splits has none.

    Args:
        task: the task.
        cases: split name -> case ids of its labelled examples.

    Raises:
        LeakedSplitError: a case stands in two splits; the message names the splits and the cases.
        RefusedTaskError: a split has no labelled example.
    """
    check_empty(task, cases)
    if shared := leaks(task, cases):
        raise LeakedSplitError(
            f"task {task.name} refused: {'; '.join(shared)}; split {task.source} by case, or ask "
            "under protocol v1, which takes splits as they are and says so"
        )
