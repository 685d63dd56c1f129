"""Rows of instants that come evenly: samples, each of which holds for one step."""

import itertools
import statistics
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.labels.entries import Entry
from data_builders.common.labels.instants import InstantClock, show
from surgrec_jax.records.errors import BadInput

Sample = tuple[float, int, list[str]]  # instant, line, the cells of the label columns


def sampled_end(
    path: Path, clock: InstantClock, rows: Sequence[Sample]
) -> tuple[float, float] | None:
    """The last of instants that come evenly, three or more, and where it ends: a step later.

    None where they do not come evenly: then they tell when labels change.

    Raises:
        BadInput: samples of which some are missing.
    """
    if "timecode" in clock:
        return None
    rows = sorted(rows)
    ordered = sorted({instant for instant, _, _ in rows})
    if len(ordered) < 3:
        return None
    step = (ordered[-1] - ordered[0]) / (len(ordered) - 1)
    off = [abs(instant - ordered[0] - k * step) for k, instant in enumerate(ordered)]
    if max(off) <= _slack(step):
        return ordered[-1], ordered[-1] + step
    _check_holes(path, clock, rows)
    return None


def held(entry: Entry, ends) -> Entry:
    """The last of evenly spaced samples holds for one step, not until the video ends."""
    last = ends.get((entry.video, entry.clock))
    if last is None or entry.end is not None or entry.start != last[0]:
        return entry
    return entry._replace(end=last[1])


def _check_holes(path: Path, clock: InstantClock, rows: Sequence[Sample]) -> None:
    """Refuses samples of which some are missing: nobody knows what holds there.

    Rows are samples where most come a step after the one before, and one says what that one said: a
    table of changes has no such rows.
    """
    pairs = [(b[0] - a[0], a, b) for a, b in itertools.pairwise(rows) if b[0] > a[0]]
    step = statistics.median(gap for gap, _, _ in pairs)
    usual = [pair for pair in pairs if abs(pair[0] - step) <= 2 * _slack(step)]
    holes = [pair for pair in pairs if pair[0] > step + 2 * _slack(step)]
    repeats = any(row[2] == after[2] for _, row, after in usual)
    if not (holes and repeats and len(usual) > len(pairs) / 2):
        return
    _, row, after = holes[0]
    raise BadInput(
        path,
        f"rows come every {step:g} {'frames' if clock == 'frames' else 's'}, but for {len(holes)} "
        f"gap(s), the first from {show(row[0], clock)} to {show(after[0], clock)}: write rows with "
        "empty cells where nothing is labelled, or call the column 'start' if a label holds until "
        "the next row",
        after[1],
    )


def _slack(step: float) -> float:
    """By how much instants may be off: those of frames may be rounded to hundredths of a second."""
    return max(1e-3, min(0.2 * step, 0.01))
