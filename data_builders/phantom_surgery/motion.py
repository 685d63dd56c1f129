"""How the instruments move: a pure function of time, from the script to poses in the picture."""

import dataclasses

import numpy as np

from data_builders.phantom_surgery.camera import Camera
from data_builders.phantom_surgery.editions import INSTRUMENTS
from data_builders.phantom_surgery.instruments import Pose
from data_builders.phantom_surgery.noise import Wander, smoothstep
from data_builders.phantom_surgery.script import (
    TEMPO,
    TREMOR,
    Script,
    Use,
    label_at,
    stitch_seconds,
)

_EASE = 0.7  # seconds to come in, to leave, or to go over to the next action
_FAR = 1.45  # where a tool rests outside of the picture, short sides from the centre

# Where a tool comes from: angle in the picture (0 right, pi/2 down), for right-handed work.
_PORTS = {
    "laparoscopy": {"left": 2.65, "right": 0.50, "third": -0.95},
    "endoscopy": {"left": 1.75, "right": 0.85, "third": 1.30},
    "cataract": {"left": 2.95, "right": 0.20, "third": -0.80},
    "robotic": {"left": 2.45, "right": 0.70, "third": -0.70},
}
_PORT_OF_TOOL = {
    "grasper": "left", "suction": "left", "retractor": "third", "scissors": "right", "hook":
    "right",
    "needle_driver": "right",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Touch:
    """A tool's present effect on the tissue: `pull` in canvas units; sparks and jet at the tip."""

    tool: str
    point: np.ndarray
    pull: np.ndarray
    radius: float
    spark: float = 0.0
    jet: float = 0.0
    thread: float = 0.0


@dataclasses.dataclass
class _State:
    """Tip in canvas units and the rest of a pose, before the camera."""

    tip: np.ndarray
    jaw: float = 0.2
    bend: float = 0.0
    roll: float = 0.0
    touch: Touch | None = None


class Motion:
    """Poses of all tools of one video. `line` [K, 2] is the wound in canvas units."""

    def __init__(
        self,
        rng: np.random.Generator,
        script: Script,
        camera: Camera,
        domain: str,
        line: np.ndarray,
        mirrored: bool,
    ):
        self._script, self._camera, self._line = script, camera, line
        self._tempo, self._tremor = TEMPO[script.skill], TREMOR[script.skill]
        self._uses = {tool: [u for u in script.uses if u.tool == tool] for tool in INSTRUMENTS}
        self._shake = {tool: (Wander(rng, 1.3, 0.5), Wander(rng, 1.3, 0.5)) for tool in INSTRUMENTS}
        self._entry = {}
        for tool in INSTRUMENTS:
            angle = _PORTS[domain][_PORT_OF_TOOL[tool]] + rng.uniform(-0.22, 0.22)
            angle = np.pi - angle if mirrored and domain != "endoscopy" else angle
            self._entry[tool] = np.array([np.cos(angle), np.sin(angle)])

    def at(self, t: float) -> list[tuple[Pose, Touch | None]]:
        """Tools in or near the picture at time t, in drawing order."""
        found = []
        for tool in INSTRUMENTS:
            state, share = self._tool(tool, t)
            if state is None:
                continue
            tip = self._camera.to_view(state.tip, t)
            tip = tip + self._tremor * np.array([w.at(t) for w in self._shake[tool]])
            outside = self._entry[tool] * _FAR
            tip = outside + share * (tip - outside)
            entry = self._entry[tool] * (_FAR + 0.4)
            pose = Pose(
                tool,
                (float(tip[0]), float(tip[1])),
                (float(entry[0]), float(entry[1])),
                state.jaw,
                state.bend,
                state.roll,
            )
            found.append((pose, state.touch if share > 0.98 else None))
        return found

    def _tool(self, tool: str, t: float) -> tuple[_State | None, float]:
        """State at t and how far the tool is in (0 outside, 1 in place)."""
        uses = self._uses[tool]
        k = int(np.searchsorted([u.start for u in uses], t, side="right")) - 1
        if k < 0 or t >= uses[k].stop + _EASE:
            return None, 0.0
        use = uses[k]
        if t >= use.stop:
            return self._state(use, use.stop), 1.0 - float(smoothstep(t - use.stop, 0.0, _EASE))
        state, w = self._state(use, t), float(smoothstep(t - use.start, 0.0, _EASE))
        if k > 0 and uses[k - 1].stop == use.start:
            if w < 1.0:
                before = self._state(uses[k - 1], use.start)
                state.tip = before.tip + w * (state.tip - before.tip)
                state.jaw, state.roll = before.jaw + w * (state.jaw - before.jaw), state.roll * w
                state.touch = None
            return state, 1.0
        return state, w

    def _state(self, use: Use, t: float) -> _State:
        rng = np.random.default_rng(use.seed)
        scatter, bend = rng.uniform(-1, 1, 2), rng.uniform(-0.5, 0.5)
        centre, _, _ = self._camera.at(t)
        # Sweeping with the camera in the preparation; at the site later, where the camera stays
        # close to it.
        phase = self._phase(min(t, self._script.duration - 1e-3))
        anchor = centre if phase == "preparation" else 0.3 * centre
        out = self._entry[use.tool]
        side = np.array([-out[1], out[0]])
        if use.mode == "park":
            drift = 0.015 * np.array([np.sin(0.9 * t), np.cos(0.7 * t)])
            return _State(anchor + 0.30 * out + 0.06 * scatter + drift, 0.15, bend)
        if use.mode == "hold":
            point = anchor + 0.20 * out + 0.05 * scatter
            pull = 0.07 * out
            return _State(point + pull, 0.0, bend, touch=Touch(use.tool, point, pull, 0.16))
        state = getattr(self, "_" + use.action)(use, t, anchor, out, side, scatter)
        state.bend += bend
        return state

    def _phase(self, t: float) -> str:
        return self._script.edition.phases[int(label_at(self._script.phases, np.array([t]))[0])]

    def _on_line(self, along: float) -> np.ndarray:
        along = float(np.clip(along, 0.0, 1.0)) * (len(self._line) - 1)
        k = min(int(along), len(self._line) - 2)
        return self._line[k] + (along - k) * (self._line[k + 1] - self._line[k])

    def _grasp_pull(self, use, t, anchor, out, side, scatter) -> _State:
        """Open, reach, close, pull the tissue back, let go."""
        u = (self._tempo * (t - use.start) / 2.6) % 1.0
        point = anchor + 0.07 * scatter + 0.04 * out
        closed = smoothstep(u, 0.28, 0.38) * smoothstep(u, 0.92, 0.84)
        away = 0.22 * smoothstep(u, 0.38, 0.68) * smoothstep(u, 0.92, 0.82)
        reach = 0.10 * smoothstep(u, 0.26, 0.06) + 0.10 * smoothstep(u, 0.90, 1.0)
        pull = away * closed * out
        touch = Touch("grasper", point, pull, 0.17) if closed > 0.5 else None
        return _State(point + pull + reach * out, 1.0 - closed, 0.3 * (u - 0.5), touch=touch)

    def _retract(self, use, t, anchor, out, side, scatter) -> _State:
        """Press down and sweep the tissue sideways, hold, give way."""
        u = (self._tempo * (t - use.start) / 4.2) % 1.0
        sway = smoothstep(u, 0.10, 0.45) * smoothstep(u, 1.0, 0.80)
        point = anchor + 0.10 * out + 0.05 * scatter
        pull = 0.20 * sway * side * np.sign(scatter[0])
        return _State(
            point + pull, float(sway), 0.5 * sway, touch=Touch("retractor", point, pull, 0.30)
        )

    def _cut(self, use, t, anchor, out, side, scatter, seconds=1.1) -> _State:
        """Snip, snip along the wound line."""
        u = self._tempo * (t - use.start) / seconds
        along = (
            float(np.interp(t, *self._script.cut.T))
            if self._phase(use.start + 1e-3) == "dissection"
            else 0.5 + 0.4 * scatter[0]
        )
        opened = 0.5 + 0.5 * np.cos(2 * np.pi * u)
        return _State(
            self._on_line(along) + 0.05 * opened * out, float(opened), 0.2 * np.sin(np.pi * u)
        )

    def _spread(self, *args) -> _State:
        """As cut, a third as fast: the blades part the tissue bluntly."""
        return self._cut(*args, seconds=3.3)

    def _coagulate(self, use, t, anchor, out, side, scatter, swing=0.035, turns=2) -> _State:
        """Touch and dwell with a small stroke, in smoke."""
        u = self._tempo * (t - use.start) / 1.7
        marks = [m for m in self._script.chars if use.start <= m.time < use.stop]
        point = self._on_line(marks[0].along) + marks[0].aside * side if marks else anchor
        lift = 0.10 * smoothstep(np.sin(2 * np.pi * u), 0.45, 1.0)
        stroke = swing * np.sin(2 * np.pi * turns * u)
        touch = Touch("hook", point, np.zeros(2), 0.1, spark=1.0 if lift < 0.02 else 0.0)
        return _State(
            point + lift * out + stroke * side, 0.0, 0.0, 0.25 * np.sin(2 * np.pi * u), touch
        )

    def _hook_cut(self, *args) -> _State:
        """As coagulate, in long slow strokes across the wound line."""
        return self._coagulate(*args, swing=0.14, turns=1)

    def _suture(self, use, t, anchor, out, side, scatter) -> _State:
        """Turn the needle through both edges, then pull the thread out to the side."""
        u = (t - use.start) / stitch_seconds(self._tempo)
        done = sum(m.time <= t for m in self._script.stitches)
        along = (
            self._script.stitches[min(done, len(self._script.stitches) - 1)].along
            if self._script.stitches
            else 0.5
        )
        u %= 1.0
        turn = -1.4 + 3.6 * smoothstep(u, 0.05, 0.55) - 3.6 * smoothstep(u, 0.80, 0.98)
        away = 0.17 * smoothstep(u, 0.52, 0.75) * smoothstep(u, 1.0, 0.86)
        swing = 0.05 * np.sin(2 * np.pi * u)
        point = self._on_line(along)
        tip = point + away * (0.6 * out + 0.8 * side) + swing * side + 0.04 * out
        touch = Touch("needle_driver", point, np.zeros(2), 0.1, thread=1.0)
        return _State(tip, 0.0, 0.3 * np.sin(2 * np.pi * u), float(turn), touch)

    def _irrigate(self, use, t, anchor, out, side, scatter) -> _State:
        """Sweep from side to side; with a jet of water where nothing else moves the suction."""
        u = self._tempo * (t - use.start) / 2.0
        sweep = 0.17 * np.sin(2 * np.pi * u)
        point = anchor + 0.13 * out + 0.04 * scatter
        water = 0.0 if "aspirate" in self._script.edition.actions else 1.0
        touch = Touch("suction", point, np.zeros(2), 0.1, jet=water)
        return _State(point + sweep * side, 0.0, 0.3 * np.sin(2 * np.pi * u), 0.0, touch)

    def _aspirate(self, use, t, anchor, out, side, scatter) -> _State:
        """Dab along the shaft, at a place as far aside as irrigation reaches."""
        u = self._tempo * (t - use.start) / 2.0
        aside = 0.17 * np.sin(2 * np.pi * _lead(use)) * side
        point = anchor + 0.13 * out + 0.04 * scatter + aside
        dab = 0.12 * np.sin(2 * np.pi * u)
        return _State(point + dab * out, 0.0, 0.3 * np.sin(2 * np.pi * _lead(use)))

    def _pull(self, use, t, anchor, out, side, scatter, turns=1.0) -> _State:
        """Grip the tissue, pull it back and give way, again and again."""
        u = turns * self._tempo * (t - use.start) / 2.6 + _lead(use)
        away = 0.02 + 0.10 * (1.0 - np.cos(2 * np.pi * u))
        point = anchor + 0.07 * scatter + 0.04 * out
        touch = Touch("grasper", point, away * out, 0.17)
        return _State(point + away * out, 0.0, touch=touch)

    def _hold(self, *args) -> _State:
        """Pull, stopped at a moment that the seed draws: in one picture they are the same."""
        return self._pull(*args, turns=0.0)


def _lead(use: Use) -> float:
    """A share of a cycle, drawn by the seed."""
    return float(np.random.default_rng([use.seed, 1]).random())
