"""The camera: where it looks, how it shakes and breathes, and its optics and electronics."""

import cv2
import numpy as np

from data_builders.phantom_surgery.noise import Wander, smoothstep
from data_builders.phantom_surgery.script import SKILLS, Script

_ZOOM = {
    "preparation": 0.86,
    "exposure": 1.0,
    "dissection": 1.22,
    "haemostasis": 1.08,
    "lavage": 1.08,
    "closure": 1.3,
}
_SWEEP = {
    "laparoscopy": 0.30,
    "endoscopy": 0.16,
    "cataract": 0.10,
    "robotic": 0.26,
}  # preparation, canvas units
_SHAKE = {"laparoscopy": 0.012, "endoscopy": 0.016, "cataract": 0.003, "robotic": 0.001}
_BREATH = {"laparoscopy": 0.016, "endoscopy": 0.022, "cataract": 0.004, "robotic": 0.012}
# Brightness and colour are brought to the set point by these shares (log scale): auto exposure,
# auto white balance.
AUTO_EXPOSURE = 0.93
AUTO_WHITE = 0.60


class Camera:
    """Maps canvas units to the picture (short sides from its centre); a pure function of time."""

    def __init__(self, rng: np.random.Generator, script: Script, domain: str):
        self._domain = domain
        self._steady = 1.3 - 0.4 * SKILLS.index(script.skill)
        self._edges = np.array([p.start for p in script.phases])
        names = [script.edition.phases[p.label] for p in script.phases]
        scale = np.exp(rng.normal(0, 0.07)) * (0.92 if domain == "cataract" else 1.0)
        self._zoom = np.array([_ZOOM[n] * scale * np.exp(rng.normal(0, 0.05)) for n in names])
        self._sweep = np.array([_SWEEP[domain] if n == "preparation" else 0.045 for n in names])
        self._aim = rng.normal(0, 0.06, (len(names), 2))
        self._breath = 2 * np.pi / rng.uniform(3.2, 5.0)
        self._roll = rng.uniform(-1, 1) * (np.pi if domain == "endoscopy" else 0.45)
        self._slow = [Wander(rng, 14.0, 5.0) for _ in range(4)]
        self._quick = [Wander(rng, 1.6, 0.45) for _ in range(2)]
        self._last: tuple[float, tuple] = (np.nan, ())

    def _level(self, values: np.ndarray, t: float):
        """Value of the phase at t, eased over 1.5 s after a change."""
        k = max(0, int(np.searchsorted(self._edges, t, side="right")) - 1)
        if k == 0:
            return values[0]
        w = smoothstep(t - self._edges[k], 0.0, 1.5)
        return values[k - 1] + w * (values[k] - values[k - 1])

    def at(self, t: float) -> tuple[np.ndarray, float, float]:
        """(centre [2] in canvas units, zoom, roll in radians)."""
        if t != self._last[0]:
            self._last = (t, self._compute(t))
        return self._last[1]

    def _compute(self, t: float) -> tuple[np.ndarray, float, float]:
        sweep = self._level(self._sweep, t)
        shake = _SHAKE[self._domain] * self._steady
        breath = np.sin(self._breath * t)
        centre = self._level(self._aim, t) + sweep * np.array(
            [self._slow[0].at(t), 0.8 * self._slow[1].at(t)]
        )
        centre = np.clip(centre, -0.42, 0.42)
        centre = centre + shake * np.array([w.at(t) for w in self._quick])
        centre[1] += _BREATH[self._domain] * breath
        zoom = self._level(self._zoom, t) * (
            1 + 0.02 * self._slow[2].at(t) + 0.6 * _BREATH[self._domain] * breath
        )
        return centre, float(zoom), float(self._roll + 0.05 * self._slow[3].at(t))

    def to_view(self, points: np.ndarray, t: float) -> np.ndarray:
        """Canvas units [..., 2] -> picture, short sides from the centre."""
        centre, zoom, roll = self.at(t)
        c, s = np.cos(roll), np.sin(roll)
        return (np.asarray(points) - centre) @ np.array([[c, s], [-s, c]]) * zoom

    def to_canvas(self, points: np.ndarray, t: float) -> np.ndarray:
        """Picture, short sides from the centre [..., 2] -> canvas units."""
        centre, zoom, roll = self.at(t)
        c, s = np.cos(roll), np.sin(roll)
        return np.asarray(points) @ np.array([[c, -s], [s, c]]) / zoom + centre

    def speed(self, t: float) -> np.ndarray:
        """Velocity of the site in the picture, short sides per second [2]."""
        origin = np.zeros(2)
        return (self.to_view(origin, t + 0.02) - self.to_view(origin, t - 0.02)) / 0.04


