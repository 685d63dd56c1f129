"""A table with a header that somebody wrote: which column is what, and what each row says."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry
from data_builders.common.labels.instants import Instant, read_instant, show
from data_builders.common.labels.samples import held, sampled_end
from data_builders.common.labels.sheets import Sheet, nothing
from data_builders.common.labels.table_columns import (
    Columns,
    TableOptions,
    check_doubt,
    find_columns,
    whole_number,
)
from surgrec_jax.records.errors import BadInput

# What spreadsheets show of a formula that failed, or of a column that is too narrow.
_FAILED = re.compile(r"#+|#[^\W\d_]+(?:/0)?[!?]|Err:\d+")
# A small number with as many decimals as a spreadsheet gives to a part of a day.
_PART_OF_DAY = re.compile(r"0?[.,](?=\d*[1-9])\d{5,}|\d(?:[.,]\d+)?[eE]-\d+")
_LONGEST_OPERATION = 0.5  # days


def read_plain(sheet: Sheet, options: TableOptions) -> Entries:
    """Reads the entries of a table.

    Raises:
        BadInput: names the file, the line and what is wrong.
    """
    if not sheet.rows:
        raise BadInput(sheet.path, "holds no rows: the header needs a column 'path'", 1)
    line, header = sheet.rows[0]
    names, rows = _squared(sheet, header)
    notes = sheet.notes
    if not names[0] and _counts_rows([row[0] for _, row in rows]):  # an index, as pandas writes it
        names, rows = names[1:], [(number, row[1:]) for number, row in rows]
        notes = (*notes, "the first column has no name and counts the rows: it is not used")
    columns = find_columns(sheet.path, line, names, options)
    values = [[row[k] for _, row in rows] for k in columns.labels]
    if options.label_columns is None:
        check_doubt(sheet.path, line, names, columns, values)
    _check_failed(sheet.path, names, rows, columns)
    _check_parts_of_days(sheet.path, rows, columns)
    return _entries(sheet.path, names, rows, columns, options, notes)


def _counts_rows(cells: Sequence[str]) -> bool:
    """Whether cells are whole numbers that increase from row to row."""
    numbers = [int(cell) for cell in cells if re.fullmatch(r"\d{1,9}", cell)]
    increase = all(a < b for a, b in itertools.pairwise(numbers))
    return increase and 0 < len(numbers) == len(cells)


def _squared(sheet: Sheet, header: Sequence[str]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Names of columns and rows of as many cells; empty columns at the end are left out."""
    count = len(header)
    while count and not header[count - 1]:
        count -= 1
    rows = []
    for line, cells in sheet.rows[1:]:
        if len(cells) > count and any(cells[count:]):
            hint = ""
            if count == 1:
                hint = "; is that a title? the names of the columns must be the first line"
            elif sheet.delimiter == ",":
                hint = "; a decimal comma where commas part cells? save the table with semicolons"
            raise BadInput(
                sheet.path, f"has {len(cells)} cells, the header has {count}{hint}", line
            )
        if len(cells) < count and sheet.delimiter:
            raise BadInput(sheet.path, f"has {len(cells)} cells, the header has {count}", line)
        cells = cells[:count] + [""] * (count - len(cells))
        if any(cells):
            rows.append((line, cells))
    return list(header[:count]), rows


def _entries(path: Path, names, rows, columns: Columns, options, notes) -> Entries:
    ends = columns.duration if columns.end is None else columns.end
    has_ends = ends is not None
    decimals: dict[str, int] = {}
    labels, facts, instants = [], [], {}
    plain = {k: headers.plain(names[k]) for k in columns.labels}

    def read(line: int, cells, k: int | None) -> Instant | None:
        if k is None or nothing(cells[k]):
            return None
        try:
            found = read_instant(cells[k], columns.units[k])
        except ValueError as error:
            raise BadInput(path, f"{names[k]}: {error}", line) from None
        if found.decimal:
            decimals.setdefault(found.decimal, line)
        return found

    for line, cells in rows:
        video = _video(path, line, cells, names, columns)
        for field, k in columns.facts.items():
            if not nothing(cells[k]):
                facts.append((line, video, field, cells[k]))
        if columns.path is not None:
            facts.append((line, video, "path", video))
        start, end = read(line, cells, columns.start), read(line, cells, ends)
        if (end is not None and start is None) or (has_ends and start is not None and end is None):
            given, until = names[columns.start], names[ends]
            raise BadInput(
                path,
                f"{given} {cells[columns.start]!r} and {until} {cells[ends]!r}: both are needed",
                line,
            )
        begin, stop, clock = None, None, "seconds"
        if start is not None:
            begin, stop, clock = _interval(path, line, start, end, columns, options)
            if end is None and columns.sampled:
                said = [cells[k] for k in columns.labels]
                instants.setdefault((video, clock), []).append((begin, line, said))
        for k in columns.labels:
            value = "" if nothing(cells[k]) else " ".join(cells[k].split())
            if value or (begin is not None and stop is None):
                labels.append(Entry(line, video, plain[k], value, begin, stop, clock))
    if len(decimals) > 1:
        raise BadInput(
            path,
            f"has a decimal comma here and a decimal point in line {decimals['.']}; write one of "
            "them throughout, and no thousands separators",
            decimals[","],
        )
    _check_first_frame(path, labels, options)
    notes = (*notes, *_gaps_of_one(labels))
    ends = {key: sampled_end(path, key[1], found) for key, found in instants.items()}
    labels = [held(entry, ends) for entry in labels]
    if columns.unused:
        unused = ", ".join(repr(names[k]) for k in columns.unused)
        notes = (*notes, f"columns that are not used: {unused}")
    return Entries(_whole_numbers(labels), facts, tuple(plain.values()), notes)


