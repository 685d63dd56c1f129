"""Marks of surgery on the tissue (veil, wound, stitches, burns) and blood, smoke, water, sparks."""

import cv2
import numpy as np

from data_builders.phantom_surgery.anatomy import Tissue
from data_builders.phantom_surgery.canvas import pixels
from data_builders.phantom_surgery.noise import smoothstep
from data_builders.phantom_surgery.script import Script


class TissueState:
    """Paints the lasting marks on a copy of the tissue; `at(t)` depends on t alone."""

    def __init__(self, tissue: Tissue, script: Script, rng: np.random.Generator):
        self._tissue, self._script = tissue, script
        self._key, self._painted, self._slope = None, tissue.albedo, tissue.slope
        along = np.linspace(0, 1, len(tissue.line))
        self._ragged = 1.0 + 0.16 * np.interp(along * 8, np.arange(9), rng.standard_normal(9))
        self._width = rng.uniform(0.065, 0.085)
        self._stitch_times = np.array([m.time for m in script.stitches])
        self._char_times = np.array([m.time for m in script.chars])

    def at(self, t: float) -> tuple[np.ndarray, np.ndarray]:
        """(albedo uint8 [S, S, 3] RGB, slope float32 [S, S, 2]) at time t; do not write to them."""
        cut = float(np.interp(t, *self._script.cut.T))
        bare = float(np.interp(t, *self._script.unveil.T))
        stitched, burnt = int((self._stitch_times <= t).sum()), int((self._char_times <= t).sum())
        key = (round(cut * 40), round(bare * 16), stitched, burnt)
        if key != self._key:
            self._key = key
            self._painted, self._slope = self._paint(key[0] / 40, key[1] / 16, stitched, burnt)
        return self._painted, self._slope

    def organ(self, t: float) -> np.ndarray:
        """Where the organ is not under the veil at time t: uint8 [S, S], 0 or 1."""
        bare = round(float(np.interp(t, *self._script.unveil.T)) * 16) / 16
        veiled = (bare < 1) & (self._veil(bare) > 0.5)
        return (self._tissue.organ & ~veiled).astype(np.uint8)

    def _veil(self, bare: float) -> np.ndarray:
        return np.clip((self._tissue.veil_order - bare) * 9.0, 0.0, 1.0)

    def _paint(
        self, cut: float, bare: float, stitched: int, burnt: int
    ) -> tuple[np.ndarray, np.ndarray]:
        tissue, image, slope = self._tissue, self._tissue.albedo.copy(), self._tissue.slope
        self._burn(image, self._script.chars[:burnt])
        if cut > 0:
            self._wound(image, cut, stitched)
        if bare < 1:
            cover = self._veil(bare)
            shade = 1.0 - 0.55 * cv2.GaussianBlur(cover, (0, 0), 0.03 * tissue.density) * (
                1.0 - cover
            )
            alpha = (0.96 * cover)[..., None]
            image = (image * shade[..., None] * (1 - alpha) + tissue.veil * alpha).astype(np.uint8)
            slope = slope + alpha * (tissue.veil_slope - slope)
        return image, slope

    def _frame(self) -> tuple[np.ndarray, np.ndarray]:
        line = self._tissue.line
        along = np.gradient(line, axis=0)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        return line, np.stack([-along[:, 1], along[:, 0]], -1)

    def _wound(self, image: np.ndarray, cut: float, stitched: int) -> None:
        """A gaping lens along the done part of the line, pinched where stitches hold it."""
        line, across = self._frame()
        density, thread = self._tissue.density, self._tissue.thread
        s = np.linspace(0, 1, len(line))
        marks = np.array([m.along for m in self._script.stitches[:stitched]])
        gape = (
            self._width
            * self._ragged
            * smoothstep(cut - s, -0.02, 0.16)
            * smoothstep(s, -0.04, 0.12)
        )
        if len(marks):
            reach = 0.5 / max(4, len(self._script.stitches))
            held = np.clip(1.5 - np.abs(s[:, None] - marks).min(1) / reach, 0, 1)
            gape = gape * (1.0 - 0.88 * held)
        deep = tuple(float(v) for v in self._tissue.deep)
        for share, colour in (
            (1.45, [min(255.0, 90 + 0.72 * v) for v in self._mean_rgb()]),  # pale edge
            (1.0, [0.55 * v for v in deep]),
            (0.66, deep),
            (0.28, [min(255.0, 1.5 * v + 14) for v in deep]),
        ):
            half = (0.5 * share * gape)[:, None] * across
            outline = np.concatenate([line + half, (line - half)[::-1]])
            cv2.fillPoly(image, [pixels(outline, density)], colour, cv2.LINE_AA, 4)
        for mark in marks:
            k = round(mark * (len(line) - 1))
            ends = line[k] + np.array([[-1.0], [1.0]]) * 0.085 * across[k]
            width = max(1, round(0.026 * density))
            cv2.polylines(image, [pixels(ends, density)], False, thread, width, cv2.LINE_AA, 4)
            knot = tuple(int(v) for v in pixels(ends[:1], density)[0])
            cv2.circle(image, knot, round(0.022 * density * 16), thread, -1, cv2.LINE_AA, 4)

    def _mean_rgb(self) -> np.ndarray:
        return self._tissue.albedo[::16, ::16].reshape(-1, 3).mean(0)

    def _burn(self, image: np.ndarray, marks) -> None:
        (line, across), density = self._frame(), self._tissue.density
        k = [int(np.clip(mark.along, 0, 1) * (len(line) - 1)) for mark in marks]
        places = [line[i] + mark.aside * across[i] for i, mark in zip(k, marks, strict=True)]
        pale = tuple(float(0.45 * v + 105) for v in self._mean_rgb())
        for radius, colour in ((0.046, pale), (0.036, (128, 90, 60)), (0.024, (44, 30, 24))):
            size = round(radius * density * 16)
            for place in places:
                centre = tuple(int(v) for v in pixels(place[None], density)[0])
                cv2.circle(image, centre, size, colour, -1, cv2.LINE_AA, 4)


