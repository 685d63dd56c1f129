"""The optional files of labels of a folder of videos: cases, splits, domains and labels."""

import dataclasses
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from data_builders.common.labels import entries as entry
from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry, Span
from data_builders.common.labels.instants import InstantClock
from data_builders.common.labels.label_files import SUFFIXES, UNREAD, read_labels
from data_builders.common.labels.table_columns import TableOptions
from data_builders.video_folder.cases import ONE_OR_TWO, spelling, told_apart
from data_builders.video_folder.names import Names
from surgrec_jax.records.errors import BadInput, BuildError, safe_text
from surgrec_jax.records.schema import DOMAINS

MAX_CLASSES = 1000
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "validierung"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclasses.dataclass
class VideoRows:
    """The rows of the files of labels on one video.

    Attributes:
        case_id, split, domain: or None.
        labels: column -> class name, of rows without times.
        intervals: column -> spans in order, of rows with times.
        clocks: column -> clock of its spans.
        files: column -> the file that its spans stand in.
    """

    case_id: str | None = None
    split: str | None = None
    domain: str | None = None
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    intervals: dict[str, list[Span]] = dataclasses.field(default_factory=dict)
    clocks: dict[str, InstantClock] = dataclasses.field(default_factory=dict)
    files: dict[str, Path] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Table:
    """The contents of all files of labels.

    Attributes:
        videos: id of a video -> its rows.
        video_labels, tracks: label column -> class names (sorted; numbers by value), for columns
            used in rows without and with times.
        has_split: whether the files assign splits.
        notes: sentences for the build's summary.
    """

    videos: dict[str, VideoRows]
    video_labels: dict[str, tuple[str, ...]]
    tracks: dict[str, tuple[str, ...]]
    has_split: bool
    notes: list[str]


def read_table(
    path: Path,
    videos: Collection[str],
    options: TableOptions | None = None,
    parts: Mapping[str, str] | None = None,
) -> Table:
    """Reads a file of labels, or a folder of them.

    Args:
        path: a table or an export of a labelling program (see `label_files`), or a folder of them.
        videos: ids of the videos there are: relative paths with forward slashes, or operations.
        options: how tables are read.
        parts: relative path of a file -> the operation that it was joined into.

    Raises:
        BuildError: names the file, the line and what is wrong with it.
    """
    reader = _Reader(Names(videos, parts or {}), options or TableOptions())
    try:
        for file in _files(path):
            reader.read(file)
        return reader.table(path)
    except BadInput as error:
        raise BuildError(f"{error}.") from error
    except OSError as error:
        raise BuildError(f"--labels {safe_text(path)} cannot be read: {error.strerror}.") from error


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    found = 0
    for name in sorted(os.listdir(path)):
        file = path / name
        if file.suffix.lower() in UNREAD and not name.startswith((".", "~$")):
            raise BadInput(file, "is a table of a form that is not read; save it as .xlsx or CSV")
        if file.suffix.lower() in SUFFIXES and not name.startswith((".", "~$")) and file.is_file():
            if not file.resolve().is_relative_to(path.resolve()):
                raise BadInput(file, f"leads out of the folder {safe_text(path)}")
            found += 1
            yield file
    if not found:
        raise BuildError(
            f"--labels {safe_text(path)} holds no file of labels; looked for "
            f"{' '.join(sorted(SUFFIXES))}."
        )


