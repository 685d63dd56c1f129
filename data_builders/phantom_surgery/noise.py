"""Seeded noise for textures and for smooth motion."""

import cv2
import numpy as np


def fractal(
    rng: np.random.Generator, size: int, cells: float, octaves: int = 4, gain: float = 0.5
) -> np.ndarray:
    """Smooth noise, float32 [size, size], mean 0, deviation 1; first octave of `cells` bumps."""
    total = np.zeros((size, size), np.float32)
    for k in range(octaves):
        n = min(size, max(3, round(cells * 2**k) + 2))
        grid = rng.standard_normal((n, n), dtype=np.float32)
        total += gain**k * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
    return (total - total.mean()) / total.std()


def cellular(rng: np.random.Generator, size: int, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """About cells**2 lobules: dome height and random tone, both 0..1, float32 [size, size]."""
    grid = np.full((size, size), 255, np.uint8)
    step = size / cells
    for y in range(cells):
        for x in range(cells):
            px = ((np.array([x, y]) + rng.uniform(0.1, 0.9, 2)) * step).astype(int)
            grid[min(px[1], size - 1), min(px[0], size - 1)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        grid, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    dome = np.clip(1.0 - (distance / (0.62 * step)) ** 2, 0.0, 1.0)
    tone = rng.random(labels.max() + 1, dtype=np.float32)[labels]
    return dome.astype(np.float32), tone


class Wander:
    """A smooth random function of time, a sum of sines of about unit amplitude, set by the seed."""

    def __init__(self, rng: np.random.Generator, slowest: float, fastest: float, n: int = 4):
        """Periods are between `fastest` and `slowest` seconds."""
        self._rate = (2 * np.pi / np.exp(rng.uniform(np.log(fastest), np.log(slowest), n))).astype(
            np.float64
        )
        self._phase = rng.uniform(0, 2 * np.pi, n)
        self._scale = np.sqrt(2.0 / n)

    def at(self, t: float) -> float:
        return float(self._scale * np.sin(self._rate * t + self._phase).sum())


def smoothstep(x: np.ndarray | float, low: float = 0.0, high: float = 1.0):
    """Cubic ramp from 0 at `low` to 1 at `high` (low may exceed high for a falling ramp)."""
    if isinstance(x, float):  # np.clip costs microseconds per call
        u = min(1.0, max(0.0, (x - low) / (high - low)))
    else:
        u = np.clip((x - low) / (high - low), 0.0, 1.0)
    return u * u * (3.0 - 2.0 * u)
