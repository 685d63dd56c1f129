"""The one form of what label tables and labelling programs' exports say: an entry per label."""

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from data_builders.common.labels.from_tables import FOREVER
from data_builders.common.labels.instants import InstantClock, show
from surgrec_jax.records.errors import BadInput


class Entry(NamedTuple):
    """One label of one video.

    Attributes:
        line: where it stands in its file, from 1.
        video: the video as the file names it; "" when the file's own name tells it.
        column: what is labelled, such as a column or a tier.
        value: the class; "" when nothing is labelled from here on.
        start: in `clock`, or None for a label of the whole video.
        end: in `clock`, not part of the interval; None when it holds until the next entry of the
            column, or the end of the video.
        clock: of start and end.
    """

    line: int
    video: str
    column: str
    value: str
    start: float | None = None
    end: float | None = None
    clock: InstantClock = "seconds"


class Span(NamedTuple):
    """A label over an interval of time; `end` is FOREVER when it holds until the video ends."""

    start: float
    end: float
    value: str
    line: int


@dataclasses.dataclass(frozen=True)
class Entries:
    """The labels and facts that a file holds.

    Attributes:
        labels: its entries.
        facts: (line, video, field, value) of whole videos: case_id, split, domain.
        columns: label columns in order, those without a label included.
        notes: sentences about the file for the build's summary.
        exported: whether a labelling program wrote it; its paths are those of another machine.
    """

    labels: list[Entry]
    facts: list[tuple[int, str, str, str]] = dataclasses.field(default_factory=list)
    columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    exported: bool = False


def spans(path: Path, entries: Iterable[Entry], overlapping: bool = False) -> list[Span]:
    """The timed entries of one column of one video as spans in order, repeats once.

    A frame at which the next label begins belongs to the next one, although the numbers of an
    interval's last frame usually belong to it.

    Raises:
        BadInput: two labels at one instant, or over one another (unless `overlapping`).
    """
    said: dict[tuple, Entry] = {}  # a row that stands there twice is one
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.line)):
        said.setdefault((entry.start, entry.end, entry.value), entry)
    ordered = list(said.values())
    found: list[Span] = []
    for k, entry in enumerate(ordered):
        end = entry.end
        following = ordered[k + 1] if k + 1 < len(ordered) else None
        if end is None:
            end = FOREVER if following is None else following.start
            if following is not None and following.start == entry.start:
                if following.value != entry.value:
                    raise BadInput(
                        path,
                        f"begins at {show(entry.start, entry.clock)}, as line {entry.line} does: "
                        "labels that hold at a time need a column each, or an end each and "
                        f"--presence {entry.column}",
                        following.line,
                    )
                continue
        elif following is not None and entry.clock == "frames" and following.start == end - 1:
            end = max(end - 1, entry.start)
        held_on = found and found[-1].end == entry.start and found[-1].value == entry.value
        if held_on and ordered[k - 1].end is None:  # a row per frame: one span for a run of them
            found[-1] = found[-1]._replace(end=end)
        elif entry.value and end > entry.start:
            found.append(Span(entry.start, end, entry.value, entry.line))
    found = _once(found)
    if not overlapping:
        _check_apart(path, found, ordered[0] if ordered else None)
    return found


def _once(found: list[Span]) -> list[Span]:
    kept: dict[tuple[float, float, str], Span] = {}
    for span in found:
        kept.setdefault(span[:3], span)
    return sorted(kept.values())


def _check_apart(path: Path, found: list[Span], of: Entry | None) -> None:
    last, clock, column = None, of and of.clock, of and of.column
    for span in found:
        if last is not None and last.end > span.start:
            later, earlier = (span, last) if span.line >= last.line else (last, span)
            unit = " s" if clock == "seconds" else " in frames" if clock == "frames" else ""
            raise BadInput(
                path,
                f"{later.value!r} overlaps {earlier.value!r} "
                f"({earlier.start:g} to {earlier.end:g}{unit}); where several hold at a time give "
                f"--presence {column}",
                later.line or None,
            )
        if last is None or span.end > last.end:
            last = span


def presence(found: list[Span]) -> list[Span]:
    """Spans of one class, which may overlap, as "present" and "absent" over the whole video."""
    merged: list[Span] = []
    for span in sorted(found):
        if merged and span.start <= merged[-1].end:
            merged[-1] = merged[-1]._replace(end=max(span.end, merged[-1].end))
        else:
            merged.append(span._replace(value="present"))
    out, at = [], 0.0
    for span in merged:
        if span.start > at:
            out.append(Span(at, span.start, "absent", span.line))
        out.append(span)
        at = span.end
    if at < FOREVER:
        out.append(Span(at, FOREVER, "absent", merged[-1].line if merged else 0))
    return out


def spelling(value: str) -> str:
    """A class name without case, spaces, `_`, `-` and what cannot be seen; a number without zeros.

    Names that are equal so are doubted.
    """
    if re.fullmatch(r"[+-]?\d+", value):
        return str(int(value))
    seen = "".join(c for c in value if unicodedata.category(c) != "Cf")
    return re.sub(r"[\s_\-]+", "", unicodedata.normalize("NFKC", seen).casefold())


def one_spelling(column: str, found: Mapping[str, tuple[Path, int]], fold: bool) -> dict[str, str]:
    """Class name -> the name that is stored, for the classes of one column.

    Args:
        column: its name.
        found: class name -> file and line where it first stands.
        fold: whether names that differ only in case, spaces, `_` and `-` are one class, by its
            first spelling.

    Raises:
        BadInput: two such spellings, without `fold`.
    """
    first: dict[str, tuple[int, str]] = {}
    names: dict[str, str] = {}
    for value, (path, line) in found.items():
        where, name = first.setdefault(spelling(value), (line, value))
        if name != value and not fold:
            before = f"{name!r} in line {where}" if where else repr(name)
            raise BadInput(
                path,
                f"{column} is {value!r} here and {before}: one class or two? write one of them "
                "throughout, or give --fold_classes to count them as one",
                line or None,
            )
        names[value] = name
    return names
