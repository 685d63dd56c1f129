"""The six instruments: outlines, and how they are drawn.

An outline lives in a frame of its own: the tip is at the origin, +x points from the shaft to the
tip, the unit is the width of the shaft. Each part is (points [N, 2], shade). `jaw` in 0..1 opens
the jaws; `bend` (radians) turns the tip against the shaft about the wrist (robotic tools only).
"""

import dataclasses

import cv2
import numpy as np

Part = tuple[np.ndarray, str]
# Light on a cylinder: (where a band begins across the shaft, gain, lift of the colour).
_CYLINDER = (
    (-0.50, 0.45, 0), (-0.40, 0.75, 4), (-0.26, 1.0, 10), (-0.10, 1.1, 52), (0.06, 0.95, 8),
    (0.22, 0.68, 0), (0.38, 0.42, 0),
)  # fmt: skip
_TIP_LENGTH = {
    "grasper": 2.9,
    "scissors": 3.1,
    "hook": 2.6,
    "needle_driver": 2.2,
    "suction": 1.2,
    "retractor": 2.8,
}


@dataclasses.dataclass(frozen=True)
class Finish:
    """The look of one patient's tools: colours RGB 0..255 per shade, shaft width, wrist or not."""

    colours: dict[str, tuple[float, float, float]]
    width: float  # short sides
    wrist: bool
    stretch: float = 1.0  # of the tips along the shaft


@dataclasses.dataclass(frozen=True)
class Pose:
    """One instrument at one time; positions are in short sides from the picture's centre."""

    tool: str
    tip: tuple[float, float]
    entry: tuple[float, float]
    jaw: float
    bend: float
    roll: float  # radians the needle (or hook) is turned about the shaft's axis


def make_finish(
    domain: str, rng: np.random.Generator, shape: tuple[float, float] = (1.0, 1.0)
) -> Finish:
    """Draws the tools' colours: any grey for the shaft, so that it says nothing about the tool.

    `shape` is the width of the tools and the length of their tips, against those drawn here.
    """
    steel, shaft = rng.uniform(135, 215), rng.uniform(28, 190)
    if domain == "endoscopy":  # coloured plastic sheath
        base = np.array(
            ((235, 235, 240), (60, 110, 190), (230, 140, 50), (70, 160, 110))[rng.integers(4)]
        )
    elif domain == "robotic":
        base = np.full(3, rng.uniform(36, 90))
    else:
        base = np.full(3, shaft)
    tint = np.exp(rng.normal(0, 0.04, 3))
    metal = np.full(3, steel) * tint
    accent = np.array(
        ((222, 198, 160), (70, 90, 160), (190, 60, 60), (240, 240, 236))[rng.integers(4)]
    )
    colours = {
        "shaft": base * tint, "metal": metal, "light": np.minimum(metal * 1.35, 255), "dark": metal
        * 0.30,
        "accent": accent,
    }  # fmt: skip
    width = {"laparoscopy": 0.128, "endoscopy": 0.122, "cataract": 0.112, "robotic": 0.130}[domain]
    return Finish(
        {k: tuple(float(x) for x in v) for k, v in colours.items()},
        shape[0] * width * rng.uniform(0.92, 1.1),
        domain == "robotic",
        shape[1],
    )


def _turn(points, angle: float, centre=(0.0, 0.0)) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    points = np.asarray(points, np.float32) - centre
    return points @ np.array([[c, s], [-s, c]], np.float32) + np.asarray(centre, np.float32)


def _arc(radius: float, start: float, stop: float, width: float, n: int = 9) -> np.ndarray:
    """A bent band about the origin."""
    a = np.linspace(start, stop, n)
    taper = np.linspace(1.0, 0.35, n)[:, None] * width / 2
    ring = np.stack([np.cos(a), np.sin(a)], -1)
    return np.concatenate([(radius + taper) * ring, ((radius - taper) * ring)[::-1]])


def _jaws(outline: np.ndarray, shade: str, pivot: float, angle: float) -> list[Part]:
    """A pair of jaws: the outline (lower jaw, y > 0) and its mirror image, opened at (pivot, 0)."""
    lower = _turn(outline, angle, (pivot, 0.0))
    upper = lower * np.array([1.0, -1.0], np.float32)
    return [(upper, "metal"), (lower, shade)]


def tip_parts(tool: str, jaw: float, roll: float) -> list[Part]:
    """Outline of the working end, back to x = -length of the tip.

    Raises KeyError for an unknown tool.
    """
    return {
        "grasper": _grasper, "scissors": _scissors, "hook": _hook, "needle_driver": _needle_driver,
        "suction": _suction, "retractor": _retractor,
    }[tool](jaw, roll)  # fmt: skip


def _grasper(jaw, roll):
    banana = np.array(
        [
            [-2.9, 0.05],
            [-2.4, 0.62],
            [-1.3, 0.86],
            [-0.3, 0.58],
            [0.0, 0.12],
            [-0.5, 0.05],
            [-1.5, 0.16],
        ]
    )
    hole = np.array([[-2.0, 0.34], [-1.5, 0.58], [-0.9, 0.52], [-1.3, 0.30]])
    angle = 0.05 + 0.50 * jaw
    parts = _jaws(banana, "light", -2.9, angle)
    return parts + [(p, "dark") for p, _ in _jaws(hole, "dark", -2.9, angle)]


