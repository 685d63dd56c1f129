"""Objects in pictures from COCO files: classes by name, outlines as run lengths.

The format: https://cocodataset.org/#format-data. Run lengths count pixels down the columns, turns
of outside and inside, beginning outside.
"""

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.labels.annotations import normal, read_json
from data_builders.common.video.boxes import Boxes
from data_builders.common.video.container import MAX_PIXELS
from surgrec_jax.records.errors import BadInput, safe_text
from surgrec_jax.records.maps import VOID


@dataclasses.dataclass(frozen=True)
class Thing:
    """An object in a picture.

    Attributes:
        kind: its class, a position among the names that `read_coco` was given.
        entry: the annotation as it stands in the file.
    """

    kind: int
    entry: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class CocoFrames:
    """The annotated pictures of one video.

    Attributes:
        path: the COCO file.
        things: frame number -> objects; a picture without any is there with none.
        names: frame number -> the picture's name in the file.
        sizes: frame number -> (height, width) of the picture.
    """

    path: Path
    things: Mapping[int, Sequence[Thing]]
    names: Mapping[int, str]
    sizes: Mapping[int, tuple[int, int]]

    @property
    def numbers(self) -> Collection[int]:
        return self.things.keys()

    def where(self, number: int) -> str:
        return safe_text(f"{self.path}: {self.names[number]}")

    def counted_from(self, start: int, every: int = 1) -> "CocoFrames":
        """The same with other numbers: `start` becomes 0, `start` + `every` 1, and so on.

        What is before `start`, or between two numbers, is left out.
        """
        kept = {n: (n - start) // every for n in self.numbers if n >= start}
        kept = {n: k for n, k in kept.items() if (n - start) % every == 0}
        tables = (self.things, self.names, self.sizes)
        return CocoFrames(self.path, *({k: t[n] for n, k in kept.items()} for t in tables))


def read_coco(path: Path, video: str, picture: str, classes: Sequence[str]) -> CocoFrames:
    """The objects in the pictures of one video.

    Args:
        video: the first group that `picture` must find.
        picture: regular expression for a whole file name, with the groups of the video and of the
            frame number.
        classes: their names, in our order; every class of the file must be one (folded).

    Raises:
        BadInput: no COCO file, a class that is not known, two pictures of one number, or an object
            without a known class or picture.
    """
    data = read_json(path)
    ids = {normal(name): k for k, name in enumerate(classes)}
    names, things, sizes, number_of = {}, {}, {}, {}
    try:
        kinds = {entry["id"]: entry["name"] for entry in data["categories"]}
        if unknown := [name for name in kinds.values() if normal(name) not in ids]:
            raise BadInput(path, f"has a class {unknown[0]!r} (known: {', '.join(classes)})")
        everything = {image["id"] for image in data["images"]}
        for image in data["images"]:
            match = re.fullmatch(picture, image["file_name"])
            if match is None or match[1] != video:
                continue
            number = int(match[2])
            if number in things:
                raise BadInput(path, f"has two pictures of frame {number} of {video}")
            number_of[image["id"]], things[number] = number, []
            names[number] = image["file_name"]
            sizes[number] = _size(path, image["height"], image["width"])
        for entry in data["annotations"]:
            if entry["image_id"] not in everything or entry["category_id"] not in kinds:
                reason = f"annotation {entry.get('id')!r} has no known picture and class"
                raise BadInput(path, reason)
            if entry["image_id"] in number_of:
                kind = ids[normal(kinds[entry["category_id"]])]
                things[number_of[entry["image_id"]]].append(Thing(kind, entry))
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(path, f"is no COCO file: {error!r}") from error
    return CocoFrames(path, things, names, sizes)


def _size(path: Path, height: Any, width: Any) -> tuple[int, int]:
    whole = type(height) is type(width) is int and height > 0 and width > 0
    if not whole or height * width > MAX_PIXELS:
        raise BadInput(path, f"has a picture of {height!r} x {width!r} pixels")
    return height, width


@dataclasses.dataclass(frozen=True)
class _Labels:
    """Labels of annotated pictures; the ids of classes follow the names `read_coco` was given."""

    frames: CocoFrames

    @property
    def numbers(self) -> Collection[int]:
        return self.frames.numbers

    def where(self, number: int) -> str:
        return self.frames.where(number)


class CocoMaps(_Labels):
    """Label maps of the outlines of objects; 0 is where none is, and the first class has id 1.

    What objects of two classes claim is unlabelled.
    """

    millimetres = 0.0

    def at(self, number: int) -> np.ndarray | None:
        if number not in self.numbers:
            return None
        whole = np.zeros(self.frames.sizes[number], np.uint8)
        try:
            for thing in self.frames.things[number]:
                inside = inside_of(thing.entry.get("segmentation"), whole.shape)
                clash = inside & (whole > 0) & (whole != 1 + thing.kind)
                whole[inside] = 1 + thing.kind
                whole[clash] = VOID
        except ValueError as error:
            raise BadInput(self.where(number), str(error)) from error
        return whole


class CocoBoxes(_Labels):
    """The boxes of objects ("bbox": left, top, width, height in pixels); the first class is 0."""

    def at(self, number: int) -> Boxes | None:
        if number not in self.numbers:
            return None
        things = self.frames.things[number]
        try:
            found = [[float(value) for value in thing.entry["bbox"]] for thing in things]
            left, top, width, height = np.array(found, float).reshape(-1, 4).T
        except (KeyError, TypeError, ValueError):
            raise BadInput(self.where(number), "has an object without a box") from None
        corners = np.stack([top, left, top + height, left + width], -1)
        ids = np.array([thing.kind for thing in things], np.int64)
        return Boxes(corners, ids, self.frames.sizes[number])


def inside_of(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Which pixels are inside an outline, bool [H, W], from its run lengths.

    Args:
        segmentation: {"size": [H, W], "counts": text or numbers} of a COCO file.
        size: (H, W) of its picture.

    Raises:
        ValueError: no run lengths, another size, or lengths that do not add up to H x W.
    """
    height, width = size
    try:
        own, counts = segmentation["size"], segmentation["counts"]
        if own != [height, width]:
            raise ValueError(f"has an outline of size {own!r} in a picture of {[height, width]}")
        runs = _runs(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (KeyError, TypeError, OverflowError):
        raise ValueError("has an outline without run lengths") from None
    if runs.ndim != 1 or (runs < 0).any() or (runs > height * width).any():
        raise ValueError("has run lengths that are none")
    if runs.sum() != height * width:
        raise ValueError(f"has run lengths of {runs.sum()} pixels, of {height} x {width}")
    turns = np.arange(len(runs)) % 2 == 1
    return np.repeat(turns, runs).reshape(width, height).T


def _runs(text: str) -> np.ndarray:
    """Run lengths from COCO's text: five bits a character, the least first.

    Bit 5 of a character says that another follows, bit 4 of the last is the sign. From the fourth
    run on the text holds the difference to the last but one.
    """
    runs: list[int] = []
    value = shift = 0
    for character in text.encode():
        bits = character - 48
        if not 0 <= bits < 64 or shift > 35:
            raise ValueError("has run lengths that are none")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("has run lengths that end early")
    return np.array(runs, np.int64)
