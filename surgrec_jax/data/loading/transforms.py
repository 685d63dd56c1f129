"""Crops: boxes as pure functions of a generator, and their pixels.

A box is (top, left, height, width) in pixels of the stored frame; one box serves a whole clip.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np

Box = tuple[int, int, int, int]

MULTI_SCALES = (1.0, 0.875, 0.75, 0.66)  # as in VideoMAE (its datasets.py)
_TRIES = 10
# Corners, centre, edge middles and quarter points, in fourths of the free height and width: the 13
# fixed positions of Temporal Segment Networks (Wang et al. 2016, section 3.2, and its public code).
FIXED_OFFSETS = (
    *((0, 0), (0, 4), (4, 0), (4, 4), (2, 2)),
    *((0, 2), (2, 0), (2, 4), (4, 2)),
    *((1, 1), (1, 3), (3, 1), (3, 3)),
)


def center_crop(height: int, width: int) -> Box:
    """The largest square in the middle of a frame."""
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def spread_crops(height: int, width: int, count: int) -> list[Box]:
    """The largest squares at `count` evenly spaced places along the long side, ends included.

    A single one is the centre; VideoMAE tests with three.
    """
    side = min(height, width)
    if count == 1:
        return [center_crop(height, width)]
    places = [i / (count - 1) for i in range(count)]
    return [(int((height - side) * p), int((width - side) * p), side, side) for p in places]


def random_resized_crop(
    rng: np.random.Generator,
    height: int,
    width: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
) -> Box:
    """Draws a box of random area and aspect ratio (Szegedy et al. 2015, as torchvision has it).

    Its share of the area is uniform in `scale`, its width : height log-uniform in `ratio`. A box
    that does not fit is drawn again, ten times in all; then the largest centred box with an
    aspect ratio in `ratio` is taken.
    """
    area = height * width
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_TRIES):
        target = area * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(low, high))
        w = round(math.sqrt(target * aspect))
        h = round(math.sqrt(target / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = int(rng.integers(0, height - h + 1))
            return top, int(rng.integers(0, width - w + 1)), h, w
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return (height - h) // 2, (width - w) // 2, h, w


def multi_scale_crop(rng: np.random.Generator, height: int, width: int) -> Box:
    """Draws VideoMAE's crop: sides of MULTI_SCALES times the short side, at 13 fixed positions.

    Height and width are drawn together from pairs of scales that are at most one step apart in the
    list, so the aspect ratio is distorted a little at most; the pair and the position are uniform.
    """
    sides = [int(min(height, width) * s) for s in MULTI_SCALES]
    numbers = range(len(sides))
    pairs = [(sides[i], sides[j]) for i in numbers for j in numbers if abs(i - j) <= 1]
    h, w = pairs[int(rng.integers(len(pairs)))]
    down, right = FIXED_OFFSETS[int(rng.integers(len(FIXED_OFFSETS)))]
    return (height - h) // 4 * down, (width - w) // 4 * right, h, w


def crop_resize_flip(
    frames: Sequence[np.ndarray], box: Box, out: np.ndarray, flip: bool = False
) -> None:
    """Cuts `box` out of every frame, scales it to the size of `out`, and mirrors it if asked.

    Scaling is bilinear, as VideoMAE and V-JEPA train; where a crop shrinks to less than half, that
    would skip pixels (aliasing), and the mean over areas (INTER_AREA) is taken instead.

    Args:
        frames: T arrays uint8 [H, W, 3]; equal arrays (the same object) are scaled once.
        out: uint8 [T, S, S, 3], contiguous; written to.
    """
    top, left, h, w = box
    size = out.shape[1]
    shrinks = max(h, w) > 2 * size
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scratch = np.empty(out.shape[1:], np.uint8) if flip else None
    for t, frame in enumerate(frames):
        if t and frame is frames[t - 1]:
            out[t] = out[t - 1]
            continue
        cut = frame[top : top + h, left : left + w]
        if flip:
            cv2.flip(cv2.resize(cut, (size, size), dst=scratch, interpolation=how), 1, dst=out[t])
        else:
            cv2.resize(cut, (size, size), dst=out[t], interpolation=how)


def crop_resize_flip_map(values: np.ndarray, box: Box, size: int, flip: bool = False) -> np.ndarray:
    """What `crop_resize_flip` does to a frame, done to its label map, by nearest neighbour.

    The value at the centre of each new pixel is taken, so that no id is made up.

    Args:
        values: uint8 or uint16 [H, W].

    Returns:
        The same dtype, [size, size].
    """
    top, left, h, w = box
    cut = values[top : top + h, left : left + w]
    out = cv2.resize(cut, (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return cv2.flip(out, 1) if flip else out


def crop_flip_boxes(
    corners: np.ndarray, height: int, width: int, box: Box, flip: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """What `crop_resize_flip` does to a frame, done to its label boxes.

    Args:
        corners: float [n, 4], top, left, bottom, right as fractions of the frame.
        height, width: of the frame, in pixels.

    Returns:
        float [k, 4], what the crop keeps of boxes as fractions of it; and int [k], which of the n
        these are. Boxes of which nothing is left are not among them.
    """
    top, left, h, w = box
    scale, shift = np.tile([height / h, width / w], 2), np.tile([top / h, left / w], 2)
    out = np.clip(corners * scale - shift, 0, 1)
    if flip:
        out[:, [1, 3]] = 1 - out[:, [3, 1]]
    kept = np.flatnonzero((out[:, 2] > out[:, 0]) & (out[:, 3] > out[:, 1]))
    return out[kept], kept
