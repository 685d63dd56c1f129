"""The tissue of a patient: a painted canvas with its relief, its wound line and what covers it.

Canvas units are short sides of the picture at zoom 1; the site of the operation is the origin, the
canvas spans [-EXTENT, EXTENT] in x (right) and y (down).
"""

import dataclasses

import cv2
import numpy as np

from data_builders.phantom_surgery.canvas import Canvas, branch
from data_builders.phantom_surgery.noise import cellular, smoothstep


@dataclasses.dataclass(frozen=True)
class Tissue:
    """Textures of one patient; S = round(2 * EXTENT * density) pixels."""

    density: float  # canvas pixels per unit
    albedo: np.ndarray  # uint8 [S, S, 3] RGB
    relief: np.ndarray  # float32 [S, S]: height towards the camera, canvas units
    slope: np.ndarray  # float32 [S, S, 2]: x and y derivative of the relief, for light
    rough: np.ndarray  # float32 [S, S]: noise, standard deviation 1 (edges of blood and of smoke)
    veil: (
        np.ndarray
    )  # uint8 [S, S, 3] RGB: fat, mucus or film that is taken off during the exposure
    veil_slope: np.ndarray  # float32 [S, S, 2]
    veil_order: (
        np.ndarray
    )  # float32 [S, S]: 0..1, the veil is gone where this is below the progress
    organ: np.ndarray  # bool [S, S]: gallbladder, vessels, polyp or pupil, by domain
    line: np.ndarray  # float32 [33, 2]: the future wound, canvas units
    blood: tuple[float, float, float]  # RGB 0..255
    deep: tuple[float, float, float]
    thread: tuple[float, float, float]
    lumen: tuple[float, float] | None  # centre of the lumen (endoscopy), canvas units
    domain: str


def make_tissue(domain: str, rng: np.random.Generator, density: float) -> Tissue:
    """Paints the tissue of one patient.

    Raises KeyError for a domain that the phantom does not have.
    """
    canvas = Canvas(rng, density)
    painter = {
        "laparoscopy": _laparoscopy, "endoscopy": _endoscopy, "cataract": _cataract, "robotic":
        _robotic,
    }[domain]  # fmt: skip
    lumen = painter(canvas)
    canvas.mottle(0.025, 70)  # pores and fine bumps that glitter
    canvas.relief += 0.0013 * canvas.noise(56, 2)
    albedo = np.clip(canvas.rgb, 0, 255).astype(np.uint8)
    relief = cv2.GaussianBlur(canvas.relief, (0, 0), max(0.6, 0.008 * density))
    veil, veil_slope, order = _veil(canvas, domain)
    blood = np.clip(canvas.colour(140, 12, 14, 0.12), 0, 255)
    return Tissue(
        density=density,
        albedo=albedo,
        relief=relief,
        slope=_slope(relief, density),
        rough=canvas.noise(22, 3),
        veil=veil,
        veil_slope=veil_slope,
        veil_order=order,
        organ=canvas.organ,
        line=_wound_line(rng, domain),
        blood=tuple(map(float, blood)),
        deep=tuple(
            map(float, canvas.colour(*((120, 62, 40) if domain == "cataract" else (92, 18, 20))))
        ),
        thread=((30, 26, 60), (120, 190, 210), (240, 240, 235), (40, 30, 30))[rng.integers(4)],
        lumen=lumen,
        domain=domain,
    )


def _slope(relief: np.ndarray, density: float) -> np.ndarray:
    return (
        np.stack([np.gradient(relief, axis=1), np.gradient(relief, axis=0)], -1).astype(np.float32)
        * density
    )


def _wound_line(rng: np.random.Generator, domain: str) -> np.ndarray:
    s = np.linspace(-1.0, 1.0, 33)
    if domain == "cataract":  # an arc within the pupil (capsulorhexis)
        a = rng.uniform(0, 2 * np.pi) + s * 0.75 * np.pi
        return np.stack([0.17 * np.cos(a), 0.17 * np.sin(a)], -1).astype(np.float32)
    tilt = rng.uniform(-0.7, 0.7)
    points = np.stack([0.25 * s, 0.04 * np.sin(2.2 * s + rng.uniform(0, 6)) - 0.06 * s * s], -1)
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    return (points @ turn).astype(np.float32)


