"""The course of a phantom video: semi-Markov phases, actions within them, tools and their marks.

Everything here is plain numbers: no pixel is drawn. All domains share one vocabulary, so that one
probe task covers the whole corpus. Times are seconds from the start of the video; positions along
the wound are fractions in [0, 1].
"""

import dataclasses
from collections.abc import Collection

import numpy as np

from data_builders.phantom_surgery.editions import SECOND, Edition
from surgrec_jax.safety.errors import ConfigError

SKILLS = ("novice", "intermediate", "expert")

# Skill is visible in the motion only: speed of the cycles, hand tremor (fraction of the short
# side), pauses.
TEMPO = {"novice": 0.78, "intermediate": 1.0, "expert": 1.25}
TREMOR = {"novice": 0.020, "intermediate": 0.008, "expert": 0.002}

SHORTEST_ACTION = 2.0
SHORTEST_VIDEO = 12.0


@dataclasses.dataclass(frozen=True)
class Interval:
    """[start, stop) in seconds with the index of a class in the edition's phases or actions."""

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

    edition: Edition
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


def write_script(
    rng: np.random.Generator,
    duration: float,
    skill: str,
    edition: Edition = SECOND,
    rare: Collection[str] = (),
) -> Script:
    """Draws a script of `duration` seconds, with those of the edition's rare things in `rare`.

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
    lacking = set(edition.rare) - set(rare)
    phases = _phases(rng, duration, edition, lacking)
    actions, uses = [], []
    for phase in phases:
        for action in _actions(rng, phase, edition, lacking):
            actions.append(action)
            uses += _uses(rng, edition.phases[phase.label], action, edition, lacking)
    actions, uses = tuple(actions), tuple(uses)
    spans = {name: [] for name in edition.phases}
    for phase in phases:
        spans[edition.phases[phase.label]].append((phase.start, phase.stop))
    named = [(edition.actions[a.label], a.start, a.stop) for a in actions]
    return Script(
        edition=edition,
        duration=duration,
        skill=skill,
        phases=phases,
        actions=actions,
        uses=uses,
        out_of_body=_out_of_body(rng, duration),
        cut=_progress(named, "cut", spans["dissection"]),
        unveil=_progress(named, None, spans["exposure"]),
        stitches=_stitches(named, TEMPO[skill]),
        chars=_chars(rng, named, edition.burning),
        bleeds=_bleeds(rng, spans),
    )


def _phases(rng, duration: float, edition: Edition, lacking) -> tuple[Interval, ...]:
    order = [name for name in edition.phases if name not in lacking]
    if rng.random() < 0.2:
        order[4:4] = ["dissection", "haemostasis"]
    if rng.random() < 1 / 6:
        order = order[1:]
    lengths = np.array([rng.gamma(6.0, edition.phase_length[name] / 6.0) + 0.25 for name in order])
    edges = np.concatenate([[0.0], np.cumsum(lengths / lengths.sum() * duration)])
    edges[-1] = duration
    return tuple(
        Interval(float(edges[k]), float(edges[k + 1]), edition.phases.index(name))
        for k, name in enumerate(order)
    )


def _actions(rng, phase: Interval, edition: Edition, lacking) -> list[Interval]:
    """Jump chain with gamma durations; a rest shorter than an action goes to the last one."""
    weights = edition.weights[edition.phases[phase.label]]
    names = [name for name in weights if edition.tool_of.get(name) not in lacking]
    found, now, last = [], phase.start, None
    while now < phase.stop:
        p = np.array([0.0 if name == last else weights[name] for name in names])
        last = names[rng.choice(len(names), p=p / p.sum())]
        stop = now + max(SHORTEST_ACTION, rng.gamma(6.0, edition.action_seconds[last] / 6.0))
        if phase.stop - stop < SHORTEST_ACTION:
            stop = phase.stop
        found.append(Interval(float(now), float(stop), edition.actions.index(last)))
        now = stop
    return found


def _uses(rng, phase: str, action: Interval, edition: Edition, lacking) -> list[Use]:
    name = edition.actions[action.label]
    modes: dict[str, str] = {}
    if name == "idle":
        for tool in edition.parked[phase]:
            if rng.random() < 0.6 and tool not in lacking:
                modes[tool] = "park"
    else:
        modes[edition.tool_of[name]] = "work"
        holder = edition.holder[phase]
        if holder is not None and holder not in {*modes, *lacking} and rng.random() < 0.8:
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
        (start, stop)
        for action, start, stop in actions
        if any(s <= start and stop <= e for s, e in spans) and name in (None, action)
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


def _stitches(actions, tempo: float) -> tuple[Mark, ...]:
    """One stitch per turn of the needle, spread over the wound in order."""
    times = []
    for action, start, stop in actions:
        if action == "suture":
            times += list(np.arange(start + stitch_seconds(tempo), stop, stitch_seconds(tempo)))
    n = max(4, len(times))
    return tuple(Mark(float(t), (k + 0.5) / n) for k, t in enumerate(times))


def _chars(rng: np.random.Generator, actions, burning) -> tuple[Mark, ...]:
    marks = []
    for action, start, stop in actions:
        if action in burning:
            along, aside = rng.uniform(0.1, 0.9), rng.uniform(-0.10, 0.10)
            marks += [
                Mark(float(t), along + 0.02 * k, aside)
                for k, t in enumerate(np.arange(start + 1.0, stop, 1.0))
            ]
    return tuple(marks)


def _bleeds(rng: np.random.Generator, spans) -> tuple[Mark, ...]:
    """Two or three sources open before haemostasis, dry by its end; rare small ones elsewhere."""
    marks = []
    for start, stop in spans["haemostasis"]:
        for k in range(int(rng.integers(2, 4))):
            opens = start + (k - 0.5) * 0.18 * (stop - start)
            until = start + rng.uniform(0.75, 1.0) * (stop - start)
            marks.append(
                Mark(float(opens), rng.uniform(0.1, 0.9), rng.uniform(-0.08, 0.08), float(until))
            )
    for start, stop in spans["dissection"]:
        if rng.random() < 0.5:
            opens = rng.uniform(start, stop)
            marks.append(Mark(opens, rng.uniform(0.2, 0.8), rng.uniform(-0.05, 0.05), opens + 5.0))
    return tuple(marks)
