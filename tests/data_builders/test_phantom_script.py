"""The phantom's script and corpus: numbers only, nothing is drawn."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_builders.phantom_surgery import corpus
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import (
    BALANCED,
    DEFAULT,
    IMBALANCED,
    TINY,
)
from data_builders.phantom_surgery.script import (
    ACTION_WEIGHTS,
    ACTIONS,
    PHASES,
    SHORTEST_ACTION,
    TOOL_OF_ACTION,
    inside,
    label_at,
    write_script,
)


def _scripts(n, duration=90.0):
    return [write_script(np.random.default_rng([5, k]), duration, "intermediate") for k in range(n)]


def test_phases_and_actions_tile_the_video():
    for script in _scripts(40):
        for intervals in (script.phases, script.actions):
            assert intervals[0].start == 0.0
            assert intervals[-1].stop == pytest.approx(script.duration, abs=1e-9)
            for a, b in itertools.pairwise(intervals):
                assert a.stop == b.start
                assert a.start < a.stop
        names = [PHASES[p.label] for p in script.phases]
        assert names[-1] == "closure"
        assert names.index("exposure") < names.index("dissection") < names.index("haemostasis")


def test_actions_follow_the_jump_chain_of_their_phase():
    """First actions of a phase have the phase's weights; none follows itself; none is shorter
    than the minimum.
    """
    firsts, durations = {name: Counter() for name in PHASES}, []
    for script in _scripts(700):
        for phase in script.phases:
            within = [a for a in script.actions if phase.start <= a.start < phase.stop]
            firsts[PHASES[phase.label]][ACTIONS[within[0].label]] += 1
            assert all(a.label != b.label for a, b in itertools.pairwise(within))
            if phase.stop - phase.start > 2 * SHORTEST_ACTION:
                assert min(a.stop - a.start for a in within) > SHORTEST_ACTION - 1e-9
            assert {ACTIONS[a.label] for a in within} <= set(ACTION_WEIGHTS[PHASES[phase.label]])
            durations += [a.stop - a.start for a in within[:-1] if ACTIONS[a.label] == "cut"]
    for name, counts in firsts.items():
        for action, weight in ACTION_WEIGHTS[name].items():
            assert counts[action] / counts.total() == pytest.approx(weight, abs=0.06), (
                name,
                action,
            )
    # Gamma with shape 6 and mean 4.5 s, cut at 2 s: mean 4.5, standard deviation 4.5 / sqrt(6) =
    # 1.84.
    assert np.mean(durations) == pytest.approx(4.5, abs=0.3)
    assert np.std(durations) == pytest.approx(1.8, abs=0.25)


def test_marks_follow_the_actions_that_make_them():
    for script in _scripts(30):
        actions = {name: ACTIONS.index(name) for name in ACTIONS}
        for marks, action in ((script.stitches, "suture"), (script.chars, "coagulate")):
            times = np.array([m.time for m in marks])
            assert (label_at(script.actions, times) == actions[action]).all()
        dissection = [p for p in script.phases if PHASES[p.label] == "dissection"]
        assert np.interp(dissection[0].start - 1e-6, *script.cut.T) == 0.0
        assert np.interp(dissection[-1].stop, *script.cut.T) == pytest.approx(1.0)
        exposure = next(p for p in script.phases if PHASES[p.label] == "exposure")
        assert np.interp([exposure.start, exposure.stop], *script.unveil.T) == pytest.approx([0, 1])
        for use in script.uses:
            if use.mode == "work":
                assert use.tool == TOOL_OF_ACTION[use.action]


def test_label_at_and_inside_are_half_open():
    script = _scripts(1)[0]
    first = script.phases[0]
    assert label_at(script.phases, np.array([-0.1, 0.0, first.stop, script.duration])).tolist() == [
        -1, first.label, script.phases[1].label, -1,
    ]  # fmt: skip
    assert inside(((1.0, 2.0),), np.array([0.9, 1.0, 1.9, 2.0])).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_bad_scripts_are_refused():
    with pytest.raises(ValueError, match="at least 12"):
        write_script(np.random.default_rng(0), 5.0, "expert")
    with pytest.raises(ValueError, match="unknown skill 'master'"):
        write_script(np.random.default_rng(0), 60.0, "master")


@pytest.mark.parametrize("spec", [TINY, DEFAULT], ids=["tiny", "default"])
def test_corpus_shape(spec):
    plans = corpus.plan_corpus(spec)
    assert len({p.video_id for p in plans}) == len(plans)
    split_of = {}
    for p in plans:
        assert split_of.setdefault(p.case_id, p.split) == p.split
        assert p.width % 2 == 0 and p.height % 2 == 0 and p.width >= p.height
    assert len(split_of) >= 40
    total = sum(p.seconds for p in plans)
    assert total == pytest.approx(60 * spec.minutes, rel=0.02)
    for domain, share in zip(corpus.DOMAINS, (0.60, 0.25, 0.10, 0.05), strict=True):
        mine = [p for p in plans if p.domain == domain]
        assert sum(p.seconds for p in mine) / total == pytest.approx(share, abs=0.01)
        for split in corpus.SPLITS:
            assert len({p.case_id for p in mine if p.split == split}) >= 2
        assert len({(p.codec, p.container) for p in mine}) >= 4
        assert len({p.fps for p in mine}) >= 3
        assert len({p.width / p.height for p in mine}) >= 2
    assert {p.container for p in plans} == {".mp4", ".mkv", ".avi"}
    assert {p.codec for p in plans} == {"mp4v", "XVID", "MJPG", "VP80"}
    assert len({p.skill for p in plans}) == 3


def test_too_few_patients_for_three_splits():
    with pytest.raises(ValueError, match="robotic has 5 patients"):
        corpus.plan_corpus(corpus.CorpusSpec(patients=(6, 6, 6, 5)))


def test_splits_are_written_down():
    folder = Path(corpus.__file__).parent
    written = json.loads((folder / "splits.json").read_text())
    specs = {"tiny": TINY, "default": DEFAULT, "imbalanced": IMBALANCED, "balanced": BALANCED}
    assert written.keys() == specs.keys()
    for name, spec in specs.items():
        plans = corpus.plan_corpus(spec)
        for split in corpus.SPLITS:
            assert written[name][split] == sorted({p.case_id for p in plans if p.split == split})


def test_another_seed_is_another_corpus():
    one, two = corpus.plan_corpus(TINY), corpus.plan_corpus(corpus.CorpusSpec(seed=1))
    assert one == corpus.plan_corpus(TINY)
    assert [p.split for p in one] != [p.split for p in two]
    draws = [p.video_rng().integers(2**60) for p in one]
    assert len(set(draws)) == len(draws)
