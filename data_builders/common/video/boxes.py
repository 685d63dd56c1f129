"""Label boxes of a video's frames, and what cutting a picture does to them."""

import math
from collections.abc import Collection, Sequence
from typing import NamedTuple, Protocol

import numpy as np

SLACK = 1.0  # pixels by which a box may reach over the edge: annotators' programs round


class Boxes(NamedTuple):
    """The boxes of a frame.

    Attributes:
        corners: float64 [n, 4], top, left, bottom, right.
        classes: int64 [n].
        size: (height, width) of the picture that they were drawn in, where that is known.
    """

    corners: np.ndarray
    classes: np.ndarray
    size: tuple[int, int] | None = None


class LabelBoxes(Protocol):
    """The boxes of one name along a video.

    Attributes:
        numbers: of the frames that were looked at, with boxes or without.
    """

    @property
    def numbers(self) -> Collection[int]: ...

    def at(self, number: int) -> Boxes | None:
        """The boxes of a frame in native pixels, None where it was not looked at.

        Raises BadInput for what are no boxes.
        """

    def where(self, number: int) -> str:
        """Where the boxes of a frame are written, printable."""


def fault_of(boxes: Boxes, size: tuple[int, int]) -> str | None:
    """What is wrong with boxes in a picture of `size` (height, width); None for nothing."""
    if boxes.size not in (None, size):
        drawn = f"{boxes.size[1]} x {boxes.size[0]}"
        return f"its boxes were drawn in {drawn} pixels, its frame has {size[1]} x {size[0]}"
    top, left, bottom, right = boxes.corners.T
    over = (top < -SLACK) | (left < -SLACK) | (bottom > size[0] + SLACK) | (right > size[1] + SLACK)
    empty = ~((bottom - top > 0) & (right - left > 0))  # what is no number, too
    for wrong, what in ((empty, "is empty"), (over, "is outside of its picture")):
        if wrong.any():
            corners = ", ".join(f"{value:.5g}" for value in boxes.corners[np.argmax(wrong)])
            return f"a box ({corners}) {what} of {size[1]} x {size[0]} pixels"
    return None


def cut_boxes(
    boxes: Boxes,
    size: tuple[int, int],
    *,
    blank: Sequence[tuple[float, float, float, float]],
    native: tuple[int, int],
    box: tuple[int, int, int, int] | None,
) -> Boxes:
    """Boxes cut as `read_video` cuts their picture, as fractions of what is stored.

    A box that is cut keeps what the picture keeps of it; one of which nothing is left, or that lies
    wholly in a blanked part, goes.

    Args:
        size: (height, width) of the picture that the boxes are in.
        native, blank, box: as `cut_picture` in `frame_labels` has them.
    """
    height, width = size
    corners = np.clip(boxes.corners, 0, [height, width, height, width])
    kept = np.ones(len(corners), bool)
    for left, top, right, bottom in blank:
        hidden = (
            *(math.floor(top * height), math.floor(left * width)),
            *(math.ceil(bottom * height), math.ceil(right * width)),
        )
        kept &= ~((corners[:, :2] >= hidden[:2]).all(1) & (corners[:, 2:] <= hidden[2:]).all(1))
    if size != native:  # fitted whole into the size of the first picture
        scale = min(native[0] / height, native[1] / width)
        inner = max(1, round(height * scale)), max(1, round(width * scale))
        edge = np.array([(native[0] - inner[0]) // 2, (native[1] - inner[1]) // 2] * 2)
        corners = corners * np.tile([inner[0] / height, inner[1] / width], 2) + edge
    first, last, low, high = box or (0, native[0], 0, native[1])
    span = np.tile([last - first, high - low], 2)
    corners = np.clip((corners - np.tile([first, low], 2)) / span, 0, 1)
    kept &= (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    return Boxes(corners[kept], boxes.classes[kept])
