"""Reads the one filled sheet of an Excel workbook (.xlsx) with openpyxl, within bounds.

A workbook is a zip archive of XML files (ECMA-376). Each is measured before openpyxl sees it:
unpacked bytes, number of tags, and no document type, so that no entity can grow.
"""

import datetime
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

from surgrec_jax.records.errors import BadInput

MAX_BYTES = 64 * 2**20  # size of the file, and of one XML file in it, unpacked
MAX_TAGS = 2_000_000  # an element of a few bytes takes a hundred in memory
MAX_UNPACKED = 4 * MAX_BYTES
MAX_COLUMNS = 256
MAX_ROWS = 2**20  # Excel's own bound; a row may claim any number, and those before it are made up
_NO_XML = ("xl/media/", "xl/printerSettings/", "docProps/thumbnail")
_NO_VALUE = re.compile(rb"(?:</f>|<f/>)\s*(?:<v\s*/>|<v>\s*</v>)?\s*</c>")
_DAY_0 = datetime.datetime(1899, 12, 30)


def read_sheet(path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a workbook with one sheet that is not empty: (row number from 1, cells as text).

    Empty rows are left out; cells are "" where nothing stands. Whole numbers have no decimals.
    Times and lengths of time are written `hh:mm:ss.ffffff`; where the workbook shows them without
    seconds the text says so, for nobody can tell whether hours or minutes were meant.

    Raises:
        BadInput: missing, not such a workbook, too large, or several sheets.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BadInput(path, f"is larger than {MAX_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            total = 0
            for name in archive.namelist():
                total += _check(path, archive, name)
                if total > MAX_UNPACKED:
                    raise BadInput(path, f"holds more than {MAX_UNPACKED} bytes, unpacked")
        return _rows(path)
    except FileNotFoundError:
        raise BadInput(path, "the annotation file is missing") from None
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    except (BadInput, MemoryError):
        raise
    except Exception as error:  # openpyxl checks little: damaged XML fails in it in any way
        words = " ".join(str(error).split())[:200]
        raise BadInput(path, f"is not an Excel workbook (.xlsx): {words}") from error


def _check(path: Path, archive: zipfile.ZipFile, name: str) -> int:
    """Refuses a file that is too much to read; returns its bytes, unpacked."""
    with archive.open(name) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadInput(path, f"{name} is larger than {MAX_BYTES} bytes")
    if name.startswith(_NO_XML):
        return len(data)
    if data.count(b"<") > MAX_TAGS:
        raise BadInput(path, f"{name} holds more than {MAX_TAGS} tags")
    # Entities could grow without bound; Excel writes none, and always UTF-8.
    if b"\0" in data or b"<!" in data.replace(b"<!--", b""):
        raise BadInput(path, f"{name} holds a document type, which no workbook needs")
    if name.startswith("xl/worksheets/") and _NO_VALUE.search(data):
        raise BadInput(path, "holds formulas without their values; open and save it in Excel")
    return len(data)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    import openpyxl  # takes a third of a second

    filled: dict[str, list[tuple[int, list[str]]]] = {}
    # The file is passed open: of a path openpyxl would look at the ending alone.
    with warnings.catch_warnings(), open(path, "rb") as file:
        warnings.simplefilter("ignore")  # warnings of styles it does not know
        book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
        try:
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # forgets the size that a sheet claims
                if rows := _cells(path, sheet):
                    filled[sheet.title] = rows
        finally:
            book.close()
    if len(filled) > 1:
        names = ", ".join(map(repr, filled))
        raise BadInput(path, f"has {len(filled)} sheets with cells ({names}); one is expected")
    return next(iter(filled.values()), [])


def _cells(path: Path, sheet) -> list[tuple[int, list[str]]]:
    rows = []
    for number, row in enumerate(sheet.iter_rows(), start=1):
        if number > MAX_ROWS:
            raise BadInput(path, f"claims more than {MAX_ROWS} rows")
        if len(row) > MAX_COLUMNS:
            raise BadInput(
                path, f"has more than {MAX_COLUMNS} columns: a cell is out of place", number
            )
        cells = [_text(cell.value, getattr(cell, "number_format", "")) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            rows.append((number, cells))
    return rows


def _text(value: Any, shown: str) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float) and value == int(value) and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.time):
        value = datetime.datetime.combine(_DAY_0, value)
    if isinstance(value, datetime.datetime) and value.year < 1901:  # 24 hours and more, or a time
        value = value - _DAY_0
    if isinstance(value, datetime.timedelta):
        return _clock(value, shown or "")
    if isinstance(value, datetime.datetime):  # of a day alone the day, as it is typed elsewhere
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    return str(value).strip()


def _clock(length: datetime.timedelta, shown: str) -> str:
    total = length / datetime.timedelta(microseconds=1)
    sign, total = "-" if total < 0 else "", int(abs(total))
    seconds, micro = divmod(total, 10**6)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    text = f"{sign}{hours:02}:{minutes:02}:{seconds:02}" + (f".{micro:06}" if micro else "")
    # Letters within quotation marks and after a backslash are shown as they are.
    letters = re.sub(r'"[^"]*"|\\.|\[\$[^\]]*\]', "", shown.lower())
    if "h" in letters and "s" not in letters:
        return f"{text} shown without seconds"
    return text
