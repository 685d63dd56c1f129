"""ELAN's tab-delimited text: one annotation a line, its tier in a column, with or without a header.

A tier becomes a track and an annotation's value its class. Without a header the columns are, as
ELAN writes them: tier, participant, then begin, end and duration in one or more notations, then the
value, and the file that it came from if asked for. Which columns are which is told by arithmetic:
begin plus duration must be the end in every line.
"""

import itertools
import re

from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry
from data_builders.common.labels.instants import read_instant
from data_builders.common.labels.sheets import Sheet, nothing
from surgrec_jax.records.errors import BadInput

_CLOCK = re.compile(r"\d{1,3}:\d\d:\d\d[.,]\d{3}")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")
_TIER = frozenset(("tier", "tier_name", "ebene", "acteur", "tier_id"))
_VALUE = frozenset(("annotation", "value", "annotation_value", "text", "wert", "valeur", "default"))
_SLACK = 2e-3


def is_elan(sheet: Sheet) -> bool:
    """Whether a table is one of ELAN: columns of a tier and times, or lines of clock times."""
    if sheet.delimiter not in ("\t", ",") or not sheet.rows:
        return False
    return _named(sheet) is not None or _times(sheet.rows[0][1]) is not None


def read_elan(sheet: Sheet) -> Entries:
    """The annotations of an export.

    Raises:
        BadInput: a line of another form, times that do not add up, or a tier whose name is no
            track.
    """
    named = _named(sheet)
    rows = sheet.rows if named is None else sheet.rows[1:]
    tier, begin, end, unit, value, media = named or _unnamed(sheet)
    labels, columns = [], {}
    for line, cells in rows:
        if len(cells) <= max(tier, begin, end, value):
            raise BadInput(sheet.path, f"has {len(cells)} cells, others have more", line)
        column = headers.track_name(sheet.path, "tier", cells[tier], line)
        columns.setdefault(column)
        try:
            start, stop = (read_instant(cells[k], unit).value for k in (begin, end))
        except ValueError as error:
            raise BadInput(sheet.path, str(error), line) from None
        if stop < start:
            raise BadInput(sheet.path, f"ends at {stop:g} s, before it begins", line)
        text = " ".join(cells[value].split())
        if not nothing(text):
            video = cells[media] if media is not None and media < len(cells) else ""
            labels.append(Entry(line, video, column, text, start, stop))
    return Entries(labels, columns=tuple(columns), notes=sheet.notes, exported=True)


def _named(sheet: Sheet) -> tuple | None:
    """The columns of a table with a header of ELAN, or None."""
    names = sheet.rows[0][1]
    plain = [headers.plain(name) for name in names]
    tiers = [k for k, name in enumerate(plain) if name in _TIER]
    values = [k for k, name in enumerate(plain) if name in _VALUE]
    roles = {k: found for k, name in enumerate(names) if (found := headers.time_name(name))}
    try:
        begin, end = (headers.choose(names, roles, role) for role in ("start", "end"))
    except ValueError:
        return None
    if len(tiers) != 1 or len(values) != 1 or begin is None or end is None:
        return None
    if roles[begin].unit != roles[end].unit:
        return None
    unit = roles[begin].unit
    media = [k for k, name in enumerate(plain) if name in headers.PATH]
    return tiers[0], begin, end, unit, values[0], media[0] if media else None


def _times(cells: list[str]) -> tuple[int, int] | None:
    """First column of the times and the one after them, in a line without a header."""
    isatime = [bool(_CLOCK.fullmatch(cell) or _NUMBER.fullmatch(cell)) for cell in cells]
    clocks = [k for k, cell in enumerate(cells) if _CLOCK.fullmatch(cell)]
    if len(clocks) < 2 or clocks[0] == 0:
        return None
    first = clocks[0]
    run = len(list(itertools.takewhile(bool, isatime[first:])))
    return (first, first + run) if run >= 2 else None


def _unnamed(sheet: Sheet) -> tuple:
    """The columns of a table without a header."""
    first, after = _times(sheet.rows[0][1])
    run = after - first
    for count, forms in itertools.product((3, 2), range(1, 6)):
        # A value that is a number looks like one time more.
        for extra in (0, 1):
            if count * forms + extra == run and _adds_up(sheet, first, forms, count):
                value = first + count * forms
                return 0, first, first + forms, None, value, None
    raise BadInput(
        sheet.path,
        "looks like tab-delimited text of ELAN without a header, but begin, end and duration are "
        "not where it writes them; export it with column names",
        sheet.rows[0][0],
    )


def _adds_up(sheet: Sheet, first: int, forms: int, count: int) -> bool:
    """Whether begin, end (and duration) stand `forms` columns apart from `first` on."""
    for _, cells in sheet.rows:
        if len(cells) <= first + forms * count:
            return False
        picked = cells[first : first + forms * count : forms]
        if not all(map(_CLOCK.fullmatch, picked)):
            return False
        times = [read_instant(cell).value for cell in picked]
        if times[1] < times[0]:
            return False
        if count == 3 and abs(times[0] + times[2] - times[1]) > _SLACK:
            return False
    return True
