"""Annotation files of the usual shapes: a row per frame, intervals, JSON; and frame-rate clocks.

Builds on `tables`, and adds files whose cells are separated by white space, numbers as classes, and
how far a file goes (`Extent`), which the base class compares with the video.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.errors import BadInput
from data_builders.common.items import Extent
from data_builders.common.labels import Clock, Intervals, Sampled
from data_builders.common.tables import Row, check_values, fold, interval_track, read_text
from data_builders.common.video import probe

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


def split_rows(
    path: Path, columns: Sequence[str], *, separator: str | None = None, header: bool = True
) -> list[Row]:
    """The lines of a plain table (nothing quoted), blank ones left out.

    Args:
      path: the file.
      columns: names of all columns in order.
      separator: between cells; None for runs of white space.
      header: whether the first line must be `columns` (folded).

    Raises:
      BadInput: another header, a line with more or fewer cells, or no labels at all.
    """
    rows: list[Row] = []
    whole = read_text(path)
    check_values(path, whole, separator or " \t")
    for line, text in enumerate(whole.splitlines(), start=1):
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
        rows.append(Row(path, line, dict(zip(columns, cells, strict=True))))
    if not rows:
        raise BadInput(path, "holds no labels")
    return rows


@dataclasses.dataclass(frozen=True, eq=False)
class FrameTable:
    """A table with a row per frame, second or other step.

    Attributes:
      rows: its rows.
      positions: float [K], where each row's label begins, in `clock`.
      hold: how far a label reaches, in `clock`.
      clock: "frames" or "seconds".
    """

    rows: Sequence[Row]
    positions: np.ndarray
    hold: float
    clock: Clock

    def track(self, column: str, ids: Ids) -> Sampled:
        """The labels in one column.

        Raises:
          BadInput: an unknown class.
        """
        cache: dict[str, int] = {}  # a class per frame: the same few cells a hundred thousand times
        values = []
        for row in self.rows:
            cell = row.cells[column]
            if cell not in cache:
                cache[cell] = class_id(row, cell, ids)
            values.append(cache[cell])
        return Sampled(
            self.positions, np.array(values, np.int64), max_hold=self.hold, clock=self.clock
        )

    @property
    def extent(self) -> Extent:
        """Where the labels end."""
        end, last = float(self.positions[-1]) + self.hold, self.rows[-1]
        return Extent(last.path, end, self.clock, line=last.line)


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
      path, columns, separator, header: as in `split_rows`.
      number: the column with n.
      first, unit, hold, clock: as above.

    Raises:
      BadInput: as `split_rows`, or numbers that are below `first` or do not increase.
    """
    rows = split_rows(path, columns, separator=separator, header=header)
    numbers: list[int] = []
    for row in rows:
        n = row.integer(number)
        if n < first:
            raise row.error(f"number {n}; they begin at {first}")
        if numbers and n <= numbers[-1]:
            raise row.error(f"number {n} follows {numbers[-1]}; they must increase")
        numbers.append(n)
    positions = (np.array(numbers, np.float64) - first) * unit
    return FrameTable(rows, positions, hold, clock)


def interval_table(path: Path, ids: Ids, *, whole: bool = False) -> tuple[Intervals, Extent]:
    """Reads lines of `start end class`: frames of the video, the end belongs to the interval.

    Args:
      path: the file; white space between cells, no header.
      ids: of the third column.
      whole: whether the intervals should reach the end of the video.

    Raises:
      BadInput: as `split_rows`, or an unknown class, a negative or overlapping interval.
    """
    spans = [
        (row.integer("start"), row.integer("end"), class_id(row, row.cells["class"], ids), row)
        for row in split_rows(path, ("start", "end", "class"), header=False)
    ]
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


def check_rate(path: Path, fps: float) -> None:
    """Makes sure that frame numbers of an annotation at `fps` are frame numbers of this file.

    A copy that somebody encoded at another rate would get every label wrong. One percent is left
    for 59.94 that is called 60.

    Raises:
      BadInput: the video runs at another rate, or cannot be read.
    """
    found = probe(path).native_fps
    if abs(found - fps) > 0.01 * fps:
        raise BadInput(
            path,
            f"runs at {found:.4g} frames a second, but its labels count frames at {fps:g}; use the "
            "original file",
        )
