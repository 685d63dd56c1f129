"""JSON exports of Label Studio (JSON and JSON-MIN) of videos.

`TimelineLabels` count frames from 1 and the last one belongs to the label; boxes that move
(`VideoRectangle`) last while they are enabled; `Labels` of audio and time lines are in seconds; a
choice without a time labels the whole video. The control's name (`from_name`) names the track.
"""

import re
import urllib.parse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_builders.common.labels import headers
from data_builders.common.labels.annotations import read_json
from data_builders.common.labels.entries import Entries, Entry
from surgrec_jax.records.errors import BadInput

_VIDEO = re.compile(r"\.[A-Za-z0-9]{2,5}$")
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")


def read_label_studio(path: Path) -> Entries:
    """The labels of an export.

    Raises:
        BadInput: not such an export, several annotations of one task, or values of another form.
    """
    tasks = read_json(path)
    tasks = [tasks] if isinstance(tasks, dict) else tasks
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise BadInput(path, "is not an export of Label Studio: a list of tasks is expected")
    labels: list[Entry] = []
    for k, task in enumerate(tasks, start=1):
        video = _video(path, k, task)
        for name, value in _results(path, k, task):
            track = headers.track_name(path, f"task {k}: control", name)
            labels += _entries(path, k, video, track, value)
    columns = tuple(dict.fromkeys(entry.column for entry in labels))
    return Entries(labels, columns=columns, exported=True)


def _video(path: Path, k: int, task: Mapping[str, Any]) -> str:
    data = task["data"] if isinstance(task.get("data"), dict) else task
    named = [value for value in data.values() if isinstance(value, str) and _VIDEO.search(value)]
    named = [data["video"]] if isinstance(data.get("video"), str) else named
    upload = task.get("file_upload")
    if len(named) != 1 and isinstance(upload, str):
        named = [upload]
    if len(named) != 1:
        raise BadInput(path, f"task {k} names {len(named)} files; one video is expected")
    name = urllib.parse.unquote(named[0].partition("?d=")[2] or named[0].partition("?")[0])
    folder, slash, file = name.rpartition("/")
    return folder + slash + _UPLOAD.sub("", file, count=1)


def _results(path: Path, k: int, task: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(name of the control, its value) of every region of a task."""
    if "annotations" not in task and "completions" not in task:  # JSON-MIN
        for name, values in task.items():
            if isinstance(values, list):
                yield from ((name, value) for value in values if isinstance(value, dict))
            elif isinstance(values, dict) and "choices" in values:
                yield name, values
        return
    given = task.get("annotations", task.get("completions"))
    if not isinstance(given, list):
        raise BadInput(path, f"task {k} has no list of annotations")
    kept = [a for a in given if isinstance(a, dict) and not a.get("was_cancelled")]
    if len(kept) > 1:
        raise BadInput(
            path, f"task {k} was annotated {len(kept)} times; export one annotation of each task"
        )
    for annotation in kept:
        results = annotation.get("result")
        for result in results if isinstance(results, list) else ():
            if isinstance(result, dict) and isinstance(result.get("value"), dict):
                yield str(result.get("from_name", "label")), result["value"]


def _entries(path: Path, k: int, video: str, column: str, value: Mapping[str, Any]):
    classes = next(
        (
            value[name]
            for name in ("timelinelabels", "labels", "choices", "videolabels")
            if isinstance(value.get(name), list)
        ),
        (),
    )
    for label in classes:
        text = " ".join(str(label).split())
        if not text:
            continue
        if isinstance(value.get("ranges"), list):
            for part in value["ranges"]:
                start, end = _pair(path, k, part)
                yield _frames(path, k, video, column, text, start, end)
        elif isinstance(value.get("sequence"), list):
            for start, end in _enabled(path, k, value):
                yield _frames(path, k, video, column, text, start, end)
        elif "start" in value and "end" in value:
            start, end = _pair(path, k, value)
            yield Entry(k, video, column, text, start, end)
        else:
            yield Entry(k, video, column, text)


def _frames(path: Path, k: int, video: str, column: str, text: str, start, end) -> Entry:
    """Frames from `start` to `end`, both counted from 1 and both labelled."""
    if start < 1 or start != int(start) or end != int(end):
        raise BadInput(path, f"task {k}: frames {start:g} to {end:g}, which count from 1")
    return Entry(k, video, column, text, start - 1, end, "frames")


def _enabled(path: Path, k: int, value: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """First and last frame of each stretch in which a box is shown."""
    points = []
    for point in value["sequence"]:
        if not isinstance(point, dict):
            raise BadInput(path, f"task {k}: a box has a key frame of another form")
        points.append((_number(path, k, point.get("frame")), bool(point.get("enabled", True))))
    points.sort()
    began = None
    for frame, enabled in points:
        began = frame if began is None else began
        if not enabled:  # shown in this frame, not in the next ones
            yield began, frame
            began = None
    if began is not None:
        count = value.get("framesCount")
        yield began, points[-1][0] if count is None else max(began, _number(path, k, count))


def _pair(path: Path, k: int, part: Any) -> tuple[float, float]:
    if not isinstance(part, dict):
        raise BadInput(path, f"task {k}: a range has another form")
    start, end = _number(path, k, part.get("start")), _number(path, k, part.get("end"))
    if end < start:
        raise BadInput(path, f"task {k}: a label from {start:g} to {end:g} is negative")
    return start, end


def _number(path: Path, k: int, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise BadInput(path, f"task {k}: {str(value)[:40]!r} is not a number of 0 or more")
    return float(value)
