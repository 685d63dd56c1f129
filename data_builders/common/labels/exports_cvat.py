"""XML exports of CVAT, version 1.1: "for video" (tracks) and "for images" of a video (frames).

A track of boxes lasts while it is not outside; its label becomes the class of the track `object`,
and its attributes become tracks of their own. A tag of a frame becomes a class of the track `tag`.
Frames count from 0 in the video.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from data_builders.common.labels import headers
from data_builders.common.labels.entries import Entries, Entry
from data_builders.common.labels.xml_files import number
from surgrec_jax.records.errors import BadInput

_SHAPES = frozenset(
    ("box", "polygon", "polyline", "points", "cuboid", "mask", "ellipse", "skeleton")
)


def read_cvat(path: Path, root: Element) -> Entries:
    """The labels of an export.

    Raises:
        BadInput: not such an export, several videos, or frames that are none.
    """
    sources = {(e.text or "").strip() for e in root.iter("source")} - {""}
    if len(sources) > 1:
        raise BadInput(path, f"is of {len(sources)} videos; export each task by itself")
    video = sources.pop() if sources else ""
    step = _step(path, root)
    labels: list[Entry] = []
    for track in root.findall("track"):
        labels += _track(path, video, track, step)
    for image in root.findall("image"):
        labels += _image(path, video, image, step)
    for tag in root.findall("tag"):
        start = _frame(path, tag, "frame")
        labels += _entries(path, video, "tag", _class(tag), tag, start, start + step)
    columns = tuple(dict.fromkeys(entry.column for entry in labels))
    return Entries(_runs(labels), columns=columns, exported=True)


def _step(path: Path, root: Element) -> int:
    """How many frames of the video one annotated frame stands for."""
    for found in root.iter("frame_filter"):
        if text := (found.text or "").strip():
            match = re.fullmatch(r"step\s*=\s*(\d{1,6})", text)
            if not match or int(match[1]) < 1:
                raise BadInput(path, f"has a frame filter {text!r}: step=N is expected")
            return int(match[1])
    return 1


def _track(path: Path, video: str, track: Element, step: int) -> list[Entry]:
    found: list[Entry] = []
    shapes = [shape for shape in track if shape.tag in _SHAPES]
    shapes = sorted(shapes, key=lambda shape: _frame(path, shape, "frame"))
    for k, shape in enumerate(shapes):
        start = _frame(path, shape, "frame")
        if shape.get("outside") == "1":
            continue
        # Every frame between key frames is written, unless frames were left out by hand.
        end = _frame(path, shapes[k + 1], "frame") if k + 1 < len(shapes) else start + step
        if end > start:
            found += _entries(path, video, "object", _class(track), shape, start, end)
    return found


def _image(path: Path, video: str, image: Element, step: int) -> list[Entry]:
    start, found = _frame(path, image, "id"), []
    for child in image:
        if child.tag == "tag" or child.tag in _SHAPES:
            column = "tag" if child.tag == "tag" else "object"
            found += _entries(path, video, column, _class(child), child, start, start + step)
    return found


def _entries(
    path: Path, video: str, column: str, label: str, element: Element, start: int, end: int
) -> Iterator[Entry]:
    """The label of a tag or a shape, and its attributes in columns of their own."""
    yield Entry(0, video, column, label, start, end, "frames")
    for attribute in element.findall("attribute"):
        value = " ".join((attribute.text or "").split())
        name = headers.track_name(path, "attribute", attribute.get("name", ""))
        if value and value != "__undefined__":
            yield Entry(0, video, name, value, start, end, "frames")


def _runs(labels: list[Entry]) -> list[Entry]:
    """Entries that continue each other as one: an export has one a frame."""
    ordered = sorted(labels, key=lambda e: (e.column, e.value, e.start, e.end))
    merged: list[Entry] = []
    for entry in ordered:
        last = merged[-1] if merged else None
        same = last is not None and (last.column, last.value) == (entry.column, entry.value)
        if same and entry.start <= last.end:
            merged[-1] = last._replace(end=max(last.end, entry.end))
        else:
            merged.append(entry)
    return merged


def _frame(path: Path, element: Element, name: str) -> int:
    value = number(path, element, name)
    if value != int(value):
        raise BadInput(path, f"<{element.tag}> has {name} {element.get(name)!r}: not a frame")
    return int(value)


def _class(element: Element) -> str:
    return " ".join(element.get("label", "").split())
