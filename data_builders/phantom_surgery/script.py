"""The course of a phantom video: semi-Markov phases, actions within them, tools and their marks.

Everything here is plain numbers: no pixel is drawn. All domains share one vocabulary, so that one
probe task covers the whole corpus. Times are seconds from the start of the video; positions along
the wound are fractions in [0, 1].
"""

import dataclasses

import numpy as np

from surgrec_jax.safety.errors import ConfigError

PHASES = ("preparation", "exposure", "dissection", "haemostasis", "closure")
ACTIONS = ("idle", "retract", "grasp_pull", "cut", "coagulate", "suture", "irrigate")
INSTRUMENTS = ("grasper", "scissors", "hook", "needle_driver", "suction", "retractor")
SKILLS = ("novice", "intermediate", "expert")

# Skill is visible in the motion only: speed of the cycles, hand tremor (fraction of the short
# side), pauses.
TEMPO = {"novice": 0.78, "intermediate": 1.0, "expert": 1.25}
TREMOR = {"novice": 0.020, "intermediate": 0.008, "expert": 0.002}

# Relative mean length of the phases; a phase lasts gamma(shape 6) around it, then all are scaled to
# the video.
_PHASE_LENGTH = {
    "preparation": 0.8, "exposure": 1.0, "dissection": 1.2, "haemostasis": 1.0, "closure": 1.1,
}  # fmt: skip
# Jump chain of the actions within a phase (an action never follows itself).
ACTION_WEIGHTS = {
    "preparation": {"idle": 0.40, "irrigate": 0.30, "grasp_pull": 0.30},
    "exposure": {"retract": 0.50, "grasp_pull": 0.30, "coagulate": 0.10, "idle": 0.10},
    "dissection": {"cut": 0.45, "coagulate": 0.25, "grasp_pull": 0.20, "idle": 0.10},
    "haemostasis": {"coagulate": 0.38, "irrigate": 0.40, "idle": 0.12, "retract": 0.10},
    "closure": {"suture": 0.55, "cut": 0.18, "idle": 0.15, "grasp_pull": 0.12},
}
_ACTION_SECONDS = {
    "idle": 3.0, "retract": 4.5, "grasp_pull": 4.5, "cut": 4.5, "coagulate": 4.5, "suture": 6.0,
    "irrigate": 4.5,
}  # fmt: skip
SHORTEST_ACTION = 2.0
SHORTEST_VIDEO = 12.0
TOOL_OF_ACTION = {
    "retract": "retractor", "grasp_pull": "grasper", "cut": "scissors", "coagulate": "hook",
    "suture": "needle_driver", "irrigate": "suction",
}  # fmt: skip
# The second hand of a phase: holds still while the other works.
_HOLDER = {
    "preparation": None, "exposure": "retractor", "dissection": "grasper", "haemostasis": "suction",
    "closure": "grasper",
}  # fmt: skip
_PARKED = {
    "preparation": ("grasper", "suction"), "exposure": ("grasper", "retractor"), "dissection":
    ("scissors", "hook"),
    "haemostasis": ("suction", "hook"), "closure": ("needle_driver", "grasper"),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Interval:
    """[start, stop) in seconds with the index of a class in PHASES or ACTIONS."""

    start: float
    stop: float
    label: int


@dataclasses.dataclass(frozen=True)
class Use:
    """One instrument during one action: "work", "hold" or "park"; `seed` varies its path."""

    start: float
    stop: float
    tool: str
    mode: str
    action: str
    seed: int


@dataclasses.dataclass(frozen=True)
class Mark:
    """A mark that stays on the tissue from `time` on: `along` the wound line, `aside` of it."""

    time: float
    along: float
    aside: float = 0.0
    until: float = np.inf


@dataclasses.dataclass(frozen=True)
class Script:
    """A whole video as data.

    `cut` and `unveil` are knots [K, 2] of (time, fraction) to interpolate linearly.
    """

    duration: float
    skill: str
    phases: tuple[Interval, ...]
    actions: tuple[Interval, ...]
    uses: tuple[Use, ...]
    out_of_body: tuple[tuple[float, float], ...]
    cut: np.ndarray
    unveil: np.ndarray
    stitches: tuple[Mark, ...]
    chars: tuple[Mark, ...]
    bleeds: tuple[Mark, ...]


def label_at(intervals: tuple[Interval, ...], times: np.ndarray) -> np.ndarray:
    """Class index per time [N]; -1 outside of all intervals."""
    times = np.asarray(times, np.float64)
    starts = np.array([i.start for i in intervals])
    k = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, None)
    labels = np.array([i.label for i in intervals])[k]
    stops = np.array([i.stop for i in intervals])[k]
    return np.where((times >= starts[k]) & (times < stops), labels, -1)