class Sensor:
    """Aperture, light fall-off, focus, exposure, white balance and noise of one video."""

    def __init__(
        self,
        patient: np.random.Generator,
        video: np.random.Generator,
        domain: str,
        width: int,
        height: int,
        mean_rgb,
    ):
        self._short = min(width, height)
        x = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / self._short
        y = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / self._short
        self.x, self.y = np.meshgrid(x, y)
        radius = np.sqrt(self.x**2 + self.y**2)
        self.aperture = self._border(patient, domain, width / height, radius)
        steep = {"laparoscopy": 0.9, "endoscopy": 1.1, "cataract": 0.35, "robotic": 0.5}[
            domain
        ] * patient.uniform(0.8, 1.2)
        self.falloff = (1.0 / (1.0 + steep * radius**2)).astype(np.float32)
        base = (
            np.log(np.clip(mean_rgb, 40, 150))
            + patient.normal(0, 0.05, 3)
            + patient.normal(0, 0.10)
        )
        self._set_point = base + video.normal(0, 0.04, 3)
        self._drift = [Wander(video, 60.0, 9.0) for _ in range(4)]
        self._focus = Wander(video, 20.0, 4.0)
        crisp = domain in ("robotic", "cataract")
        self._blur = (0.25 if crisp else 0.45) * self._short / 96
        sigma = patient.uniform(1.5, 3.0) if crisp else patient.uniform(2.5, 5.0)
        self._noise = video.normal(0, sigma, (height + 24, width + 24, 3)).astype(np.float32)
        self._inside = float(self.aperture.sum())
        self._aperture3 = cv2.merge([self.aperture] * 3)

    def _border(self, rng, domain: str, aspect: float, radius: np.ndarray) -> np.ndarray:
        """Float [H, W]: 1 inside of the picture circle, 0 in the black border."""
        soft = 1.5 / self._short
        kind = rng.random()
        if domain == "endoscopy":
            size = rng.uniform(0.50, 0.53) if aspect > 1.2 else rng.uniform(0.51, 0.58)
            if kind < 0.4:  # picture with cut corners
                far = np.maximum(np.abs(self.x) * 0.86, np.abs(self.y))
                shape = np.maximum(far, (np.abs(self.x) + np.abs(self.y)) * 0.70)
                return smoothstep(shape, 0.485 + soft, 0.485 - soft).astype(np.float32)
        elif domain == "laparoscopy" and kind < 0.55:
            size = rng.uniform(0.52, 0.66)
        elif domain == "cataract" and kind < 0.4:
            size, soft = rng.uniform(0.56, 0.70), 0.06
        else:
            return np.ones_like(radius)
        return smoothstep(radius, size + soft, size - soft).astype(np.float32)

    def develop(
        self, image: np.ndarray, t: float, speed: np.ndarray, auto: float = AUTO_EXPOSURE
    ) -> np.ndarray:
        """Linear picture float32 [H, W, 3] (changed in place) -> uint8 RGB as recorded."""
        soften = self._blur * (0.7 + 1.6 * max(0.0, self._focus.at(t) - 0.75))
        if soften > 0.3:
            image = cv2.GaussianBlur(image, (0, 0), soften)
        streak = np.abs(speed) * self._short * 0.03  # exposure of 1/33 s
        if streak.max() > 1.2:
            image = cv2.blur(
                image, (1 + 2 * int(streak[0] / 2 + 0.4), 1 + 2 * int(streak[1] / 2 + 0.4))
            )
        cv2.multiply(image, self._aperture3, image)
        means = np.array(cv2.mean(image)[:3]) * (self.aperture.size / self._inside)
        target = (
            self._set_point
            + 0.07 * np.array([d.at(t) for d in self._drift[:3]])
            + 0.13 * self._drift[3].at(t)
        )
        miss = target - np.log(np.maximum(means, 4.0))
        gain = np.exp(auto * (miss.mean() + AUTO_WHITE * (miss - miss.mean())))
        image *= np.clip(gain, 0.35, 2.8).astype(np.float32)
        k = round(t * 1000) * 7919
        dy, dx = k % 24, (k // 24) % 24
        image += self._noise[dy : dy + image.shape[0], dx : dx + image.shape[1]]
        np.clip(image, 0, 255, out=image)
        return image.astype(np.uint8)


class OperatingRoom:
    """The view outside of the body: drapes, gloves, lamps, out of focus and in quick motion."""

    def __init__(self, rng: np.random.Generator, width: int, height: int):
        self._size = (width, height)
        small = np.empty((40, 60, 3), np.float32)
        small[:] = np.array(((52, 108, 150), (66, 132, 118), (84, 120, 168))[rng.integers(3)])
        for _ in range(26):
            colour = (
                (238, 238, 230),
                (206, 198, 180),
                (60, 72, 84),
                (46, 120, 148),
                (214, 160, 134),
            )[rng.integers(5)]
            centre, axes = rng.integers(0, 60, 2), rng.integers(2, 11, 2)
            cv2.ellipse(
                small,
                tuple(map(int, centre)),
                tuple(map(int, axes)),
                float(rng.uniform(0, 180)),
                0,
                360,
                colour,
                -1,
            )
        cv2.circle(
            small, (int(rng.integers(10, 50)), int(rng.integers(6, 34))), 5, (420, 420, 400), -1
        )
        self._scene = cv2.GaussianBlur(small, (0, 0), 1.6)
        self._path = [Wander(rng, 4.0, 1.2) for _ in range(4)]

    def view(self, t: float) -> np.ndarray:
        """Float32 [H, W, 3] RGB."""
        width, height = self._size
        zoom = 24 / min(width, height) * (1 + 0.25 * self._path[2].at(t))
        a = 0.5 * self._path[3].at(t)
        c, s = np.cos(a) * zoom, np.sin(a) * zoom
        move = np.array([[c, -s, 0], [s, c, 0]], np.float32)
        centre = np.array([30 + 12 * self._path[0].at(t), 20 + 8 * self._path[1].at(t)])
        move[:, 2] = centre - move[:, :2] @ np.array([width / 2, height / 2])
        return cv2.warpAffine(
            self._scene,
            move,
            self._size,
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
