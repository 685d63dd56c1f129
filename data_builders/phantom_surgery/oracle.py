"""The truth of a phantom video as numbers: what a perfect eye would measure.

Probes on them are the ceilings that encoders are read against.
"""

import numpy as np

from data_builders.phantom_surgery.editions import INSTRUMENTS
from data_builders.phantom_surgery.render import Scene

_MODES = ("work", "hold", "park")


def still(scene: Scene, t: float) -> np.ndarray:
    """Tissue and tools at t seconds, float [22].

    They are the shares of cover and wound, whether there are stitches, the number of bleedings, and
    per tool whether it works, holds or is parked.
    """
    script = scene.script
    tools = {u.tool: u.mode for u in script.uses if u.start <= t < u.stop}
    return np.array([
        4 * np.interp(t, *script.unveil.T),
        4 * np.interp(t, *script.cut.T),
        4 * float(any(m.time <= t for m in script.stitches)),
        2 * sum(m.time < t < m.until for m in script.bleeds),
        *[2.0 * (tools.get(tool) == mode) for tool in INSTRUMENTS for mode in _MODES],
    ])  # fmt: skip


def motion(scene: Scene, times: np.ndarray) -> np.ndarray:
    """How the tools move over the times [T] of a clip, in seconds: float [48].

    Of each tool's tip along the shaft and aside, on the tissue, of its jaws and its turn: the
    deviation over the clip, and the mean change from time to time.
    """
    times = np.clip(times, 0.0, scene.plan.seconds - 0.1)
    poses = {tool: np.zeros((len(times), 4)) for tool in INSTRUMENTS}
    for k, time in enumerate(times):
        for pose, _ in scene.motion.at(float(time)):
            out = np.array(pose.entry) / np.hypot(*pose.entry)
            tip = scene.camera.to_canvas(np.array(pose.tip), float(time))
            poses[pose.tool][k] = tip @ out, tip @ [-out[1], out[0]], pose.jaw, pose.roll
    return np.ravel([(p.std(0), np.abs(np.diff(p, axis=0)).mean(0)) for p in poses.values()])
