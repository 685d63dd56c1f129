"""Exports of BORIS (CSV or tab-delimited): aggregated events, and tabular events.

A state becomes an interval of the track that its behavioral category names, or of `behavior`. With
several subjects a track is each subject's own. Point events last no time and label no frame: they
are counted in a note.
"""

from collections.abc import Mapping
from pathlib import Path

from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry
from data_builders.common.labels.instants import read_instant
from data_builders.common.labels.sheets import Sheet, nothing
from surgrec_jax.records.errors import BadInput

_MEDIA = ("media_file_name", "media_file", "media_file_path")
_NO_SUBJECT = "no focal subject"


def is_boris(sheet: Sheet) -> bool:
    """Whether a table is one of BORIS, told by its columns; older ones begin with other lines."""
    return _header(sheet) is not None


def read_boris(sheet: Sheet) -> Entries:
    """The labels of an export.

    Raises:
        BadInput: names the line and what is wrong: a state without its end, several media files.
    """
    at = _header(sheet)
    columns = [headers.plain(cell) for cell in sheet.rows[at][1]]
    rows = []
    for line, cells in sheet.rows[at + 1 :]:
        if len(cells) > len(columns) and any(cells[len(columns) :]):
            raise BadInput(
                sheet.path, f"has {len(cells)} cells, the header has {len(columns)}", line
            )
        cells = cells + [""] * (len(columns) - len(cells))
        rows.append((line, dict(zip(columns, cells, strict=False))))
    subjects = {_subject(cells) for _, cells in rows}
    tracks = _Tracks(sheet.path, several=len(subjects) > 1)
    if "stop_s" in columns:
        labels, points = _aggregated(sheet.path, rows, tracks)
    else:
        labels, points = _tabular(sheet.path, rows, tracks)
    notes = list(sheet.notes)
    if points:
        notes.append(f"{points} point events last no time and label nothing")
    return Entries(labels, columns=tuple(tracks.names), notes=tuple(notes), exported=True)


def _header(sheet: Sheet) -> int | None:
    for k, (_, cells) in enumerate(sheet.rows[:40]):
        found = {headers.plain(cell) for cell in cells}
        timed = {"start_s", "stop_s"} <= found or "time" in found
        if "behavior" in found and timed and found & {"behavior_type", "status"}:
            return k
    return None


class _Tracks:
    """Names of the tracks that behaviors belong to, in order."""

    def __init__(self, path: Path, several: bool):
        self.names: dict[str, None] = {}
        self._path, self._several = path, several

    def of(self, line: int, cells: Mapping[str, str]) -> str:
        category = cells.get("behavioral_category", "")
        name = "behavior" if nothing(category) else headers.plain(category)
        if self._several and _subject(cells):
            name = f"{headers.plain(_subject(cells))}_{name}"
        name = headers.track_name(self._path, "subject or category", name, line)
        self.names.setdefault(name)
        return name


def _subject(cells: Mapping[str, str]) -> str:
    subject = cells.get("subject", "")
    return "" if nothing(subject) or subject.casefold() == _NO_SUBJECT else subject


def _media(path: Path, line: int, cells: Mapping[str, str]) -> str:
    for name in _MEDIA:
        media = cells.get(name, "")
        if not nothing(media):
            if ";" in media:
                raise BadInput(
                    path,
                    f"the observation is of several media files ({media}), on one clock; join them "
                    "to one video first",
                    line,
                )
            return media.removeprefix("#1:").strip()
    return ""


def _time(path: Path, line: int, cells: Mapping[str, str], name: str) -> float:
    try:
        found = read_instant(cells.get(name, ""), None)
    except ValueError as error:
        raise BadInput(path, f"{name}: {error}", line) from None
    if found.clock != "seconds":
        raise BadInput(path, f"{name}: {cells[name]!r} is not in seconds", line)
    return found.value


def _aggregated(path: Path, rows, tracks: _Tracks) -> tuple[list[Entry], int]:
    labels, points = [], 0
    for line, cells in rows:
        if cells["behavior_type"].upper() == "POINT" or nothing(cells["stop_s"]):
            points += 1
            continue
        start, end = _time(path, line, cells, "start_s"), _time(path, line, cells, "stop_s")
        if end < start:
            raise BadInput(path, f"the state from {start:g} s to {end:g} s is negative", line)
        media = _media(path, line, cells)
        labels.append(
            Entry(
                line, media, tracks.of(line, cells), " ".join(cells["behavior"].split()), start, end
            )
        )
    return labels, points


def _tabular(path: Path, rows, tracks: _Tracks) -> tuple[list[Entry], int]:
    labels, points = [], 0
    open_states: dict[tuple[str, ...], tuple[int, float, str]] = {}
    of_observation: dict[str, str] = {}
    for line, cells in rows:
        kind = (cells.get("behavior_type") or cells.get("status", "")).upper()
        if kind not in ("START", "STOP", "POINT"):
            raise BadInput(path, f"has a behavior type {kind!r}: START, STOP or POINT", line)
        if kind == "POINT":
            points += 1
            continue
        media, observation = _media(path, line, cells), cells.get("observation_id", "")
        if of_observation.setdefault(observation, media) != media:
            raise BadInput(
                path,
                f"observation {observation!r} is of {media} here and of "
                f"{of_observation[observation]} before, on one clock; join them to one video first",
                line,
            )
        track, behavior = tracks.of(line, cells), " ".join(cells["behavior"].split())
        modifiers = [value for name, value in cells.items() if name.startswith("modifier")]
        key = (observation, media, track, behavior, *modifiers)
        time = _time(path, line, cells, "time")
        if kind == "START":
            if key in open_states:
                raise BadInput(path, f"{behavior!r} starts, as in line {open_states[key][0]}", line)
            open_states[key] = line, time, track
            continue
        if key not in open_states:
            raise BadInput(path, f"{behavior!r} stops without a start", line)
        began, start, track = open_states.pop(key)
        if time < start:
            raise BadInput(path, f"{behavior!r} stops at {time:g} s, before its start", line)
        labels.append(Entry(began, media, track, behavior, start, time))
    if open_states:
        key, (line, _, _) = next(iter(open_states.items()))
        raise BadInput(path, f"{key[3]!r} starts and never stops", line)
    return labels, points
