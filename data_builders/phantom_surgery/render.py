"""Draws the frames of one phantom video and encodes them.

The picture at time t is a pure function of (corpus seed, patient, video, t). The encoded bytes also
depend on the versions of OpenCV and its codecs.
"""

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from data_builders.phantom_surgery import effects, instruments
from data_builders.phantom_surgery.anatomy import Tissue, make_tissue
from data_builders.phantom_surgery.camera import Camera, OperatingRoom, Sensor
from data_builders.phantom_surgery.canvas import EXTENT
from data_builders.phantom_surgery.corpus import VideoPlan
from data_builders.phantom_surgery.editions import EDITIONS, INSTRUMENTS
from data_builders.phantom_surgery.instruments import Finish, Part, Pose
from data_builders.phantom_surgery.motion import Motion, Touch
from data_builders.phantom_surgery.script import Script, inside, label_at, write_script
from surgrec_jax.safety.errors import UserError

# A tool that covers less of the visible picture than this is neither drawn nor labelled as present.
SMALLEST_PRESENCE = 0.01
_PUFF_EVERY, _PUFF_LIFE = 0.4, 3.2  # seconds
# Raise it whenever any picture or label changes, so that half-built data sets are not finished with
# other pictures.
DRAWING = 2


@dataclasses.dataclass(frozen=True)
class Frame:
    """image uint8 [H, W, 3] RGB; the instruments drawn in it; whether it is out of body."""

    image: np.ndarray
    present: frozenset[str]
    out_of_body: bool


@dataclasses.dataclass(frozen=True)
class Truth:
    """Labels of rendered frames: times float64 [N] (s), tracks name -> int64 [N], -1 if unseen."""

    times: np.ndarray
    tracks: dict[str, np.ndarray]


