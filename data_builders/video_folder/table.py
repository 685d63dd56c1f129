"""The optional CSV of a folder of videos: cases, splits, domains and labels."""

import bisect
import csv
import dataclasses
import difflib
import math
import re
import unicodedata
from collections.abc import Collection, Mapping
from pathlib import Path

from data_builders.common.labels.tables import check_values
from surgrec_jax.records.errors import BadInput, BuildError, safe_text
from surgrec_jax.records.schema import DOMAINS

KNOWN = ("path", "case_id", "split", "domain", "start_s", "end_s")
MAX_CLASSES = 1000
MAX_BYTES = 256 * 2**20


@dataclasses.dataclass
class VideoRows:
    """What the table says of one video.

    Attributes:
      case_id, split, domain: or None.
      labels: column -> class name, of rows without times.
      intervals: column -> [(start in s, end in s, class name)], of rows with times.
    """

    case_id: str | None = None
    split: str | None = None
    domain: str | None = None
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    intervals: dict[str, list[tuple[float, float, str]]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Table:
    """A read CSV.

    Attributes:
      videos: relative path of a video -> its rows.
      video_labels, tracks: label column -> class names (sorted; numbers by value), for columns used
        in rows without and with times.
      has_split: whether the table assigns splits.
    """

    videos: dict[str, VideoRows]
    video_labels: dict[str, tuple[str, ...]]
    tracks: dict[str, tuple[str, ...]]
    has_split: bool


def read_table(path: Path, videos: Collection[str]) -> Table:
    """Reads the CSV (comma, semicolon or tab; UTF-8; header with a `path` column).

    Args:
      path: the CSV.
      videos: relative paths of the videos there are, with forward slashes.

    Raises:
      BuildError: names the file, the line and what is wrong with it.
    """
    by_name = {_same(name): name for name in videos}
    rows: dict[str, VideoRows] = {}
    unknown = []
    header, numbered = _read_rows(path)
    label_columns = [name for name in header if name not in KNOWN]
    for line, cells in numbered:
        name = by_name.get(_same(cells["path"].replace("\\", "/")).removeprefix("./"))
        if name is None:
            unknown.append((line, cells["path"]))
            continue
        video = rows.setdefault(name, VideoRows())
        for field in ("case_id", "split", "domain"):
            _set_once(path, line, video, field, cells.get(field, ""))
        if video.domain is not None and video.domain not in DOMAINS:
            raise _error(
                path, line, f"unknown domain {video.domain!r}; choose from {', '.join(DOMAINS)}"
            )
        times = _times(path, line, cells.get("start_s", ""), cells.get("end_s", ""))
        for column in label_columns:
            value = " ".join(cells[column].split())
            if not value:
                continue
            if times is not None:
                _add_interval(path, line, video.intervals.setdefault(column, []), *times, value)
            elif video.labels.setdefault(column, value) != value:
                raise _error(
                    path,
                    line,
                    f"{column} of {name} is {value!r} here and {video.labels[column]!r} before",
                )
    if unknown:
        raise _unknown_files(path, unknown, videos)
    return Table(
        videos=rows,
        video_labels=_classes(path, label_columns, [v.labels for v in rows.values()]),
        tracks=_classes(
            path,
            label_columns,
            [
                {column: value}
                for video in rows.values()
                for column, spans in video.intervals.items()
                for _, _, value in spans
            ],
        ),
        has_split="split" in header and any(v.split for v in rows.values()),
    )


def _read_rows(path: Path):
    try:
        if path.stat().st_size > MAX_BYTES:
            raise BuildError(f"{safe_text(path)} is larger than {MAX_BYTES} bytes.")
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BuildError(f"--labels {safe_text(path)} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _error(path, line, "is not UTF-8 text; save the table as CSV UTF-8") from error
    try:
        check_values(path, text, ",;\t")
    except BadInput as error:
        raise BuildError(f"{error}.") from error
    lines = text.splitlines()
    first = lines[0] if lines else ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    rows = []
    try:
        header = [re.sub(r"\W+", "_", cell.strip().lower()) for cell in next(reader, [])]
        _check_header(path, header)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise _error(
                    path, reader.line_num, f"has {len(cells)} cells, the header has {len(header)}"
                )
            cells = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            rows.append((reader.line_num, cells))
    except csv.Error as error:
        raise _error(path, reader.line_num, str(error)) from error
    return header, rows


def _check_header(path: Path, header: list[str]) -> None:
    if "path" not in header:
        raise _error(
            path, 1, f"the header needs a column 'path' (found: {', '.join(header) or 'nothing'})"
        )
    if ("start_s" in header) != ("end_s" in header):
        raise _error(path, 1, "start_s and end_s go together; one of them is missing")
    for name in header:
        if not name or header.count(name) > 1:
            raise _error(path, 1, f"column {name!r} is empty or stands there twice")
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", name):
            raise _error(path, 1, f"column {name!r}: use letters a to z, digits and underscores")


def _set_once(path: Path, line: int, video: VideoRows, field: str, value: str) -> None:
    before = getattr(video, field)
    if not value:
        return
    if before is not None and before != value:
        raise _error(
            path, line, f"{field} is {value!r} here and {before!r} in an earlier row of this video"
        )
    setattr(video, field, safe_text(value))


def _times(path: Path, line: int, start: str, end: str) -> tuple[float, float] | None:
    if not start and not end:
        return None
    try:
        times = float(start), float(end)
    except ValueError:
        raise _error(
            path, line, f"start_s {start!r} and end_s {end!r} must both be seconds"
        ) from None
    if not (all(map(math.isfinite, times)) and 0 <= times[0] < times[1]):
        raise _error(path, line, f"the interval from {start} s to {end} s is empty or negative")
    return times


def _add_interval(path, line, spans, start, end, value) -> None:
    """Puts an interval into `spans`, which stays sorted."""
    at = bisect.bisect(spans, (start, end, value))
    for other_start, other_end, other in spans[max(0, at - 1) : at + 1]:
        if start < other_end and other_start < end:
            raise _error(
                path, line, f"{value!r} overlaps {other!r} ({other_start:g} to {other_end:g} s)"
            )
    spans.insert(at, (start, end, value))


def _classes(path, columns, assigned: list[Mapping[str, str]]) -> dict[str, tuple[str, ...]]:
    classes = {}
    for column in columns:
        names = {labels[column] for labels in assigned if column in labels}
        if len(names) > MAX_CLASSES:
            raise BuildError(
                f"{safe_text(path)}: column {column!r} has {len(names)} different values; is it a "
                "label? Take it out of the table if not."
            )
        if names:
            numbers = all(re.fullmatch(r"-?\d{1,9}", name) for name in names)
            classes[column] = tuple(sorted(names, key=(lambda n: (int(n), n)) if numbers else None))
    return classes


def _unknown_files(path: Path, unknown, videos) -> BuildError:
    line, name = unknown[0]
    near = difflib.get_close_matches(name, list(videos)[:5000], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    more = f"; and {len(unknown) - 1} more such rows" if len(unknown) > 1 else ""
    return _error(path, line, f"names {name!r}, which is not among the videos{hint}{more}")


def _error(path: Path, line: int, reason: str) -> BuildError:
    return BuildError(f"{safe_text(path)}:{line}: {reason}.")


def _same(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS writes accents as separate characters