def _scissors(jaw, roll):
    blade = np.array([[-3.1, -0.28], [-1.9, -0.30], [0.15, 0.0], [-1.9, 0.26], [-3.1, 0.34]])
    pivot = np.array([[-2.45, 0], [-2.25, 0.2], [-2.05, 0], [-2.25, -0.2]])
    return [*_jaws(blade, "light", -2.5, 0.06 + 0.62 * jaw), (pivot * 1.0, "dark")]


def _hook(jaw, roll):
    side = np.cos(roll)
    collar = np.array([[-2.7, -0.52], [-1.9, -0.42], [-1.9, 0.42], [-2.7, 0.52]])
    rod = np.array([[-1.9, -0.17], [0.08, -0.17], [0.08, 0.17], [-1.9, 0.17]])
    foot = np.array([[-0.28, 0.0], [0.12, 0.0], [0.12, 1.15 * side], [-0.28, 1.02 * side]])
    return [(collar, "accent"), (rod, "metal"), (foot, "light")]


def _needle_driver(jaw, roll):
    stub = np.array([[-2.2, 0.0], [-2.2, 0.62], [-0.9, 0.60], [0.0, 0.34], [0.0, 0.02]])
    needle = _arc(1.15, roll - 2.3, roll + 0.9, 0.34) + np.array([0.1, 0.0])
    return [*_jaws(stub, "light", -2.2, 0.03 + 0.22 * jaw), (needle, "light")]


def _suction(jaw, roll):
    tube = np.array(
        [[-1.4, -0.5], [-0.15, -0.5], [0.12, -0.25], [0.12, 0.25], [-0.15, 0.5], [-1.4, 0.5]]
    )
    mouth = _arc(0.17, 0, 2 * np.pi, 0.34, 9) + np.array([-0.05, 0.0])
    holes = [
        np.array([[-x - 0.14, 0], [-x, -0.14], [-x + 0.14, 0], [-x, 0.14]]) for x in (0.55, 1.05)
    ]
    return [(tube, "light"), (mouth, "dark"), *[(h, "dark") for h in holes]]


def _retractor(jaw, roll):
    parts = []
    for k in (-1, 1, 0):
        finger = np.array(
            [[-2.8, -0.24], [-0.3, -0.36], [0.0, -0.16], [0.0, 0.16], [-0.3, 0.36], [-2.8, 0.24]]
        )
        parts.append(
            (
                _turn(finger, 0.42 * k * (0.55 + 0.45 * jaw), (-2.8, 0.0)),
                "light" if k == 0 else "metal",
            )
        )
    return parts


def place(pose: Pose, finish: Finish, scale: float, centre: tuple[float, float]) -> list[Part]:
    """Parts in pixels: shaft first, then the wrist, then the tip.

    `scale` is pixels per short side.
    """
    tip, entry = np.array(pose.tip), np.array(pose.entry)
    along = tip - entry
    distance = max(1e-3, float(np.hypot(*along)))
    angle = float(np.arctan2(along[1], along[0]))
    length = _TIP_LENGTH[pose.tool] * finish.stretch
    parts = [
        (np.asarray(points) * (finish.stretch, 1.0), shade)
        for points, shade in tip_parts(pose.tool, pose.jaw, pose.roll)
    ]
    reach = distance / finish.width
    if finish.wrist:
        wrist = [
            (
                np.array(
                    [
                        [-length - 0.9, -0.40],
                        [-length + 0.3, -0.46],
                        [-length + 0.3, 0.46],
                        [-length - 0.9, 0.40],
                    ]
                ),
                "metal",
            )
        ]
        parts = [(_turn(p, pose.bend, (-length - 0.5, 0.0)), s) for p, s in wrist + parts]
        length += 0.7
    shaft = [  # bands of light along the cylinder, each painted over the one before
        (np.array([[-reach - 4, a], [-length, a], [-length, 0.5], [-reach - 4, 0.5]]), f"shaft{k}")
        for k, (a, _, _) in enumerate(_CYLINDER)
    ]
    c, s = np.cos(angle) * finish.width * scale, np.sin(angle) * finish.width * scale
    turn = np.array([[c, s], [-s, c]])
    origin = tip * scale + np.array(centre)
    return [(np.asarray(p) @ turn + origin, shade) for p, shade in shaft + parts]


def shade_colour(finish: Finish, shade: str) -> tuple[float, float, float]:
    """RGB 0..255 of a part."""
    if shade.startswith("shaft"):
        _, gain, lift = _CYLINDER[int(shade[5])]
        return tuple(min(255.0, gain * v + lift) for v in finish.colours["shaft"])
    return finish.colours[shade]


def fill(image: np.ndarray, points: np.ndarray, colour, outline: bool = False) -> None:
    """Anti-aliased polygon with sub-pixel corners, in place; the outline is a darker rim."""
    fixed = np.round(np.clip(points, -2000, 6000) * 16).astype(np.int32)
    cv2.fillPoly(image, [fixed], colour, cv2.LINE_AA, 4)
    if outline:
        rim = tuple(0.42 * v for v in colour)
        cv2.polylines(image, [fixed], True, rim, max(1, image.shape[0] // 200), cv2.LINE_AA, 4)