def inside(spans: tuple[tuple[float, float], ...], times: np.ndarray) -> np.ndarray:
    """Bool [N]: time lies in one of the [start, stop) spans."""
    times = np.asarray(times, np.float64)
    hit = np.zeros(times.shape, bool)
    for start, stop in spans:
        hit |= (times >= start) & (times < stop)
    return hit


def write_script(rng: np.random.Generator, duration: float, skill: str) -> Script:
    """Draws a script of `duration` seconds.

    Phases come in surgical order; one in five videos goes back from haemostasis to dissection once,
    and one in six leaves out the preparation (recording started late). Raises ValueError for a
    duration below SHORTEST_VIDEO or another skill.
    """
    if duration < SHORTEST_VIDEO:
        raise ConfigError(
            f"a phantom video of {duration} s is too short for its phases; "
            f"use at least {SHORTEST_VIDEO} s"
        )
    if skill not in SKILLS:
        raise ValueError(f"unknown skill {skill!r}; one of {SKILLS}")
    phases = _phases(rng, duration)
    actions, uses = [], []
    for phase in phases:
        for action in _actions(rng, phase):
            actions.append(action)
            uses += _uses(rng, PHASES[phase.label], action)
    actions, uses = tuple(actions), tuple(uses)
    cut = _progress(actions, "cut", _spans(phases, "dissection"))
    return Script(
        duration=duration,
        skill=skill,
        phases=phases,
        actions=actions,
        uses=uses,
        out_of_body=_out_of_body(rng, duration),
        cut=cut,
        unveil=_progress(actions, None, _spans(phases, "exposure")),
        stitches=_stitches(actions, phases, TEMPO[skill]),
        chars=_chars(rng, actions),
        bleeds=_bleeds(rng, phases),
    )


def _spans(phases: tuple[Interval, ...], name: str) -> list[tuple[float, float]]:
    return [(p.start, p.stop) for p in phases if PHASES[p.label] == name]


def _phases(rng: np.random.Generator, duration: float) -> tuple[Interval, ...]:
    order = list(PHASES)
    if rng.random() < 0.2:
        order[4:4] = ["dissection", "haemostasis"]
    if rng.random() < 1 / 6:
        order = order[1:]
    lengths = np.array([rng.gamma(6.0, _PHASE_LENGTH[name] / 6.0) + 0.25 for name in order])
    edges = np.concatenate([[0.0], np.cumsum(lengths / lengths.sum() * duration)])
    edges[-1] = duration
    return tuple(
        Interval(float(edges[k]), float(edges[k + 1]), PHASES.index(name))
        for k, name in enumerate(order)
    )


def _actions(rng: np.random.Generator, phase: Interval) -> list[Interval]:
    """Jump chain with gamma durations; a rest shorter than an action goes to the last one."""
    weights = ACTION_WEIGHTS[PHASES[phase.label]]
    names = list(weights)
    found, now, last = [], phase.start, None
    while now < phase.stop:
        p = np.array([0.0 if name == last else weights[name] for name in names])
        last = names[rng.choice(len(names), p=p / p.sum())]
        stop = now + max(SHORTEST_ACTION, rng.gamma(6.0, _ACTION_SECONDS[last] / 6.0))
        if phase.stop - stop < SHORTEST_ACTION:
            stop = phase.stop
        found.append(Interval(float(now), float(stop), ACTIONS.index(last)))
        now = stop
    return found


