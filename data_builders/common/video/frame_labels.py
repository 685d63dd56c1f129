"""Labels of a video's frames, maps and boxes: checked, and cut and shrunk as their frames are."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from data_builders.common.video.boxes import Boxes, LabelBoxes, cut_boxes, fault_of
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.maps import LabelMaps
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.maps import VOID

Resize = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # to (width, height)


@dataclasses.dataclass(frozen=True)
class FrameLabels:
    """All maps and boxes along a video.

    Attributes:
        maps, boxes: by name.
        start: number of the first frame, for a video in parts.
        met: (word, name) -> numbers of those whose frames were asked for.
    """

    maps: Mapping[str, LabelMaps]
    boxes: Mapping[str, LabelBoxes] = dataclasses.field(default_factory=dict)
    start: int = 0
    met: dict[tuple[str, str], set[int]] = dataclasses.field(default_factory=dict)

    def on(self, number: int) -> bool:
        """Whether a frame has any; among the frames of an instant such a one is stored."""
        return any(number + self.start in labels.numbers for _, _, labels in self._all())

    def left(self, frames: int) -> Iterator[str]:
        """Sentences about the labels that no stored frame of a video of `frames` frames has."""
        for word, name, labels in self._all():
            left = sorted(set(labels.numbers) - self.met.get((word, name), set()))
            between = [number for number in left if number < frames]
            if between:
                more = "maps" if word == "map" else word
                yield (
                    f"{labels.where(between[0])}: its frame is not stored, nor are those of "
                    f"{len(between) - 1} more {name} {more}; a higher --fps stores them"
                )
            for number in left[len(between) :]:
                where = labels.where(number)
                yield f"{where}: {name} {word} without a frame: the video has {frames}"

    def _all(self) -> Iterator[tuple[str, str, Any]]:
        for word, labels in (("map", self.maps), ("boxes", self.boxes)):
            for name, of_name in labels.items():
                yield word, name, of_name

    def _of(
        self,
        word: str,
        by_name: Mapping[str, Any],
        number: int,
        fault: Callable[[Any], str | None],
        report: ReadReport,
    ) -> Iterator[tuple[str, Any]]:
        """(name, labels) of a frame, of the maps or of the boxes."""
        for name, labels in by_name.items():
            self.met.setdefault((word, name), set()).add(number + self.start)
            lost = f"; its frame has no {word}"
            try:
                values = labels.at(number + self.start)
            except BadInput as error:
                report.problems.append(f"{error}{lost}")
                continue
            if values is None:
                continue
            if reason := fault(values):
                report.problems.append(f"{labels.where(number + self.start)}: {reason}{lost}")
            else:
                yield name, values

    def placed(
        self,
        number: int,
        own: tuple[int, int],
        report: ReadReport,
        *,
        size: tuple[int, int],
        **cut: Any,
    ) -> tuple[dict[str, np.ndarray], dict[str, Boxes]]:
        """The maps and boxes of a frame, cut and shrunk as its picture is.

        Those at fault are reported instead.

        Args:
            own: (height, width) of the picture as it was read.
            size: (width, height) of the stored picture.
            cut: `blank`, `native` and `box` of `cut_picture`.
        """

        def misfit(values: np.ndarray) -> str | None:
            if values.shape == own:
                return None
            height, width = values.shape
            return f"measures {width} x {height}, its frame {own[1]} x {own[0]}"

        maps = self._of("map", self.maps, number, misfit, report)
        boxes = self._of("boxes", self.boxes, number, lambda found: fault_of(found, own), report)
        return (
            {name: like_picture(values, size=size, **cut) for name, values in maps},
            {name: cut_boxes(found, own, **cut) for name, found in boxes},
        )


def like_picture(values: np.ndarray, **cut: Any) -> np.ndarray:
    """A map cut and shrunk as its picture is (`cut_picture`), by nearest neighbour.

    What is no picture (blanked parts, edges around a fitted one) is unlabelled.
    """
    nothing = 0 if values.dtype == np.uint16 else VOID
    values = values.copy() if cut["blank"] else values
    return cut_picture(values, nothing, nearest, nearest, **cut)


def cut_picture(
    picture: np.ndarray,
    nothing: int,
    fit: Resize,
    shrink: Resize,
    *,
    blank: Sequence[tuple[float, float, float, float]],
    native: tuple[int, int],
    box: tuple[int, int, int, int] | None,
    size: tuple[int, int],
) -> np.ndarray:
    """A picture as it is stored; what is blanked is written into the one that is given.

    Args:
        nothing: the value of what is no picture.
        fit, shrink: bring one of another size than the video's, and what is kept, to a size.
        native: (height, width) of the video.
        blank, box: of `read_video`.
        size: (width, height) of the stored picture.
    """
    height, width = picture.shape[:2]
    for left, top, right, bottom in blank:
        rows = slice(math.floor(top * height), math.ceil(bottom * height))
        picture[rows, math.floor(left * width) : math.ceil(right * width)] = nothing
    if (height, width) != native:  # whole and in proportion
        scale = min(native[0] / height, native[1] / width)
        inner = max(1, round(width * scale)), max(1, round(height * scale))
        top, left = (native[0] - inner[1]) // 2, (native[1] - inner[0]) // 2
        whole = np.full((*native, *picture.shape[2:]), nothing, picture.dtype)
        whole[top : top + inner[1], left : left + inner[0]] = fit(picture, inner)
        picture = whole
    if box is not None:
        picture = picture[box[0] : box[1], box[2] : box[3]]
    return picture if picture.shape[:2] == size[::-1] else shrink(picture, size)


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map of another size (width, height): the value at the centre of each new pixel."""
    return cv2.resize(values, size, interpolation=cv2.INTER_NEAREST_EXACT)
