"""Label tracks: the labels of one video as a function of time.

A track answers `at(x)` for many instants at once: an integer id per instant, -1 where there is no
label. `x` counts in the track's own clock: seconds from the start of the video (`clock="seconds"`),
or frame numbers of the original video from 0 (`clock="frames"`, for annotations that name frames,
so that no frame rate has to be trusted). Whoever calls `at` looks at `clock` and passes the right
one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.schema import UNLABELLED

Clock = Literal["seconds", "frames"]
# Containers round time stamps (Matroska to whole milliseconds), so that frame 7 of a 30 fps video
# may be stamped 0.233 s where its label begins at 7/30 s. Instants this close count as the same.
TOLERANCE = 1e-3
# Annotations end up to this much before or after their video without being reported: rows of whole
# seconds, a closing row, a tail that the container cut off (layouts of Cholec80, PitVis).
TAIL_SECONDS = 2.0


class Track:
    """Labels of one video over time. Subclasses implement `at`."""

    clock: Clock = "seconds"

    def at(self, times: np.ndarray) -> np.ndarray:
        """Ids at `times` (float [N], in this track's clock) -> int64 [N], -1 where unlabelled."""
        raise NotImplementedError(f"{type(self).__name__} must implement at(times).")

    def along(self, times: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        """Ids of frames at `times` (seconds) with `numbers`, whichever the track counts in."""
        return self.at(numbers if self.clock == "frames" else times)

    def ids(self) -> np.ndarray:
        """All ids the track can give, so that a wrong one is found before a video is read."""
        return np.atleast_1d(np.asarray(getattr(self, "values", ()), np.int64))


@dataclasses.dataclass(frozen=True)
class Constant(Track):
    """One label for the whole video."""

    value: int

    def at(self, times: np.ndarray) -> np.ndarray:
        return np.full(np.shape(times), self.value, np.int64)

    def ids(self) -> np.ndarray:
        return np.array([self.value], np.int64)


@dataclasses.dataclass(frozen=True, eq=False)
class Intervals(Track):
    """One label per interval; -1 in the gaps.

    Attributes:
        starts, ends: [K] in the track's clock, in any order; intervals must not overlap.
        values: [K] ids.
        inclusive: False for half-open intervals [start, end), the usual form for times; True when
            the end still belongs to the interval, the usual form for frame numbers ("70 178 G1").
        clock: "seconds" or "frames".
    """

    starts: Sequence[float]
    ends: Sequence[float]
    values: Sequence[int]
    inclusive: bool = False
    clock: Clock = "seconds"

    def __post_init__(self):
        starts, ends, values = _columns(self.starts, self.ends, self.values, "interval")
        for start, end in zip(starts, ends, strict=True):
            if end < start or (end == start and not self.inclusive):
                raise ValueError(f"interval from {start:g} to {end:g} is empty.")
        order = np.argsort(starts, kind="stable")
        starts, ends, values = starts[order], ends[order], values[order]
        touching = ends[:-1] > starts[1:] + TOLERANCE
        if self.inclusive:
            touching = ends[:-1] > starts[1:] - TOLERANCE
        if touching.any():
            k = int(np.argmax(touching))
            raise ValueError(
                f"intervals {starts[k]:g} to {ends[k]:g} and {starts[k + 1]:g} to {ends[k + 1]:g} "
                "overlap."
            )
        _freeze(self, starts=starts, ends=ends, values=values)

    def at(self, times: np.ndarray) -> np.ndarray:
        times = np.asarray(times, np.float64)
        if not len(self.starts):
            return np.full(times.shape, UNLABELLED, np.int64)
        k = np.searchsorted(self.starts, times + TOLERANCE, side="right") - 1
        ends = self.ends[np.maximum(k, 0)]
        inside = times <= ends + TOLERANCE if self.inclusive else times < ends - TOLERANCE
        return np.where((k >= 0) & inside, self.values[np.maximum(k, 0)], UNLABELLED)


@dataclasses.dataclass(frozen=True, eq=False)
class Sampled(Track):
    """Labels known at some instants ("every 25th frame"), each held until the next one.

    Attributes:
        times: [K] instants in the track's clock, in any order, no two the same.
        values: [K] ids.
        max_hold: less than this a label reaches beyond its instant, in the track's clock. For
            labels drawn at a steady rate this is their spacing: one row per 25th frame of a 25 fps
            video holds 1 second (or 25 frames).
        clock: "seconds" or "frames".
    """

    times: Sequence[float]
    values: Sequence[int]
    max_hold: float
    clock: Clock = "seconds"

    def __post_init__(self):
        times, _, values = _columns(self.times, self.times, self.values, "sample")
        if not self.max_hold > 0:
            raise ValueError(f"max_hold is {self.max_hold!r}: give a positive length.")
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        twice = np.flatnonzero(np.diff(times) <= 0)
        if twice.size:
            raise ValueError(f"two samples stand at {times[twice[0]]:g}.")
        _freeze(self, times=times, values=values)

    def at(self, times: np.ndarray) -> np.ndarray:
        times = np.asarray(times, np.float64)
        if not len(self.times):
            return np.full(times.shape, UNLABELLED, np.int64)
        k = np.searchsorted(self.times, times + TOLERANCE, side="right") - 1  # last at or before
        k0 = np.maximum(k, 0)
        near = (k >= 0) & (times - self.times[k0] < self.max_hold - TOLERANCE)
        return np.where(near, self.values[k0], UNLABELLED)


def presence_classes(prefix: str, names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Tracks of a multi-label annotation: one binary track per class.

    >>> presence_classes("instrument", ["Grasper"])
    {'instrument_grasper': ('absent', 'present')}
    """
    return {
        f"{prefix}_{name.lower().replace(' ', '_').replace('-', '_')}": ("absent", "present")
        for name in names
    }


def _columns(starts, ends, values, what):
    starts, ends = np.asarray(starts, np.float64), np.asarray(ends, np.float64)
    raw = np.asarray(values)
    if raw.size and not np.issubdtype(raw.dtype, np.integer):
        raise ValueError(f"{what} ids must be integers, not {raw.dtype}.")
    if starts.ndim != 1 or not starts.shape == ends.shape == raw.shape:
        raise ValueError(
            f"{what} columns differ in length: {starts.shape}, {ends.shape}, {raw.shape}."
        )
    if not (np.isfinite(starts).all() and np.isfinite(ends).all()):
        raise ValueError(f"a {what} has a time that is not a finite number.")
    return starts, ends, raw.astype(np.int64)


def _freeze(track, **arrays):
    for name, array in arrays.items():
        array.setflags(write=False)
        object.__setattr__(track, name, array)


@dataclasses.dataclass(frozen=True)
class Extent:
    """How far an annotation file goes; compared with the video once that has been read.

    Attributes:
        path: the annotation file.
        end: where its last label ends, in `clock`.
        clock: "seconds" from the start of the video, or "frames" of the video.
        whole: True when it should label the video to its end; False when it may end earlier.
        line: the line of the last label, or None.
    """

    path: Path
    end: float
    clock: Clock = "seconds"
    whole: bool = True
    line: int | None = None

    def misfit(self, fps: float, duration: float) -> str | None:
        """A sentence when the file is clearly longer or shorter than the video was.

        Args:
            fps, duration: the video's frames per second and its length in seconds, as it was read.
        """
        end = self.end / fps if self.clock == "frames" else self.end
        longer = end - duration
        if longer <= TAIL_SECONDS and (longer >= -TAIL_SECONDS or not self.whole):
            return None
        reason = f"the labels end at {end:.1f} s, the video at {duration:.1f} s"
        return str(BadInput(self.path, reason, self.line))
