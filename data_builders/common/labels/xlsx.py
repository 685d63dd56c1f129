"""Reads the one sheet of an Excel workbook (.xlsx): a zip archive of XML files (ECMA-376)."""

import lzma
import re
import zipfile
import zlib
from pathlib import Path
from xml.etree import ElementTree

from surgrec_jax.records.errors import BadInput

MAX_BYTES = 64 * 2**20  # of the file, and of one XML file in it, unpacked
MAX_TAGS = 2_000_000  # an element of a few bytes takes a hundred in memory
MAX_COLUMNS = 256
# RuntimeError: encrypted; ValueError: numbers of thousands of digits, names that are no text.
_UNREADABLE = (
    *(zipfile.BadZipFile, ElementTree.ParseError, NotImplementedError, EOFError, KeyError),
    *(zlib.error, lzma.LZMAError, RuntimeError, ValueError, OverflowError),
)
_MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_sheet(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a workbook with one sheet, as (row number from 1, cells as text).

    Empty rows are left out; cells are "" where nothing stands. Whole numbers have no decimals.

    Raises:
      BadInput: missing, not such a workbook, too large, or several sheets.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(path, f"is larger than {MAX_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            sheets = [n for n in names if re.fullmatch(r"xl/worksheets/[^/]+\.xml", n)]
            if len(sheets) != 1:
                raise BadInput(path, f"has {len(sheets)} sheets; one is expected")
            shared = []
            if "xl/sharedStrings.xml" in names:
                root = _xml(path, archive, "xl/sharedStrings.xml")
                shared = [_text(entry) for entry in root.iter(f"{_MAIN}si")]
            return list(_rows(path, _xml(path, archive, sheets[0]), shared))
    except FileNotFoundError:
        raise BadInput(path, "the annotation file is missing") from None
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    except BadInput:
        raise
    except _UNREADABLE as error:
        raise BadInput(path, f"is not an Excel workbook (.xlsx): {error}") from error


def _xml(path: Path, archive: zipfile.ZipFile, name: str) -> ElementTree.Element:
    with archive.open(name) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadInput(path, f"{name} is larger than {MAX_BYTES} bytes")
    if data.count(b"<") > MAX_TAGS:
        raise BadInput(path, f"{name} holds more than {MAX_TAGS} tags")
    # Entities could grow without bound; Excel writes none, and always UTF-8.
    if b"\0" in data or b"<!" in data.replace(b"<!--", b""):
        raise BadInput(path, f"{name} holds a document type, which no workbook needs")
    return ElementTree.fromstring(data)


def _rows(path: Path, sheet: ElementTree.Element, shared: list[str]):
    line = 0
    for row in sheet.iter(f"{_MAIN}row"):
        line = int(row.get("r", line + 1)) if str(row.get("r", "0")).isdecimal() else line + 1
        cells: list[str] = []
        for cell in row.iter(f"{_MAIN}c"):
            column = _column(cell.get("r"), len(cells))
            if not len(cells) <= column < MAX_COLUMNS:
                raise BadInput(path, f"cell {cell.get('r')!r} is out of place", line)
            cells += [""] * (column - len(cells))
            cells.append(_value(path, line, cell, shared))
        if any(cells):
            yield line, cells


def _column(reference: str | None, following: int) -> int:
    """'C7' -> 2; without a reference the column that follows."""
    match = re.fullmatch(r"([A-Z]{1,3})\d+", reference or "")
    if not match:
        return following
    column = 0
    for letter in match[1]:
        column = 26 * column + ord(letter) - ord("A") + 1
    return column - 1


def _value(path: Path, line: int, cell: ElementTree.Element, shared: list[str]) -> str:
    if cell.get("t") == "inlineStr":
        return _text(cell).strip()
    text = cell.findtext(f"{_MAIN}v") or ""
    if cell.get("t") == "s":
        if not text.isdecimal() or int(text) >= len(shared):
            raise BadInput(
                path, f"cell {cell.get('r')} names text {text!r}, which is not there", line
            )
        return shared[int(text)].strip()
    return re.sub(r"\.0+$", "", text.strip())


def _text(element: ElementTree.Element) -> str:
    """The text of a string, whose runs may be formatted apart."""
    return "".join(part.text or "" for part in element.iter(f"{_MAIN}t"))
