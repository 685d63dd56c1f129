"""A float picture with a relief, in canvas units: what the tissue painters paint on."""

import cv2
import numpy as np

from data_builders.phantom_surgery.noise import fractal

# The canvas spans [-EXTENT, EXTENT] in x and y, in short sides of the picture at zoom 1.
EXTENT = 1.6


class Canvas:
    """Float RGB picture with a relief and a mask, that the organs are painted on."""

    def __init__(self, rng: np.random.Generator, density: float):
        self.rng, self.density = rng, density
        self.size = round(2 * EXTENT * density)
        axis = ((np.arange(self.size, dtype=np.float32) + 0.5) / density - EXTENT).astype(
            np.float32
        )
        self.x, self.y = np.meshgrid(axis, axis)
        self.rgb = np.zeros((self.size, self.size, 3), np.float32)
        self.relief = np.zeros((self.size, self.size), np.float32)
        self.organ = np.zeros((self.size, self.size), bool)  # where the domain's organ lies
        self.tint = np.exp(rng.normal(0.0, 0.08, 3))

    def noise(self, cells: float, octaves: int = 4, gain: float = 0.5) -> np.ndarray:
        return fractal(self.rng, self.size, cells, octaves, gain)

    def colour(self, r: float, g: float, b: float, spread: float = 0.06) -> np.ndarray:
        jitter = np.exp(self.rng.normal(0.0, spread, 3))
        return np.clip(np.array([r, g, b]) * self.tint * jitter, 4, 255).astype(np.float32)

    def blend(self, alpha: np.ndarray | float, colour: np.ndarray) -> None:
        alpha = np.asarray(alpha, np.float32)[..., None]
        self.rgb += alpha * (colour - self.rgb)

    def mottle(self, amount: float, cells: float) -> None:
        self.rgb *= 1.0 + amount * np.clip(self.noise(cells), -2.5, 2.5)[..., None]

    def strokes(self, paths: list[tuple[np.ndarray, float]]) -> np.ndarray:
        """Mask 0..1 of polylines (points [N, 2], width), both in canvas units."""
        mask = np.zeros((self.size, self.size), np.uint8)
        for points, width in paths:
            px = width * self.density
            level = int(255 * min(1.0, 0.35 + px)) if px < 1 else 255
            points = pixels(points, self.density)
            cv2.polylines(mask, [points], False, level, max(1, round(px)), cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255.0

    def vessels(
        self, n: int, width: float, colour: np.ndarray, strength: float, spread: float = 1.5
    ) -> None:
        """Trees that branch and thin out, from random roots towards random directions."""
        paths = []
        for _ in range(n):
            root = self.rng.uniform(-spread, spread, 2)
            branch(self.rng, paths, root, self.rng.uniform(0, 2 * np.pi), width, depth=3)
        mask = self.strokes(paths)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.4, 0.006 * self.density))
        self.blend(np.clip(soft * strength, 0, 1), colour)
        self.relief += 0.010 * cv2.GaussianBlur(mask, (0, 0), max(0.6, 0.012 * self.density))

    def dome(self, cx: float, cy: float, rx: float, ry: float, angle: float) -> np.ndarray:
        """Half ellipsoid, height 0..1."""
        c, s = np.cos(angle), np.sin(angle)
        u = (c * (self.x - cx) + s * (self.y - cy)) / rx
        v = (-s * (self.x - cx) + c * (self.y - cy)) / ry
        return np.sqrt(np.clip(1.0 - u * u - v * v, 0.0, 1.0))


def pixels(points: np.ndarray, density: float) -> np.ndarray:
    """Canvas units [N, 2] -> fixed-point pixels for cv2 with shift=4."""
    return np.round(((points + EXTENT) * density - 0.5) * 16).astype(np.int32)


def branch(rng, paths, start, heading, width, depth):
    length, points = rng.uniform(0.25, 0.6) * (0.6 + 0.4 * depth), [start]
    bends = rng.normal(0.0, 0.28, 8)
    for bend in bends:
        heading += bend
        points.append(points[-1] + length / 8 * np.array([np.cos(heading), np.sin(heading)]))
    paths.append((np.array(points), width))
    if depth > 0:
        for at in rng.choice(np.arange(2, 9), 2, replace=False):
            turn = rng.choice([-1, 1]) * rng.uniform(0.4, 0.9)
            branch(rng, paths, points[at], heading + turn, width * 0.62, depth - 1)