def bleed(
    image: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    rough: np.ndarray,
    tissue: Tissue,
    script: Script,
    t: float,
) -> np.ndarray | None:
    """Pools of blood over the picture, in place; u, v are the canvas coordinates of the pixels.

    Returns their cover [H, W].
    """
    cover = None
    for mark in script.bleeds:
        if not mark.time < t < mark.until + 3.0:
            continue
        size = (
            (0.17 if tissue.domain == "cataract" else 0.26)
            * np.sqrt(1.0 - np.exp(-(t - mark.time) / 4.0))
            * float(smoothstep(t, mark.until + 3.0, mark.until - 1.0))
        )
        k = int(np.clip(mark.along, 0, 1) * (len(tissue.line) - 1))
        x, y = tissue.line[k] + np.array([mark.aside, mark.aside])
        down = v - y
        far = (u - x) ** 2 + down * down * np.where(down > 0, 0.42, 1.5)  # gravity draws it down
        edge = size * size * (1.0 + 0.38 * rough)
        alpha = np.clip((edge - far) * (14.0 / max(0.02, size)), 0.0, 1.0)
        cover = alpha if cover is None else np.maximum(cover, alpha)
    if cover is None:
        return None
    colour = np.array(tissue.blood, np.float32)
    image += (0.93 * cover)[..., None] * (colour * (0.85 + 0.06 * rough[..., None]) - image)
    return cover


def smoke(
    image: np.ndarray,
    puffs: list[tuple[np.ndarray, float]],
    x: np.ndarray,
    y: np.ndarray,
    rough: np.ndarray,
) -> None:
    """Puffs of (place in the picture, age in seconds) as grey haze, in place."""
    if not puffs:
        return
    step = 4
    xs, ys = x[::step, ::step], y[::step, ::step]
    haze = np.zeros_like(xs)
    for place, age in puffs:
        radius = 0.07 + 0.10 * age
        rise = place[1] - 0.16 * age
        haze += (
            0.55
            * np.exp(-0.55 * age)
            * np.exp(-((xs - place[0]) ** 2 + (ys - rise) ** 2) / (radius * radius))
        )
    haze = cv2.resize(haze, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    haze = np.clip(haze * (1.0 + 0.20 * rough), 0.0, 0.80)[..., None]
    image += haze * (np.float32(176.0) - image)


def jet(
    image: np.ndarray,
    tip: np.ndarray,
    heading: np.ndarray,
    rng: np.random.Generator,
    scale: float,
    centre,
) -> None:
    """A fan of water from the tip with bright drops, in place; tip and heading in the picture."""
    side = np.array([-heading[1], heading[0]])
    fan = np.array(
        [
            tip - 0.02 * side,
            tip + 0.02 * side,
            tip + 0.30 * heading + 0.12 * side,
            tip + 0.30 * heading - 0.12 * side,
        ]
    )
    points = np.round((fan * scale + centre) * 16).astype(np.int32)
    mask = np.zeros(image.shape[:2], np.uint8)
    cv2.fillPoly(mask, [points], 120, cv2.LINE_AA, 4)
    for _ in range(9):
        far, off = rng.uniform(0.05, 0.38), rng.uniform(-0.42, 0.42)
        drop = (tip + far * (heading + off * side)) * scale + centre
        cv2.circle(
            mask,
            tuple(np.round(drop * 16).astype(int).tolist()),
            max(10, int(0.012 * scale * 16)),
            230,
            -1,
            cv2.LINE_AA,
            4,
        )
    alpha = mask.astype(np.float32)[..., None] / 255.0
    image += alpha * (np.array([222, 232, 238], np.float32) - image)


def spark(
    image: np.ndarray, tip: np.ndarray, rng: np.random.Generator, x: np.ndarray, y: np.ndarray
) -> None:
    """Glow of an electric arc at the tip, flickering, in place."""
    near = np.exp(-((x - tip[0]) ** 2 + (y - tip[1]) ** 2) / 0.0035)
    image += (rng.uniform(0.4, 1.3) * near)[..., None] * np.array([170, 180, 235], np.float32)
