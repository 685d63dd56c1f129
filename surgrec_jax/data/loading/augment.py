"""RandAugment on a whole clip, on the host.

The operations and their strengths are those of timm's "rand-m7-n4-mstd0.5-inc1" (Cubuk et al. 2020
in the variant that VideoMAE fine-tunes with): every operation grows with the magnitude, each chosen
one is applied with probability one half. All frames of a clip get the same operation of the same
strength; statistics (histograms, means) are the clip's, so that nothing flickers.
"""

import dataclasses
import math
from collections.abc import Callable

import cv2
import numpy as np

from surgrec_jax.safety.errors import ConfigError

LEVELS = 10.0  # magnitudes run from 0 to here
FILL = (124, 116, 104)  # what moves in from outside: the ImageNet mean
_GREY = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R 601, as PIL converts


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """How clips are altered.

    Attributes:
      count: operations drawn per clip, with replacement; 0 = none.
      magnitude: 0 to 10; deviation: of the normal noise on it.
      probability: of each drawn operation to be applied.
    """

    count: int = 4
    magnitude: float = 7.0
    deviation: float = 0.5
    probability: float = 0.5

    def __post_init__(self):
        if self.count < 0 or not 0 <= self.magnitude <= LEVELS or not 0 <= self.probability <= 1:
            raise ConfigError(
                f"RandAugment needs count >= 0, magnitude 0 to {LEVELS:g} and probability 0 to 1, "
                f"got {self.count}, {self.magnitude}, {self.probability}"
            )


def rand_augment(rng: np.random.Generator, video: np.ndarray, how: RandAugment) -> None:
    """Alters a clip in place.

    Args:
      rng: decides everything.
      video: uint8 [T, H, W, 3].
    """
    names = list(OPERATIONS)
    for _ in range(how.count):
        # All numbers are drawn whether used or not, so that one choice does not shift the others.
        name, applied = names[int(rng.integers(len(names)))], rng.random() < how.probability
        level = float(np.clip(rng.normal(how.magnitude, how.deviation), 0, LEVELS)) / LEVELS
        sign = 1 if rng.random() < 0.5 else -1
        if applied:
            video[:] = OPERATIONS[name](video, level, sign)


# Each operation: (video uint8 [T, H, W, 3], level 0..1, sign -1 or 1) -> altered video.
Operation = Callable[[np.ndarray, float, int], np.ndarray]


def _by_table(video: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Pixels through a table uint8 [256], or one per channel [256, 3]."""
    tables = np.broadcast_to(table.reshape(256, -1), (256, 3))
    return np.stack([tables[:, c][video[..., c]] for c in range(3)], -1)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.round(values), 0, 255).astype(np.uint8)


def auto_contrast(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Stretches every channel to 0..255."""
    low, high = video.min((0, 1, 2)).astype(float), video.max((0, 1, 2)).astype(float)
    scale = np.where(high > low, 255 / np.maximum(high - low, 1), 1.0)
    offset = np.where(high > low, low, 0.0)
    return _by_table(video, _bytes((np.arange(256)[:, None] - offset) * scale))


def equalize(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Makes every channel's histogram flat (PIL's ImageOps.equalize)."""
    tables = np.tile(np.arange(256)[:, None], (1, 3))
    for c in range(3):
        histogram = np.bincount(video[..., c].ravel(), minlength=256)
        step = (histogram.sum() - histogram[np.flatnonzero(histogram)[-1]]) // 255
        if step:
            before = np.concatenate([[0], np.cumsum(histogram)[:-1]])
            tables[:, c] = np.minimum((step // 2 + before) // step, 255)
    return _by_table(video, tables.astype(np.uint8))


def invert(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """255 - x."""
    return 255 - video


def posterize(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Keeps the 4 - 4 level highest bits."""
    bits = 4 - int(level * 4)
    return video & np.uint8(256 - (1 << (8 - bits)))


def solarize(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Inverts what is at or above 256 (1 - level)."""
    values = np.arange(256)
    threshold = 256 - min(256, int(level * 256))
    return _by_table(video, np.where(values < threshold, values, 255 - values).astype(np.uint8))


def solarize_add(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Adds 110 level to what is below 128."""
    values = np.arange(256)
    added = np.minimum(values + int(level * 110), 255)
    return _by_table(video, np.where(values < 128, added, values).astype(np.uint8))


def _factor(level: float, sign: int) -> float:
    return max(0.1, 1 + sign * 0.9 * level)


def _blend(base: np.ndarray, video: np.ndarray, factor: float) -> np.ndarray:
    return _bytes(base + factor * (video - base))


def color(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Away from grey, or towards it."""
    video = video.astype(np.float32)
    return _blend((video @ _GREY)[..., None], video, _factor(level, sign))


def contrast(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Away from the mean grey, or towards it."""
    video = video.astype(np.float32)
    return _blend(np.round((video @ _GREY).mean()), video, _factor(level, sign))


def brightness(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Away from black, or towards it."""
    return _by_table(video, _bytes(_factor(level, sign) * np.arange(256.0)))


def sharpness(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Away from a smoothed clip, or towards it (PIL's SMOOTH kernel)."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = np.stack([cv2.filter2D(f, -1, kernel, borderType=cv2.BORDER_REPLICATE) for f in video])
    return _blend(smooth.astype(np.float32), video.astype(np.float32), _factor(level, sign))


def _warp(video: np.ndarray, matrix: list[list[float]]) -> np.ndarray:
    """Frames through an affine map about the origin of pixel indices."""
    height, width = video.shape[1:3]
    matrix = np.array(matrix, np.float64)
    fill = {"borderMode": cv2.BORDER_CONSTANT, "borderValue": FILL}
    return np.stack(
        [cv2.warpAffine(f, matrix, (width, height), flags=cv2.INTER_LINEAR, **fill) for f in video]
    )


def rotate(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """By 30 degrees times level about the centre."""
    height, width = video.shape[1:3]
    angle = math.radians(sign * 30 * level)
    cos, sin, x, y = math.cos(angle), math.sin(angle), (width - 1) / 2, (height - 1) / 2
    return _warp(video, [[cos, sin, x - cos * x - sin * y], [-sin, cos, y + sin * x - cos * y]])


def shear_x(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Rows move by 0.3 level times their number."""
    return _warp(video, [[1, -sign * 0.3 * level, 0], [0, 1, 0]])


def shear_y(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """Columns move by 0.3 level times their number."""
    return _warp(video, [[1, 0, 0], [-sign * 0.3 * level, 1, 0]])


def translate_x(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """By 0.45 level of the width."""
    return _warp(video, [[1, 0, -sign * 0.45 * level * video.shape[2]], [0, 1, 0]])


def translate_y(video: np.ndarray, level: float, sign: int) -> np.ndarray:
    """By 0.45 level of the height."""
    return _warp(video, [[1, 0, 0], [0, 1, -sign * 0.45 * level * video.shape[1]]])


OPERATIONS: dict[str, Operation] = {
    function.__name__: function
    for function in (
        auto_contrast,
        equalize,
        invert,
        rotate,
        posterize,
        solarize,
        solarize_add,
        color,
        contrast,
        brightness,
        sharpness,
        shear_x,
        shear_y,
        translate_x,
        translate_y,
    )
}