def _uses(rng: np.random.Generator, phase: str, action: Interval) -> list[Use]:
    name = ACTIONS[action.label]
    modes: dict[str, str] = {}
    if name == "idle":
        for tool in _PARKED[phase]:
            if rng.random() < 0.6:
                modes[tool] = "park"
    else:
        modes[TOOL_OF_ACTION[name]] = "work"
        holder = _HOLDER[phase]
        if holder is not None and holder not in modes and rng.random() < 0.8:
            modes[holder] = "hold"
    return [
        Use(action.start, action.stop, tool, mode, name, int(rng.integers(2**31)))
        for tool, mode in modes.items()
    ]


def _out_of_body(rng: np.random.Generator, duration: float) -> tuple[tuple[float, float], ...]:
    """Lens cleaning: about one stretch of 2.5 to 5 s per 90 s, never in the first or last 4 s."""
    spans, n = [], rng.poisson(duration / 90.0)
    for start in np.sort(rng.uniform(4.0, max(4.1, duration - 9.0), n)):
        stop = start + rng.uniform(2.5, 5.0)
        if (not spans or start > spans[-1][1] + 5.0) and stop < duration - 4.0:
            spans.append((float(start), float(stop)))
    return tuple(spans)


def _progress(actions, name: str | None, spans: list[tuple[float, float]]) -> np.ndarray:
    """Knots of a fraction that grows from 0 to 1 while `name` (None: any action) is done."""
    parts = [
        (a.start, a.stop)
        for a in actions
        if any(s <= a.start and a.stop <= e for s, e in spans)
        and (name is None or ACTIONS[a.label] == name)
    ] or spans
    total = sum(e - s for s, e in parts)
    knots, done = [(-1.0, 0.0)], 0.0
    for start, stop in parts:
        knots.append((start, done))
        done += (stop - start) / total
        knots.append((stop, done))
    return np.array(knots)


def stitch_seconds(tempo: float) -> float:
    """Length of one stitch (one turn of the needle) in seconds."""
    return 2.4 / tempo


def _stitches(actions, phases, tempo: float) -> tuple[Mark, ...]:
    """One stitch per turn of the needle, spread over the wound in order."""
    times = []
    for a in actions:
        if ACTIONS[a.label] == "suture":
            times += list(np.arange(a.start + stitch_seconds(tempo), a.stop, stitch_seconds(tempo)))
    n = max(4, len(times))
    return tuple(Mark(float(t), (k + 0.5) / n) for k, t in enumerate(times))


def _chars(rng: np.random.Generator, actions) -> tuple[Mark, ...]:
    marks = []
    for a in actions:
        if ACTIONS[a.label] == "coagulate":
            along, aside = rng.uniform(0.1, 0.9), rng.uniform(-0.10, 0.10)
            marks += [
                Mark(float(t), along + 0.02 * k, aside)
                for k, t in enumerate(np.arange(a.start + 1.0, a.stop, 1.0))
            ]
    return tuple(marks)


def _bleeds(rng: np.random.Generator, phases) -> tuple[Mark, ...]:
    """Two or three sources open before haemostasis, dry by its end; rare small ones elsewhere."""
    marks = []
    for start, stop in _spans(phases, "haemostasis"):
        for k in range(int(rng.integers(2, 4))):
            opens = start + (k - 0.5) * 0.18 * (stop - start)
            until = start + rng.uniform(0.75, 1.0) * (stop - start)
            marks.append(
                Mark(float(opens), rng.uniform(0.1, 0.9), rng.uniform(-0.08, 0.08), float(until))
            )
    for start, stop in _spans(phases, "dissection"):
        if rng.random() < 0.5:
            opens = rng.uniform(start, stop)
            marks.append(Mark(opens, rng.uniform(0.2, 0.8), rng.uniform(-0.05, 0.05), opens + 5.0))
    return tuple(marks)
