"""Tables as people save them: the rows of a CSV, tab-delimited text or Excel workbook.

Text may be UTF-8, UTF-16 or Windows-1252 (Latin-1 with a few more signs, as Excel writes it), with
commas, semicolons, tabs or bars between cells, a first line `sep=;`, and delimiters at line ends.
"""

import csv
import dataclasses
import io
import re
from pathlib import Path

from data_builders.common.labels.tables import check_values, read_bytes
from data_builders.common.labels.xlsx import read_sheet
from surgrec_jax.records.errors import BadInput

_DELIMITERS = ";,\t|"
# These words say that a cell is empty. "none" is not here: it may be the class of no tool.
_NOTHING = frozenset(("", "na", "n/a", "nan", "-", "--", "–", "—", "null", "#n/a", "#nv", "<na>"))


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The rows of a table file.

    Attributes:
        path: the file.
        rows: (line or row number from 1, cells without spaces at their ends), blank rows left out.
        delimiter: between the cells, or "" in a workbook.
        notes: sentences about how the file was read that its owner should know.
    """

    path: Path
    rows: list[tuple[int, list[str]]]
    delimiter: str
    notes: tuple[str, ...] = ()


def nothing(cell: str) -> bool:
    """Whether a cell says that there is no value: empty, NA, n/a, nan, - and the like."""
    return cell.strip().casefold() in _NOTHING


def read_sheet_file(path: Path) -> Sheet:
    """Reads a table of any of the forms above.

    Raises:
        BadInput: missing, too large, no such table, or two delimiters that fit as well.
    """
    data = read_bytes(path)
    if data.startswith(b"PK\x03\x04"):
        if b"application/vnd.oasis.opendocument" in data[:200]:
            raise BadInput(path, "is an OpenDocument table; save it as .xlsx or CSV UTF-8")
        return Sheet(path, read_sheet(path), "")
    if data.startswith(b"\xd0\xcf\x11\xe0"):
        raise BadInput(path, "is a workbook of the old form (.xls); save it as .xlsx or CSV UTF-8")
    text, notes = decode(path, data)
    check_values(path, text, _DELIMITERS)
    delimiter, skipped = _delimiter(path, text)
    return Sheet(path, _rows(path, text, delimiter, skipped), delimiter, notes)


def decode(path: Path, data: bytes) -> tuple[str, tuple[str, ...]]:
    """The text of a file, and a note where its encoding is not certain.

    Raises:
        BadInput: not text in UTF-8, UTF-16 or Windows-1252.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _decoded(path, data, "utf-16"), ()
    start = data[:1000]
    if b"\0" in start:  # UTF-16 without its mark: every other byte of plain letters is zero
        even, odd = start[::2].count(0), start[1::2].count(0)
        if max(even, odd) > 0.4 * len(start) / 2 and min(even, odd) == 0:
            return _decoded(path, data, "utf-16-be" if even else "utf-16-le"), ()
        raise BadInput(path, "is not text (it holds zero bytes); save the table as CSV UTF-8")
    try:
        return data.decode("utf-8-sig"), ()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError:
            reason = "is neither UTF-8, UTF-16 nor Windows-1252 text; save the table as CSV UTF-8"
            raise BadInput(path, reason, line) from error
        odd_words = (word for word in text.split("\n")[line - 1].split() if not word.isascii())
        word = next(odd_words, "")
        note = f"is not UTF-8: read as Windows-1252, where line {line} says {word[:40]!r}"
        return text, (note,)


def _decoded(path: Path, data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise BadInput(path, f"is damaged UTF-16 text: {error.reason}") from error


def _delimiter(path: Path, text: str) -> tuple[str, int]:
    """The character between cells, and the number of lines to pass over before the table."""
    lines = io.StringIO(text, newline="")  # a line may end in a carriage return alone
    first = lines.readline()
    if match := re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE):
        return match[1], 1
    while first and not first.strip():
        first = lines.readline()
    counts = {}
    for delimiter in _DELIMITERS:
        try:
            counts[delimiter] = len(next(csv.reader([first], delimiter=delimiter), []))
        except csv.Error:
            counts[delimiter] = 0
    best = max(counts.values())
    fitting = [delimiter for delimiter, count in counts.items() if count == best]
    if best > 1 and len(fitting) > 1:
        raise BadInput(
            path,
            f"has as many {fitting[0]!r} as {fitting[1]!r} in its header; which parts cells?",
            1,
        )
    return (fitting[0] if best > 1 else ","), 0


def _rows(path: Path, text: str, delimiter: str, skipped: int) -> list[tuple[int, list[str]]]:
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    rows = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if reader.line_num > skipped and any(cells):
                rows.append((reader.line_num, cells))
    except csv.Error as error:
        reason = f"{error} (a quotation mark out of place?)"
        raise BadInput(path, reason, reader.line_num) from error
    return rows
