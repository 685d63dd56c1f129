"""Label tracks from rows of tables: what contradicts itself is refused with its file and line."""

import collections
import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from data_builders.common.labels.tables import Row
from data_builders.common.labels.tracks import TOLERANCE, Clock, Intervals, Sampled

FOREVER = 1e9  # end of a label that holds "until the end of the video", in seconds or frames


def interval_track(
    spans: Iterable[tuple[float, float, int, Row]],
    *,
    clock: Clock = "seconds",
    inclusive: bool = False,
) -> Intervals:
    """Intervals (start, end, id, row) that must not overlap; repeats count once.

    A half-open interval of no length labels nothing and is left out.

    Raises:
        BadInput: an interval ends before it begins, or overlaps another.
    """
    kept: dict[tuple[float, float, int], Row] = {}
    for start, end, value, row in spans:
        if end < start:
            raise row.error(f"the interval from {start:g} to {end:g} ends before it begins")
        if inclusive or end > start:
            kept.setdefault((start, end, value), row)
    ordered = sorted(kept)
    slack = -TOLERANCE if inclusive else TOLERANCE  # as `Intervals` judges
    for before, span in itertools.pairwise(ordered):
        if before[1] > span[0] + slack:
            raise kept[span].error(
                f"{span[0]:g} to {span[1]:g} overlaps {before[0]:g} to {before[1]:g} "
                f"of line {kept[before].line}"
            )
    columns = zip(*ordered, strict=True) if ordered else ((), (), ())
    return _intervals(columns, clock, inclusive)


def starts_track(starts: Iterable[tuple[float, int, Row]], *, clock: Clock) -> Intervals:
    """Labels (start, id, row) that hold until the next one begins, the last until the video ends.

    Raises:
        BadInput: two labels start at one instant.
    """
    ordered = sorted(starts, key=lambda entry: entry[0])
    for (start, _, before), (other, _, row) in itertools.pairwise(ordered):
        if start == other:
            raise row.error(f"starts at {start:g}, as line {before.line} does")
    ends = [start for start, _, _ in ordered[1:]] + [FOREVER]
    return interval_track(
        [(start, end, value, row) for (start, value, row), end in zip(ordered, ends, strict=True)],
        clock=clock,
    )


def sampled_track(samples: Iterable[tuple[int, int, Row]]) -> Sampled:
    """Labels (frame number, id, row) of single frames; repeats count once.

    Raises:
        BadInput: two labels for one frame.
    """
    kept: dict[int, tuple[int, Row]] = {}
    for frame, value, row in samples:
        other, where = kept.setdefault(frame, (value, row))
        if other != value:
            raise row.error(f"gives {frame} another label than line {where.line}")
    ids = np.array([value for value, _ in kept.values()], np.int64)
    return Sampled(list(kept), ids, max_hold=1, clock="frames")


def exclusive_track(
    spans: Iterable[tuple[float, float, int, Row]], *, clock: Clock = "seconds"
) -> Intervals:
    """Half-open intervals (start, end, id, row); where two classes overlap nothing is labelled."""
    changes = sorted(
        (edge, step, value)
        for start, end, value, _ in spans
        if end > start
        for edge, step in ((start, 1), (end, -1))
    )
    pieces, active = [], collections.Counter()
    for (edge, step, value), (following, _, _) in itertools.pairwise(changes):
        active[value] += step
        if not active[value]:
            del active[value]
        if len(active) == 1 and following > edge:
            pieces.append((edge, following, *active))
    return _intervals(zip(*pieces, strict=True) if pieces else ((), (), ()), clock, False)


def presence_track(spans: Iterable[tuple[float, float]], *, clock: Clock = "seconds") -> Intervals:
    """A binary track: 1 within any of the spans (which may overlap), 0 everywhere else."""
    merged: list[list[float]] = []
    for start, end in sorted(span for span in spans if span[1] > span[0]):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(end, merged[-1][1])
        else:
            merged.append([start, end])
    edges = [0.0, *itertools.chain(*merged), FOREVER]
    pieces = [(*span, k % 2) for k, span in enumerate(itertools.pairwise(edges))]
    return _intervals(zip(*(p for p in pieces if p[1] > p[0]), strict=True), clock, False)


def _intervals(columns: Iterable[Sequence], clock: Clock, inclusive: bool) -> Intervals:
    starts, ends, values = columns
    ids = np.array(values, np.int64)  # also when there are none
    return Intervals(starts, ends, ids, inclusive=inclusive, clock=clock)