class Scene:
    """Everything needed to draw any frame of one video."""

    def __init__(self, plan: VideoPlan):
        """Paints the tissue (tens of milliseconds at 96 px); frames are cheap afterwards."""
        patient, video = plan.patient_rng(), plan.video_rng()
        edition = EDITIONS[plan.edition]
        self.plan = plan
        self._short = min(plan.width, plan.height)
        self.tissue: Tissue = make_tissue(plan.domain, patient, 1.1 * self._short)
        self.finish: Finish = instruments.make_finish(
            plan.domain, patient, edition.shape[plan.domain]
        )
        mirrored = bool(patient.random() < 0.5)
        near = self.tissue.albedo[:: max(1, self._short // 24), :: max(1, self._short // 24)]
        n = near.shape[0] // 4
        mean_rgb = near[n:-n, n:-n].reshape(-1, 3).mean(0) * 0.85
        self.script: Script = write_script(video, plan.seconds, plan.skill, edition, plan.rare)
        self.camera = Camera(video, self.script, plan.domain)
        self.sensor = Sensor(patient, video, plan.domain, plan.width, plan.height, mean_rgb)
        self.motion = Motion(
            video, self.script, self.camera, plan.domain, self.tissue.line, mirrored
        )
        self.room = OperatingRoom(video, plan.width, plan.height)
        self.state = effects.TissueState(self.tissue, self.script, video)
        self._centre = np.array([plan.width / 2 - 0.5, plan.height / 2 - 0.5])
        self._shine = float(patient.uniform(0.7, 1.3))
        self._open = self.sensor.aperture > 0.5
        if edition.square:
            self._open &= np.maximum(np.abs(self.sensor.x), np.abs(self.sensor.y)) <= 0.5
        self._visible = float(self._open.sum())

    def frame(self, t: float, hidden: frozenset[str] = frozenset()) -> Frame:
        """Draws the picture at t seconds without instruments in `hidden`; their effects stay."""
        flicker = np.random.default_rng([self.plan.video_seed, round(t * 1000)])
        if self.outside(t):
            image = self.sensor.develop(self.room.view(t), t, np.zeros(2), auto=0.6)
            return Frame(image, frozenset(), True)
        tools = self.motion.at(t)
        touches = [touch for _, touch in tools if touch is not None]
        u, v = self.look(t, touches)
        image, rough = self._light(u, v, t)
        self._thread(image, tools, t)
        drawn = self._tools(image, [pose for pose, _ in tools if pose.tool not in hidden])
        for pose, touch in tools:
            tip, heading = np.array(pose.tip), np.array(pose.tip) - np.array(pose.entry)
            heading = heading / np.hypot(*heading)
            if touch is not None and touch.jet:
                effects.jet(image, tip, heading, flicker, self._short, self._centre)
            if touch is not None and touch.spark:
                effects.spark(image, tip, flicker, self.sensor.x, self.sensor.y)
        effects.smoke(image, self._puffs(t), self.sensor.x, self.sensor.y, rough)
        return Frame(self.sensor.develop(image, t, self.camera.speed(t)), drawn, False)

    def outside(self, t: float) -> bool:
        """Whether the camera is out of the body."""
        return bool(inside(self.script.out_of_body, np.array([t]))[0])

    def texels(self, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Canvas units -> pixels of the tissue's textures."""
        density = self.tissue.density
        return (u + EXTENT) * density - 0.5, (v + EXTENT) * density - 0.5

    def look(self, t: float, touches: list[Touch]) -> tuple[np.ndarray, np.ndarray]:
        """Canvas coordinates seen by each pixel, [H, W] each; pulled tissue follows the tools."""
        centre, zoom, roll = self.camera.at(t)
        c, s = np.float32(np.cos(roll) / zoom), np.float32(np.sin(roll) / zoom)
        x, y = self.sensor.x, self.sensor.y
        u = c * x + s * y + np.float32(centre[0])
        v = c * y - s * x + np.float32(centre[1])
        if self.tissue.lumen is not None:  # peristalsis: rings travel along the gut
            du, dv = u - np.float32(self.tissue.lumen[0]), v - np.float32(self.tissue.lumen[1])
            radius = np.sqrt(du * du + dv * dv) + np.float32(0.05)
            wave = np.float32(0.035) * np.sin(
                np.float32(7.0) * np.log(radius) - np.float32(1.1 * t)
            )
            u, v = u + du * wave, v + dv * wave
        for touch in touches:
            if abs(touch.pull).max() > 1e-3:
                px, py = (touch.point + touch.pull).astype(np.float32)
                near = np.exp(((u - px) ** 2 + (v - py) ** 2) * np.float32(-0.5 / touch.radius**2))
                u, v = u - near * np.float32(touch.pull[0]), v - near * np.float32(touch.pull[1])
        return u, v

    def _light(self, u: np.ndarray, v: np.ndarray, t: float) -> tuple[np.ndarray, np.ndarray]:
        """Tissue under the lamp beside the lens: diffuse light, wet highlights, blood.

        Returns (float RGB, roughness).
        """
        tissue, x, y = self.tissue, self.sensor.x, self.sensor.y
        du, dv = self.texels(u, v)
        edge = {"interpolation": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
        albedo, slope = self.state.at(t)
        image = cv2.remap(albedo, du, dv, **edge).astype(np.float32)
        slope = cv2.remap(slope, du, dv, **edge)
        rough = cv2.remap(tissue.rough, du, dv, **edge)
        cover = effects.bleed(image, u, v, rough, tissue, self.script, t)
        gx, gy = slope[..., 0] + 0.05 * rough, slope[..., 1] + 0.05 * rough
        if cover is not None:  # a pool is flat
            gx, gy = gx * (1 - 0.8 * cover), gy * (1 - 0.8 * cover)
        diffuse = 1.0 - 0.55 * (gx * (x + 0.25) + gy * (y + 0.35)) - 0.10 * (gx * gx + gy * gy)
        shine = (gx + 0.9 * x + 0.18) ** 2 + (gy + 0.9 * y + 0.22) ** 2
        gloss = 1.0 / (1.0 + 60.0 * shine) ** 2
        if cover is not None:
            gloss *= 1 - 0.7 * cover
        image *= (np.clip(diffuse, 0.25, 1.6) * self.sensor.falloff)[..., None]
        image += (150.0 * self._shine * gloss)[..., None]
        if tissue.domain == "cataract":  # the two lamps of the microscope on the cornea
            for ox, oy in ((-0.055, -0.10), (0.075, -0.085)):
                spot = np.exp(-((((u - ox) ** 2 + (v - oy) ** 2) / 0.0009) ** 2))
                image += (190.0 * spot)[..., None]
        return image, rough

    def _tools(self, image: np.ndarray, poses: list[Pose]) -> frozenset[str]:
        """Draws shadows and tools in place; returns those that are visible."""
        placed, owner = self.seen(poses)
        if not placed:
            return frozenset()
        cast = (owner > 0).astype(np.float32)
        shift = np.array([[1, 0, 0.035 * self._short], [0, 1, 0.055 * self._short]], np.float32)
        cast = cv2.warpAffine(cast, shift, (image.shape[1], image.shape[0]))
        image *= (1.0 - 0.45 * cv2.GaussianBlur(cast, (0, 0), 0.030 * self._short))[..., None]
        for parts in placed.values():
            for points, shade in parts:
                colour = instruments.shade_colour(self.finish, shade)
                instruments.fill(image, points, colour, outline=shade in ("metal", "light"))
        image *= np.where(owner > 0, self.sensor.falloff, np.float32(1.0))[..., None]
        return frozenset(placed)

    def seen(self, poses: list[Pose]) -> tuple[dict[str, list[Part]], np.ndarray]:
        """The parts of the visible tools, and whose each pixel is, uint8 [H, W], 0 = nobody's."""
        owner = np.zeros(self.sensor.x.shape, np.uint8)
        placed = {
            p.tool: instruments.place(p, self.finish, self._short, self._centre) for p in poses
        }
        while placed:  # the least visible goes first: what it hid may be enough without it
            owner[:] = 0
            for k, parts in enumerate(placed.values(), 1):
                for points, _ in parts:
                    cv2.fillPoly(owner, [np.round(points).astype(np.int32)], k)
            counts = np.bincount(owner[self._open], minlength=len(placed) + 1)[1:]
            if counts.min() >= SMALLEST_PRESENCE * self._visible:
                break
            del placed[list(placed)[int(counts.argmin())]]
        return placed, owner

    def _thread(self, image: np.ndarray, tools: list[tuple[Pose, Touch | None]], t: float) -> None:
        """The suture runs from the tissue to the needle."""
        for pose, touch in tools:
            if touch is not None and touch.thread:
                start, tip = self.camera.to_view(touch.point, t), np.array(pose.tip)
                sag = 0.5 * (start + tip) + np.array([0.0, 0.05])
                points = np.round(
                    (np.array([start, sag, tip]) * self._short + self._centre) * 16
                ).astype(np.int32)
                width = max(1, round(0.016 * self._short))
                cv2.polylines(image, [points], False, self.tissue.thread, width, cv2.LINE_AA, 4)

    def _puffs(self, t: float) -> list[tuple[np.ndarray, float]]:
        """Smoke of the last seconds of coagulation: (place in the picture, age)."""
        puffs = []
        for use in self.script.uses:
            if (
                use.action in self.script.edition.burning
                and use.mode == "work"
                and use.start < t < use.stop + _PUFF_LIFE
            ):
                first = max(use.start + 0.9, t - _PUFF_LIFE)
                marks = [m for m in self.script.chars if use.start <= m.time < use.stop]
                if marks:
                    k = int(np.clip(marks[0].along, 0, 1) * (len(self.tissue.line) - 1))
                    place_ = self.camera.to_view(self.tissue.line[k], t)
                    born = np.arange(
                        np.ceil(first / _PUFF_EVERY) * _PUFF_EVERY, min(t, use.stop), _PUFF_EVERY
                    )
                    puffs += [
                        (place_ + 0.05 * np.array([np.sin(7.3 * b), np.cos(5.1 * b)]), float(t - b))
                        for b in born
                    ]
        return puffs


def truth_at(
    scene: Scene, times: np.ndarray, frames_present: list[frozenset[str]], out: np.ndarray
) -> Truth:
    """Tracks at the frame times. Out of body there is no phase and no action to be seen: -1.

    In the second edition an action whose tool is not in the square is -1, too.
    """
    edition, actions = scene.script.edition, label_at(scene.script.actions, times)
    unseen = out.copy()
    if edition.square:
        tools = [edition.tool_of.get(edition.actions[action]) for action in actions]
        unseen |= [t is not None and t not in p for t, p in zip(tools, frames_present, strict=True)]
    tracks = {
        "phase": np.where(out, -1, label_at(scene.script.phases, times)),
        "action": np.where(unseen, -1, actions),
        "out_of_body": out.astype(np.int64),
    }
    for tool in INSTRUMENTS:
        tracks[f"instrument_{tool}"] = np.array([tool in seen for seen in frames_present], np.int64)
    return Truth(times, tracks)


def frame_times(plan: VideoPlan) -> np.ndarray:
    """Seconds of every frame, float64 [N]."""
    return np.arange(max(1, round(plan.seconds * plan.fps))) / plan.fps


class UnwritableVideoError(UserError, OSError):
    """A video file cannot be opened for writing."""


def render_video(plan: VideoPlan, path: Path) -> Truth:
    """Renders and encodes one video to `path` (its suffix is plan.container).

    Raises UnwritableVideoError if it cannot be written.
    """
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*plan.codec), plan.fps, (plan.width, plan.height)
    )
    if not writer.isOpened():
        raise UnwritableVideoError(
            f"OpenCV cannot write {path} as {plan.codec} at {plan.width}x{plan.height}; "
            "is the disk full, or the codec missing?"
        )
    scene, times = Scene(plan), frame_times(plan)
    present, out = [], np.zeros(len(times), bool)
    try:
        for k, t in enumerate(times):
            frame = scene.frame(float(t))
            writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
            present.append(frame.present)
            out[k] = frame.out_of_body
    finally:
        writer.release()
    return truth_at(scene, times, present, out)