def _laparoscopy(c: Canvas) -> None:
    """Peritoneum and fat lobules below, the liver above, the gallbladder hanging into the site."""
    c.rgb[:] = c.colour(205, 122, 104)
    c.mottle(0.07, 9)
    dome, tone = cellular(c.rng, c.size, 15)
    fat = smoothstep(c.noise(3, 3) + 0.9 * c.y + 0.1, -0.1, 0.5)
    lobule = c.colour(226, 176, 92) * (
        0.72 + 0.28 * dome[..., None] + 0.10 * (tone[..., None] - 0.5)
    )
    c.blend(0.92 * fat, lobule)
    c.relief += 0.035 * fat * dome + 0.05 * fat
    c.vessels(7, 0.026, c.colour(158, 32, 34), 0.75)
    edge = -0.30 + 0.10 * np.sin(1.6 * c.x + c.rng.uniform(0, 6)) + 0.02 * c.noise(5, 2)
    liver = smoothstep(edge - c.y, -0.012, 0.012)
    c.blend(liver, c.colour(128, 46, 38) * (1.0 + 0.05 * c.noise(40, 3)[..., None]))
    c.relief += liver * (0.16 * np.sqrt(np.clip(edge - c.y, 0, 0.5)) + 0.05)
    side = c.rng.choice([-1, 1])
    sac = c.dome(0.20 * side, -0.26, 0.44, 0.235, side * c.rng.uniform(-0.75, -0.35))
    skin = c.colour(166, 164, 132, 0.06) * (0.80 + 0.25 * sac[..., None])
    c.blend(smoothstep(sac, 0.0, 0.16), skin)
    c.organ |= sac > 0.08
    c.relief += 0.24 * sac**1.5
    c.vessels(4, 0.014, c.colour(170, 52, 48), 0.65, spread=0.5)


def _robotic(c: Canvas) -> None:
    """Pale fascia with a web of fibres, a vein and an artery that cross, lobulated fat around."""
    c.rgb[:] = c.colour(214, 132, 118)
    c.mottle(0.05, 12)
    fibres = np.abs(cv2.blur(c.noise(42, 2), (max(3, round(0.16 * c.density)), 1)))
    c.blend(np.clip(0.75 - 1.9 * fibres, 0, 0.65), c.colour(248, 218, 206))
    c.relief += 0.010 * fibres
    dome, tone = cellular(c.rng, c.size, 19)
    rim = np.hypot(c.x, 1.2 * c.y) + 0.16 * c.noise(4, 3)
    fat = smoothstep(rim, 0.50, 0.78)
    c.blend(
        fat,
        c.colour(240, 186, 74) * (0.70 + 0.30 * dome[..., None] + 0.12 * (tone[..., None] - 0.5)),
    )
    c.relief += 0.05 * fat * dome + 0.07 * fat
    tilt = c.rng.uniform(-0.5, 0.5)
    for k, rgb in enumerate([(86, 92, 140), (196, 60, 52), (236, 214, 150)]):
        across = (
            np.cos(tilt) * c.y
            + np.sin(tilt) * c.x
            + 0.05 * np.sin(2.6 * c.x + 2 * k)
            - (-0.24, 0.20, 0.34)[k]
        )
        width = (0.105, 0.070, 0.040)[k]
        tube = np.sqrt(np.clip(1.0 - (across / width) ** 2, 0, 1))
        c.blend(smoothstep(tube, 0.0, 0.35), c.colour(*rgb) * (0.62 + 0.42 * tube[..., None]))
        c.organ |= tube > 0.175
        c.relief += 0.9 * width * tube
        tilt += c.rng.uniform(0.3, 0.6)
    c.vessels(11, 0.012, c.colour(176, 30, 36), 0.8)


def _endoscopy(c: Canvas) -> tuple[float, float]:
    """A gut seen from inside: haustral folds around a dark lumen, fine vessels, a polyp."""
    turn = c.rng.uniform(0, 2 * np.pi)
    lumen = (0.40 * np.cos(turn), 0.40 * np.sin(turn))
    dx, dy = c.x - lumen[0], c.y - lumen[1]
    radius, angle = np.sqrt(dx * dx + dy * dy) + 1e-4, np.arctan2(dy, dx)
    c.rgb[:] = c.colour(222, 138, 108)
    c.mottle(0.05, 16)
    c.vessels(16, 0.014, c.colour(178, 62, 58), 0.55)
    lobes, start = c.rng.integers(3, 5), c.rng.uniform(0, 2 * np.pi)
    depth = (
        np.log(radius + 0.04) * 2.9 + 0.16 * np.cos(lobes * angle + start) + 0.08 * c.noise(4, 2)
    )
    phase = depth - np.floor(depth)
    ridge = (
        smoothstep(phase, 0.0, 0.12) * (1.0 - phase) ** 0.8
    )  # lit front edge, falling away behind
    reach = smoothstep(radius, 0.05, 0.20)
    c.rgb *= (0.42 + 0.72 * ridge * (0.45 + 0.55 * reach))[..., None]
    c.rgb *= (0.05 + 0.95 * smoothstep(radius, 0.05, 0.42))[..., None]
    c.relief += 0.11 * radius * ridge
    polyp = c.dome(0.0, 0.0, 0.27, 0.20, turn)
    dome, _ = cellular(c.rng, c.size, 44)
    c.blend(
        smoothstep(polyp, 0.0, 0.12),
        c.colour(206, 96, 88) * (0.62 + 0.26 * polyp + 0.22 * dome)[..., None],
    )
    c.organ |= polyp > 0.06
    c.relief += 0.20 * polyp**1.7 + 0.012 * dome * (polyp > 0)
    return lumen


