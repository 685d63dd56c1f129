"""Annotation files of the usual shapes: a row per frame, intervals, JSON; and frame-rate clocks.

Builds on `tables` and `tracks`, and adds files whose cells are separated by white space, numbers as
classes, and how far a file goes (`Extent`), which the base class compares with the video.
"""

import array
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.labels.from_tables import interval_track
from data_builders.common.labels.tables import Row, check_values, fold, read_text
from data_builders.common.labels.tracks import Clock, Extent, Intervals, Sampled
from surgrec_jax.records.errors import BadInput

Ids = Mapping[str, int]  # a folded cell -> id


def by_name(names: Sequence[str], also: Mapping[str, int] | None = None) -> Ids:
    """Classes told by name, folded (see `normal`); `also` gives further spellings."""
    ids = {normal(name): k for k, name in enumerate(names)}
    return ids | {normal(name): k for name, k in (also or {}).items()}


def by_number(count: int, first: int = 0, also: Mapping[str, int] | None = None) -> Ids:
    """Classes told by number: `first` is id 0, and so on."""
    return {str(first + k): k for k in range(count)} | dict(also or {})


PRESENT = by_number(2)  # 0 absent, 1 present


def normal(cell: str) -> str:
    """A class name folded (`tables.fold`); a whole number as it is, for "-1" is not "1"."""
    return cell.strip() if re.fullmatch(r"\s*-?\d+\s*", cell) else fold(cell)


def class_id(row: Row, cell: str, ids: Ids) -> int:
    """The id of a cell.

    Raises:
        BadInput: no such class.
    """
    try:
        return ids[normal(cell)]
    except KeyError:
        known = ", ".join(list(ids)[:50])
        raise row.error(f"unknown class {cell!r} (known: {known})") from None


def split_rows(path: Path, columns: Sequence[str], *, separator: str | None = None) -> list[Row]:
    """The lines of a plain table without a header (nothing quoted), blank ones left out.

    Args:
        path: the file.
        columns: names of all columns in order.
        separator: between cells; None for runs of white space.

    Raises:
        BadInput: a line with more or fewer cells, or no labels at all.
    """
    return [
        Row(path, line, dict(zip(columns, cells, strict=True)))
        for line, cells in _lines(path, columns, separator, header=False)
    ]


