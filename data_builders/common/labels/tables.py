"""Annotation tables with named columns: rows that know their file and line.

Every complaint is a BadInput that names the file and the line, so that a build can list it. Values
are parsed when they are used: a bad row costs its own video, not the whole table. `tracks` makes
labels over time of rows; `annotations` adds classes told by name, and plain tables with a row per
frame.
"""

import csv
import dataclasses
import io
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from surgrec_jax.records.errors import BadInput, BuildError, check_inside

MAX_BYTES = 256 * 2**20
# A Python list or dict of one short cell each takes twenty to a hundred times the bytes of the
# file: what a text holds is counted before it is parsed.
MAX_VALUES = 10_000_000
MAX_ROWS = 2_000_000  # nine hours at 60 frames a second


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table. A list of rows may stand in `VideoItem.extra`.

    Attributes:
        path, line: where it stands; lines count from 1.
        cells: column -> text without spaces at its ends.
    """

    path: Path
    line: int
    cells: Mapping[str, str]

    def error(self, reason: str) -> BadInput:
        """A complaint about this row, to be raised."""
        return BadInput(self.path, reason, self.line)

    def text(self, column: str) -> str:
        """The cell's text; it must not be empty."""
        if not self.cells[column]:
            raise self.error(f"{column!r} is empty")
        return self.cells[column]

    def number(self, column: str) -> float:
        """The cell as a finite number of 0 or more."""
        try:
            value = float(self.cells[column])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise self.error(f"{column!r} is {self.cells[column]!r}: not a number of 0 or more")
        return value

    def integer(self, column: str) -> int:
        """The cell as a whole number from 0 to 2^53; "3.0" counts as 3."""
        value = self.number(column)
        if value != int(value) or value > 2**53:  # beyond, not every number is a float
            raise self.error(f"{column!r} is {self.cells[column]!r}: not a whole number")
        return int(value)

    def one_based(self, column: str, count: int) -> int:
        """The cell as a class number from 1 to `count`, given back as an id from 0."""
        value = self.integer(column)
        if not 1 <= value <= count:
            raise self.error(f"{column!r} is {value}: none of 1 to {count}")
        return value - 1


def fold(name: str) -> str:
    """A class name without case, `_`, `-` and `/`: 'Visco_Suction/a' -> 'visco suction a'."""
    return re.sub(r"[\s_/-]+", " ", name).strip().casefold()


def read_bytes(path: Path) -> bytes:
    """The bytes of an annotation file.

    Raises:
        BadInput: no such file, or beyond 256 MiB.
    """
    try:
        with open(path, "rb") as file:
            # A buffer of the size asked for is made before anything is read.
            data = file.read(min(os.fstat(file.fileno()).st_size, MAX_BYTES) + 1)
    except FileNotFoundError:
        raise BadInput(path, "the annotation file is missing") from None
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise BadInput(path, f"is larger than {MAX_BYTES // 2**20} MiB: not an annotation file")
    return data


def read_text(path: Path) -> str:
    """The text of an annotation file; a byte-order mark is dropped.

    Raises:
        BadInput: no such file, not UTF-8, or beyond 256 MiB.
    """
    data = read_bytes(path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(path, "is not UTF-8 text", data[: error.start].count(b"\n") + 1) from error


def check_values(path: Path, text: str, between: str) -> None:
    """Raises BadInput for a text of more values, parted by any of `between`, than fit in memory."""
    if sum(map(text.count, between)) > MAX_VALUES:
        raise BadInput(path, f"holds more than {MAX_VALUES} values: not an annotation file")
    if text.count("\n") > MAX_ROWS:
        raise BadInput(path, f"holds more than {MAX_ROWS} lines: not an annotation file")


def read_rows(
    path: Path,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: bool | None = True,
    short: bool = False,
) -> list[Row]:
    """Reads a UTF-8 table; blank lines are passed over, surplus columns dropped.

    Args:
        path: the file.
        columns: the columns needed.
        delimiter: between cells.
        header: True: the first line names the columns, in any order. None: there may be such a line
            or not; a first line whose first cell is no number is one, and cells are taken in the
            order of `columns`.
        short: whether a row may end early, after the last column needed: what it lacks is empty.

    Raises:
        BadInput: no such file, not text, too large, a column missing, or a row of another length.
    """
    text = read_text(path)
    check_values(path, text, delimiter)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    names = list(columns) if header is None else None
    rows: list[Row] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if names is None:
                names = _header(path, reader.line_num, cells, columns)
                continue
            if short and len(cells) > max(map(names.index, columns)):
                cells += [""] * (len(names) - len(cells))
            if len(cells) != len(names):
                reason = f"has {len(cells)} cells where {len(names)} are expected"
                raise BadInput(path, reason, reader.line_num)
            if header is None:
                header = True  # only the first line can be one
                if not re.fullmatch(r"\d+(\.\d*)?", cells[0]):
                    continue
            kept = dict(zip(names, cells, strict=True))
            rows.append(Row(path, reader.line_num, {name: kept[name] for name in columns}))
    except csv.Error as error:
        raise BadInput(path, str(error), reader.line_num) from error
    if not rows:
        raise BadInput(path, "holds no rows")
    return rows


def _header(path: Path, line: int, cells: list[str], columns: Sequence[str]) -> list[str]:
    missing = [name for name in columns if cells.count(name) != 1]
    if missing:
        found = ", ".join(cells)
        reason = f"the header needs one column each of {', '.join(missing)} (found: {found})"
        raise BadInput(path, reason, line)
    return cells


def read_shared(path: Path, columns: Sequence[str], *, by: str, **options) -> dict[str, list[Row]]:
    """`read_rows` of a table that serves all videos, grouped by column `by`.

    Raises:
        BuildError: the table is missing, broken, or a link out of its folder; without it no video
            has labels.
    """
    try:
        check_inside(path, path.parent)
        groups: dict[str, list[Row]] = {}
        for row in read_rows(path, columns, **options):
            groups.setdefault(row.text(by), []).append(row)
        return groups
    except BadInput as error:
        raise BuildError(f"{error}; all videos need this table: download it anew.") from error


def single(rows: Sequence[Row], video: Path, table: str) -> Row:
    """The one row of a video in a table of videos.

    Raises:
        BadInput: it has none, or several.
    """
    if not rows:
        raise BadInput(video, f"has no row in {table}")
    if len(rows) > 1:
        raise rows[1].error(f"is a second row for {video.name}, after line {rows[0].line}")
    return rows[0]