def _cataract(c: Canvas) -> None:
    """An eye under the microscope: drape, lids, sclera, vessels, limbus, iris, dilated pupil."""
    radius, angle = np.sqrt(c.x * c.x + c.y * c.y) + 1e-4, np.arctan2(c.y, c.x)
    c.rgb[:] = c.colour(232, 214, 204)
    c.mottle(0.03, 10)
    c.vessels(20, 0.010, c.colour(196, 60, 58), 0.75, spread=1.2)
    c.relief += 0.12 * np.sqrt(np.clip(1.2 - radius, 0, 1.2))
    iris_rgb = c.colour(
        *((92, 122, 150), (110, 74, 40), (96, 120, 84), (70, 52, 40))[c.rng.integers(4)]
    )
    grid = c.rng.standard_normal((6, 120), dtype=np.float32)
    grid = np.concatenate([grid, grid[:, :1]], 1)  # closed round the circle
    fibre = cv2.resize(grid, (960, 64), interpolation=cv2.INTER_CUBIC)
    fibre = cv2.remap(
        fibre,
        ((angle / (2 * np.pi) + 0.5) * 959).astype(np.float32),
        np.clip((radius - 0.2) * 280, 0, 63).astype(np.float32),
        cv2.INTER_LINEAR,
    )
    c.blend(smoothstep(radius, 0.50, 0.44), c.colour(120, 122, 130))  # limbus
    c.blend(smoothstep(radius, 0.45, 0.425), iris_rgb * (0.95 + 0.24 * fibre)[..., None])
    c.blend(0.5 * np.exp(-(((radius - 0.315) / 0.02) ** 2)), iris_rgb * 0.5)
    pupil = smoothstep(radius, 0.295, 0.280)
    glow = c.colour(*((198, 92, 44), (120, 74, 56), (176, 130, 96))[c.rng.integers(3)], 0.10)
    spokes = smoothstep(
        np.cos(angle * c.rng.integers(7, 12) + 0.5 * fibre + c.rng.uniform(0, 6)), 0.72, 1.0
    )
    lens = glow * (1.05 - 1.3 * radius + 0.10 * c.noise(14, 3))[..., None]
    lens += 46 * (spokes * smoothstep(radius, 0.08, 0.26))[..., None]
    c.blend(pupil, lens)
    c.organ |= pupil > 0.5
    c.relief += 0.02 * smoothstep(radius, 0.46, 0.40)
    lid = np.abs(c.y + 0.03 * c.noise(4, 2)) - (0.70 - 0.16 * c.x * c.x)
    c.blend(
        smoothstep(lid, 0.0, 0.03), c.colour(206, 142, 118) * (1 + 0.04 * c.noise(30)[..., None])
    )
    c.blend(smoothstep(np.abs(c.y) + 0.25 * np.abs(c.x), 1.02, 1.06), c.colour(52, 110, 150, 0.2))
    wires = [
        (np.array([[-0.9, s * 0.62], [-0.3, s * 0.655], [0.3, s * 0.655], [0.9, s * 0.62]]), 0.045)
        for s in (-1, 1)
    ]
    wire = c.strokes(wires)
    c.blend(wire, np.array([196, 200, 206], np.float32))
    c.relief += 0.06 * cv2.GaussianBlur(wire, (0, 0), 0.02 * c.density)


def _veil(c: Canvas, domain: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The veil over the site before the exposure, and the order in which its parts go.

    The order runs from 0 (first) to 1 (last); 2 stands for a part that was never there.
    """
    cells = {"laparoscopy": 20, "robotic": 24, "endoscopy": 30, "cataract": 34}[domain]
    dome, tone = cellular(c.rng, c.size, cells)
    shade = 0.52 + 0.55 * dome + 0.25 * (tone - 0.5)
    if domain == "cataract":  # a pterygium: flat flesh with vessels of its own
        dome = np.zeros_like(dome)
        shade = 0.92 + 0.05 * c.noise(26, 3)
    base = {
        "laparoscopy": (228, 190, 120), "robotic": (238, 196, 108), "endoscopy": (204, 178, 96),
        "cataract": (224, 172, 160),
    }[domain]  # fmt: skip
    flesh = c.colour(*base) * shade[..., None]
    if domain == "cataract":
        paths: list[tuple[np.ndarray, float]] = []
        for _ in range(22):
            branch(
                c.rng,
                paths,
                c.rng.uniform(-0.6, 0.6, 2),
                c.rng.uniform(0, 2 * np.pi),
                0.016,
                depth=2,
            )
        flesh += 0.8 * c.strokes(paths)[..., None] * (c.colour(176, 48, 50) - flesh)
    rgb = np.clip(flesh, 0, 255).astype(np.uint8)
    reach = np.hypot(c.x / 0.62, c.y / 0.46) + 0.16 * c.noise(7, 3)
    order = 1.0 - 0.75 * np.clip(reach, 0, 1) + 0.10 * (tone - 0.5)
    slope = _slope(
        0.05 * cv2.GaussianBlur(dome, (0, 0), 0.010 * c.density) - 0.05 * reach**2, c.density
    )
    return rgb, slope, np.where(reach < 1.0, np.clip(order, 0.05, 0.98), -1.0).astype(np.float32)
