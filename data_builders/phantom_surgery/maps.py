"""The label maps of a drawn frame: what each pixel shows, and how far from the lens it is.

Marks, blood, water and smoke are what they lie on; the veil hides an organ but has no thickness.

Depths lie along the optical axis of a pinhole camera that looks straight down: tissue at zoom z is
FOCAL / z canvas units away, less its relief. The wall of a gut is that of a tube seen along its
axis, whose distance is inversely proportional to that from the centre of the lumen. A tool is a
straight rod from the tissue under its tip to half that depth where it enters (the inverse of depth
is linear along a straight line), or lies on tissue that is nearer.
"""

import cv2
import numpy as np

from data_builders.phantom_surgery.anatomy import Tissue
from data_builders.phantom_surgery.instruments import Pose
from data_builders.phantom_surgery.render import Scene

LAYERS = ("background", "organ", "instrument_shaft", "instrument_tip")
MILLIMETRES = 0.01  # of one count of a map of depths
# By domain: millimetres of a canvas unit, and the focal length in short sides of the picture.
_LENS = {
    "laparoscopy": (60.0, 1.0),
    "endoscopy": (30.0, 0.9),
    "cataract": (13.0, 15.0),
    "robotic": (50.0, 1.1),
}
_TUBE, _FLOOR = 0.5, 0.1  # canvas units: of a gut, radius, and what keeps its end at a distance


def draw_layers(scene: Scene, t: float) -> np.ndarray | None:
    """What frame(t) shows, uint8 [H, W] ids of LAYERS; None out of the body.

    The black border is background.
    """
    if scene.outside(t):
        return None
    tools = scene.motion.at(t)
    u, v = scene.look(t, [touch for _, touch in tools if touch is not None])
    ids = _taken(scene, scene.state.organ(t), u, v, cv2.INTER_NEAREST)
    for parts in scene.seen([pose for pose, _ in tools])[0].values():
        for points, shade in parts:
            part = "instrument_shaft" if shade.startswith("shaft") else "instrument_tip"
            cv2.fillPoly(ids, [np.round(points).astype(np.int32)], LAYERS.index(part))
    ids[scene.sensor.aperture < 0.5] = 0
    return ids


def draw_depth(scene: Scene, t: float) -> np.ndarray | None:
    """How far what frame(t) shows is, float32 [H, W] millimetres; None out of the body.

    0 in the black border, where nothing is measured.
    """
    if scene.outside(t):
        return None
    tools = scene.motion.at(t)
    u, v = scene.look(t, [touch for _, touch in tools if touch is not None])
    _, zoom, _ = scene.camera.at(t)
    unit, focal = _LENS[scene.tissue.domain]
    relief = _taken(scene, scene.tissue.relief, u, v, cv2.INTER_LINEAR)
    tissue = unit * (focal * _wall(scene.tissue, u, v) / zoom - relief)
    placed, owner = scene.seen([pose for pose, _ in tools])
    poses, found = {pose.tool: pose for pose, _ in tools}, tissue.copy()
    for number, tool in enumerate(placed, 1):
        here = owner == number
        found[here] = np.minimum(_rod(scene, poses[tool], tissue), tissue)[here]
    found[scene.sensor.aperture < 0.5] = 0
    return found.astype(np.float32)


def _taken(scene: Scene, texture: np.ndarray, u, v, interpolation: int) -> np.ndarray:
    """The values of a texture of the tissue at canvas coordinates."""
    edge = {"interpolation": interpolation, "borderMode": cv2.BORDER_REFLECT_101}
    return cv2.remap(texture, *scene.texels(u, v), **edge)


def _wall(tissue: Tissue, u: np.ndarray, v: np.ndarray) -> np.ndarray | float:
    """The distance of the tissue without relief at zoom 1, in focal lengths."""
    if tissue.lumen is None:
        return 1.0
    return _TUBE / (np.hypot(u - tissue.lumen[0], v - tissue.lumen[1]) + _FLOOR)


def _rod(scene: Scene, pose: Pose, tissue: np.ndarray) -> np.ndarray:
    """The depths that a tool has at every pixel, if it is there."""
    x, y = scene.sensor.x, scene.sensor.y
    tip, entry = np.array(pose.tip), np.array(pose.entry)
    away = entry - tip
    reach = ((x - tip[0]) * away[0] + (y - tip[1]) * away[1]) / max(away @ away, 1e-6)
    row = np.abs(y[:, 0] - tip[1]).argmin()
    column = np.abs(x[0] - tip[0]).argmin()
    return tissue[row, column] / (1 + np.clip(reach, 0, 1))