class _Reader:
    """Gathers what files say, video by video."""

    def __init__(self, names: Names, options: TableOptions):
        self._names, self._options = names, options
        self._videos: dict[str, VideoRows] = {}
        self._timed: dict[tuple[str, str], list[Entry]] = {}  # (video, column) -> entries
        self._values: dict[str, dict[str, tuple[Path, int]]] = {}  # column -> class -> first place
        self._notes: list[str] = []
        self._mapped: set[str] = set()
        self._cases: dict[str, str] = {}  # `spelling` of a case -> as first written
        self._columns: dict[str, None] = {}

    def read(self, file: Path) -> None:
        said = read_labels(file, self._options)
        self._notes += [f"{safe_text(file)}: {note}" for note in said.notes]
        self._names.check(file, _named(said), said.exported)
        for line, name, field, value in said.facts:
            self._fact(file, line, self._names.find(file, name, said.exported), field, value)
        self._columns |= dict.fromkeys(said.columns)
        asked = self._options.label_names
        for label in said.labels:
            if said.exported and asked is not None and label.column not in asked:
                continue
            self._label(file, label, self._names.find(file, label.video, said.exported))

    def _fact(self, file: Path, line: int, name: str, field: str, value: str) -> None:
        video = self._videos.setdefault(name, VideoRows())
        if field == "path":
            return
        if field == "split":
            given, value = value, SPLITS.get(value.casefold(), "")
            if not value:
                raise BadInput(file, f"unknown split {given!r}; choose from train, val, test", line)
            if given != value and given not in self._mapped:
                self._mapped.add(given)
                self._notes.append(f"split {given!r} is stored as {value!r}")
        if field == "domain" and value not in DOMAINS:
            known = ", ".join(DOMAINS)
            raise BadInput(file, f"unknown domain {value!r}; choose from {known}", line)
        before = getattr(video, field)
        if before is not None and before != safe_text(value):
            raise BadInput(
                file,
                f"{field} is {value!r} here and {before!r} in an earlier row of this video",
                line,
            )
        if field == "case_id":
            self._check_case(file, line, value)
        setattr(video, field, safe_text(value))

    def _check_case(self, file: Path, line: int, value: str) -> None:
        """Refuses one case in two spellings: `P1`, `p1` and `P01` would be three."""
        if re.fullmatch(r"\d+([.,]\d+)?[eE]\+\d+", value):
            reason = f"case_id is {value!r}, a number whose last digits a spreadsheet left out"
            raise BadInput(file, f"{reason}; write the column as text", line)
        other = self._cases.setdefault(spelling(value), value)
        if other != value:
            here, before = told_apart(value, other)
            raise BadInput(file, f"case_id is {here} here and {before} before: {ONE_OR_TWO}", line)

    def _label(self, file: Path, label: Entry, name: str) -> None:
        video = self._videos.setdefault(name, VideoRows())
        if label.value:
            classes = self._values.setdefault(label.column, {})
            classes.setdefault(label.value, (file, label.line))
        if label.start is None:
            if video.labels.setdefault(label.column, label.value) != label.value:
                raise BadInput(
                    file,
                    f"{label.column} of {name} is {label.value!r} here and "
                    f"{video.labels[label.column]!r} before",
                    label.line or None,
                )
            return
        self._names.check_clock(file, label.line, label.video)
        if video.files.setdefault(label.column, file) != file:
            other = safe_text(video.files[label.column])
            raise BadInput(file, f"labels {label.column} of {name}, as {other} does")
        if video.clocks.setdefault(label.column, label.clock) != label.clock:
            raise BadInput(
                file,
                f"{label.column} of {name} is in {label.clock} here and in "
                f"{video.clocks[label.column]} before",
                label.line or None,
            )
        self._timed.setdefault((name, label.column), []).append(label)

    def table(self, path: Path) -> Table:
        options = self._options
        if not self._videos:
            raise BadInput(path, "says nothing of any video: it holds no rows, or no labels")
        if unknown := sorted((options.label_names or set()) - set(self._columns)):
            found = ", ".join(self._columns) or "none"
            raise BadInput(path, f"--label_columns {unknown[0]!r} is no column (found: {found})")
        asked = {headers.plain(name) for name in options.presence}
        if unknown := sorted(asked - {column for _, column in self._timed}):
            raise BadInput(path, f"--presence {unknown[0]!r} is no column of labels with times")
        stored = {
            column: entry.one_spelling(column, classes, options.fold_classes)
            for column, classes in self._values.items()
        }
        for column, names in stored.items():
            self._notes += _several_in_one(column, set(names.values()))
        for video in self._videos.values():
            video.labels = {c: stored[c][value] for c, value in video.labels.items()}
        for (name, column), found in self._timed.items():
            video, names = self._videos[name], stored.get(column, {"": ""}) | {"": ""}
            file = video.files[column]
            renamed = (label._replace(value=names[label.value]) for label in found)
            spans = entry.spans(file, renamed, overlapping=column in asked)
            if column in asked:
                del video.files[column]
                _add_presence(video, column, spans, stored.get(column, {}).values(), file)
            elif spans:
                video.intervals[column] = spans
        rows = list(self._videos.values())
        return Table(
            videos=self._videos,
            video_labels=_classes(path, (v.labels.items() for v in rows)),
            tracks=_classes(
                path,
                (
                    (
                        (column, span.value)
                        for column, spans in v.intervals.items()
                        for span in spans
                    )
                    for v in rows
                ),
            ),
            has_split=any(v.split for v in rows),
            notes=self._notes,
        )


def _several_in_one(column: str, classes: Collection[str]) -> list[str]:
    """A note where the cell of a row seems to list several classes."""
    for name in sorted(classes):
        listed = [part.strip() for part in re.split(r"[;,|+&]", name)]
        if len(listed) > 1 and all(listed) and classes & set(listed):
            return [
                f"{column}: {name!r} is a class of its own; if it lists several that hold at a "
                f"time, write a row for each and give --presence {column}"
            ]
    return []


def _named(said: Entries) -> Iterator[tuple[int, str]]:
    yield from ((line, name) for line, name, _, _ in said.facts)
    yield from ((label.line, label.video) for label in said.labels)


def _add_presence(video: VideoRows, column: str, spans, classes: Iterable[str], file: Path) -> None:
    """A track per class in place of one track: where it holds "present", elsewhere "absent"."""
    clock, made = video.clocks.pop(column), {}
    for value in dict.fromkeys(classes):
        name = f"{column}_{headers.plain(value)}"
        if made.setdefault(name, value) != value:
            raise BadInput(file, f"classes {made[name]!r} and {value!r} would both be {name}")
        if name in video.intervals or not re.fullmatch(r"[a-z0-9_]+", name):
            raise BadInput(file, f"class {value!r} of {column} cannot be a track {name!r}")
        own = [span for span in spans if span.value == value]
        video.intervals[name] = entry.presence(own)
        video.clocks[name], video.files[name] = clock, file


def _classes(path: Path, of_videos: Iterable[Iterable[tuple[str, str]]]) -> dict:
    found: dict[str, set[str]] = {}
    for pairs in of_videos:
        for column, value in pairs:
            found.setdefault(column, set()).add(value)
    classes = {}
    for column, names in found.items():
        if len(names) > MAX_CLASSES:
            raise BuildError(
                f"{safe_text(path)}: column {column!r} has {len(names)} different values; is it a "
                "label? Take it out of the table if not."
            )
        numbers = all(re.fullmatch(r"-?\d{1,9}", name) for name in names)
        key = (lambda name: (int(name), name)) if numbers else None
        classes[column] = tuple(sorted(names, key=key))
    return classes