def _video(path: Path, line: int, cells, names, columns: Columns) -> str:
    """What a row calls its video; "" in a table without such a column."""
    if columns.path is None:
        return ""
    if nothing(cells[columns.path]):
        raise BadInput(
            path,
            f"names no video in {names[columns.path]!r}: fill the cell in every row (of merged "
            "cells the first alone is filled)",
            line,
        )
    return cells[columns.path]


def _interval(path, line, start: Instant, end: Instant | None, columns, options):
    """(start, end or None, clock) of a row; frames counted from 0, the end exclusive."""
    shift = (options.first_frame or 0) if start.clock == "frames" else 0
    if start.value < shift:
        raise BadInput(path, f"frame {start.value:.0f}, where frames count from {shift}", line)
    if end is None:
        return start.value - shift, None, start.clock
    if columns.duration is not None:
        if "timecode" in end.clock or end.clock != start.clock:
            raise BadInput(path, "start and duration must be in one unit", line)
        last = start.value + end.value
    else:
        if end.clock != start.clock:
            raise BadInput(path, f"starts in {start.clock} and ends in {end.clock}", line)
        last = end.value + (1 if end.clock == "frames" else 0)
    if last <= start.value:
        raise BadInput(
            path,
            f"the interval from {show(start.value, start.clock)} to {show(end.value, end.clock)} "
            "is empty or negative",
            line,
        )
    return start.value - shift, last - shift, start.clock


def _check_first_frame(path: Path, labels: Sequence[Entry], options: TableOptions) -> None:
    """Refuses frame numbers that begin at 1 where nobody said which number the first frame has."""
    counted = [label for label in labels if label.clock == "frames" and label.start is not None]
    if options.first_frame is None and counted and min(e.start for e in counted) == 1:
        line = next(label.line for label in counted if label.start == 1)
        raise BadInput(
            path,
            "frames begin at 1 in this table: give --first_frame 1 if that is the first frame of a "
            "video, or --first_frame 0 if it is the second",
            line,
        )


def _gaps_of_one(labels: Sequence[Entry]) -> list[str]:
    """A note where whole seconds seem to be the last of their labels, not their ends."""
    gaps, before = [], {}
    for label in labels:
        if label.clock == "seconds" and label.start is not None and label.end is not None:
            key = label.video, label.column
            if key in before:
                gaps.append(label.start - before[key])
            before[key] = label.end
    if len(gaps) < 2 or set(gaps) != {1.0}:
        return []
    return [
        "every label begins one second after the end of the one before, and that second is "
        "unlabelled: if an end is the last second of its label, add 1 to the ends; if these are "
        "frame numbers, give --time_unit frames"
    ]


def _check_failed(path: Path, names: list[str], rows, columns: Columns) -> None:
    """Refuses cells that a spreadsheet could not fill."""
    for line, cells in rows:
        for k in (*columns.facts.values(), *columns.labels):
            if _FAILED.fullmatch(cells[k]):
                raise BadInput(
                    path,
                    f"{names[k]} is {cells[k]!r}, which a spreadsheet writes where a formula "
                    "failed or a column is too narrow: mend it there",
                    line,
                )


def _check_parts_of_days(path: Path, rows, columns: Columns) -> None:
    """Refuses times without a unit that seem to count in days, as spreadsheets hold times."""
    times = [k for k, unit in columns.units.items() if unit is None]
    given = [(line, cells[k]) for line, cells in rows for k in times if not nothing(cells[k])]
    small = next((place for place in given if _PART_OF_DAY.fullmatch(place[1])), None)
    if small is None:
        return
    try:
        if max(read_instant(cell).value for _, cell in given) >= _LONGEST_OPERATION:
            return
    except ValueError:
        return  # reading the rows says which cell is no time
    raise BadInput(
        path,
        f"times such as {small[1]!r} may be parts of a day, as spreadsheets hold times: show the "
        "cells as hh:mm:ss, or give --time_unit s if they are seconds",
        small[0],
    )


def _whole_numbers(labels: list[Entry]) -> list[Entry]:
    """Class numbers that a program wrote as 1.0 are 1, where a column holds numbers alone."""
    decimal = re.compile(r"([+-]?\d+)[.,]0+")
    numbers = {entry.column for entry in labels} - {
        entry.column
        for entry in labels
        if entry.value and not whole_number(entry.value) and not decimal.fullmatch(entry.value)
    }
    return [
        entry._replace(value=decimal.sub(r"\1", entry.value)) if entry.column in numbers else entry
        for entry in labels
    ]