def _lines(
    path: Path, columns: Sequence[str], separator: str | None, header: bool
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of a plain table; with `header` its first line must be `columns` (folded)."""
    whole = read_text(path)
    check_values(path, whole, separator or " \t")
    found = False
    for line, text in enumerate(io.StringIO(whole), start=1):
        cells = [cell.strip() for cell in text.split(separator)]
        if not any(cells):
            continue
        if header:
            if list(map(fold, cells)) != list(map(fold, columns)):
                raise BadInput(path, f"the header must be {list(columns)}, found {cells}", line)
            header = False
            continue
        if len(cells) != len(columns):
            raise BadInput(path, f"has {len(cells)} cells instead of {len(columns)}", line)
        found = True
        yield line, cells
    if not found:
        raise BadInput(path, "holds no labels")


class _Column:
    """A column of few different cells and many rows: which cell stands where."""

    def __init__(self):
        self.codes = array.array("I")
        self.first: dict[str, tuple[int, int]] = {}  # cell -> its code, the row it first stands in

    def append(self, cell: str) -> None:
        code, _ = self.first.setdefault(cell, (len(self.first), len(self.codes)))
        self.codes.append(code)


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTable:
    """A table with a row per frame, second or other step; held in a few bytes a cell.

    Attributes:
        path: the file.
        lines: int [K], the line of each row.
        numbers: int [K], the cells of the column that counts.
        positions: float [K], where each row's label begins, in `clock`.
        columns: the other columns.
        hold: how far a label reaches, in `clock`.
        clock: "frames" or "seconds".
    """

    path: Path
    lines: np.ndarray
    numbers: np.ndarray
    positions: np.ndarray
    columns: Mapping[str, _Column]
    hold: float
    clock: Clock

    def track(self, column: str, ids: Ids) -> Sampled:
        """The labels in one column.

        Raises:
            BadInput: an unknown class.
        """
        known = [class_id(row, row.cells[column], ids) for row in self.distinct(column)]
        values = np.array(known, np.int64)[np.frombuffer(self.columns[column].codes, np.uint32)]
        return Sampled(self.positions, values, max_hold=self.hold, clock=self.clock)

    def distinct(self, column: str) -> list[Row]:
        """For each different cell of a column, the first row with it (that cell alone)."""
        return [
            Row(self.path, int(self.lines[row]), {column: cell})
            for cell, (_, row) in self.columns[column].first.items()
        ]

    def error(self, row: int, reason: str) -> BadInput:
        """A complaint about row number `row`, to be raised."""
        return BadInput(self.path, reason, int(self.lines[row]))

    @property
    def extent(self) -> Extent:
        """Where the labels end."""
        end = float(self.positions[-1]) + self.hold
        return Extent(self.path, end, self.clock, line=int(self.lines[-1]))


def frame_table(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str | None = None,
    header: bool = True,
    number: str = "Frame",
    first: int = 0,
    unit: float = 1.0,
    hold: float = 1.0,
    clock: Clock = "frames",
) -> FrameTable:
    """Reads a table with a row per frame.

    Row n stands at (n - first) * unit and holds for `hold`, both in `clock`. A row per frame of the
    video has the defaults; "second n from 1, that is frame 25 * (n - 1)" has first=1, unit=25,
    hold=25.

    Args:
        path, columns, separator: as in `split_rows`.
        header: whether the first line must be `columns` (folded).
        number: the column with n.
        first, unit, hold, clock: as above.

    Raises:
        BadInput: as `split_rows`, another header, or numbers that are below `first` or do not
            increase.
    """
    lines, numbers = array.array("q"), array.array("q")
    others = {name: _Column() for name in columns if name != number}
    place = columns.index(number)
    for line, cells in _lines(path, columns, separator, header):
        row = Row(path, line, {number: cells.pop(place)})
        n = row.integer(number)
        if n < first:
            raise row.error(f"number {n}; they begin at {first}")
        if numbers and n <= numbers[-1]:
            raise row.error(f"number {n} follows {numbers[-1]}; they must increase")
        lines.append(line)
        numbers.append(n)
        for column, cell in zip(others.values(), cells, strict=True):
            column.append(cell)
    counted = np.array(numbers, np.int64)
    positions = (counted - first) * float(unit)
    return FrameTable(path, np.array(lines), counted, positions, others, hold, clock)


def interval_table(
    path: Path, ids: Ids, *, first: int = 0, whole: bool = False
) -> tuple[Intervals, Extent]:
    """Reads lines of `start end class`: frames of the video, the end belongs to the interval.

    Args:
        path: the file; white space between cells, no header.
        ids: of the third column.
        first: the number that the file gives to the first frame of the video, 0 or 1.
        whole: whether the intervals should reach the end of the video.

    Raises:
        BadInput: as `split_rows`, or an unknown class, an interval that begins before `first`, ends
            before it begins, or overlaps another.
    """
    spans = []
    for row in split_rows(path, ("start", "end", "class")):
        start, end = row.integer("start"), row.integer("end")
        if start < first:
            raise row.error(f"begins at frame {start}; frames are counted from {first}")
        spans.append((start - first, end - first, class_id(row, row.cells["class"], ids), row))
    track = interval_track(spans, clock="frames", inclusive=True)
    _, end, _, last = max(spans, key=lambda span: span[1])
    return track, Extent(path, end + 1, "frames", whole=whole, line=last.line)


def read_json(path: Path) -> Any:
    """A JSON file; BadInput with the line where it is none."""
    text = read_text(path)
    check_values(path, text, ",[{")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(path, f"is not JSON: {error.msg}", error.lineno) from error
    except (RecursionError, ValueError) as error:  # too deep, or a number of too many digits
        raise BadInput(path, f"is not JSON that can be read: {error}") from error
