"""The phantom's script and corpus: numbers only, nothing is drawn."""

import dataclasses
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from data_builders.phantom_surgery import corpus
from data_builders.phantom_surgery.editions import FIRST, SECOND
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import (
    FIRST as FIRST_SPECS,
)
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import (
    IMBALANCED,
    TINY,
    TRIAL,
    Builder,
)
from data_builders.phantom_surgery.script import (
    SHORTEST_ACTION,
    inside,
    label_at,
    write_script,
)

EDITIONS = pytest.mark.parametrize("edition", [FIRST, SECOND], ids=["first", "second"])


def _scripts(n, edition=SECOND, duration=90.0):
    rng = (np.random.default_rng([5, k]) for k in range(n))
    return [write_script(r, duration, "intermediate", edition, edition.rare) for r in rng]


@EDITIONS
def test_phases_and_actions_tile_the_video(edition):
    for script in _scripts(40, edition):
        for intervals in (script.phases, script.actions):
            assert intervals[0].start == 0.0
            assert intervals[-1].stop == pytest.approx(script.duration, abs=1e-9)
            for a, b in itertools.pairwise(intervals):
                assert a.stop == b.start
                assert a.start < a.stop
        names = [edition.phases[p.label] for p in script.phases]
        assert names[-1] == "closure"
        assert names.index("exposure") < names.index("dissection") < names.index("haemostasis")


@EDITIONS
def test_actions_follow_the_jump_chain_of_their_phase(edition):
    """First actions of a phase have the phase's weights; none follows itself; none is shorter
    than the minimum.
    """
    firsts, durations = {name: Counter() for name in edition.phases}, []
    for script in _scripts(700, edition, duration=150.0):
        for phase in script.phases:
            within = [a for a in script.actions if phase.start <= a.start < phase.stop]
            name = edition.phases[phase.label]
            firsts[name][edition.actions[within[0].label]] += 1
            assert all(a.label != b.label for a, b in itertools.pairwise(within))
            if phase.stop - phase.start > 2 * SHORTEST_ACTION:
                assert min(a.stop - a.start for a in within) > SHORTEST_ACTION - 1e-9
            assert {edition.actions[a.label] for a in within} <= set(edition.weights[name])
            durations += [
                a.stop - a.start for a in within[:-1] if edition.actions[a.label] == "cut"
            ]
    for name, counts in firsts.items():
        total = sum(edition.weights[name].values())
        for action, weight in edition.weights[name].items():
            assert counts[action] / counts.total() == pytest.approx(weight / total, abs=0.06), (
                name,
                action,
            )
    # Gamma with shape 6 and mean 4.5 s, cut at 2 s: mean 4.5, standard deviation 4.5 / sqrt(6) =
    # 1.84.
    assert np.mean(durations) == pytest.approx(4.5, abs=0.3)
    assert np.std(durations) == pytest.approx(1.8, abs=0.25)


@EDITIONS
def test_marks_follow_the_actions_that_make_them(edition):
    for script in _scripts(30, edition):
        for marks, makers in ((script.stitches, ("suture",)), (script.chars, edition.burning)):
            times = np.array([m.time for m in marks])
            ids = [edition.actions.index(name) for name in makers]
            assert np.isin(label_at(script.actions, times), ids).all()
        dissection = [p for p in script.phases if edition.phases[p.label] == "dissection"]
        assert np.interp(dissection[0].start - 1e-6, *script.cut.T) == 0.0
        assert np.interp(dissection[-1].stop, *script.cut.T) == pytest.approx(1.0)
        exposure = next(p for p in script.phases if edition.phases[p.label] == "exposure")
        assert np.interp([exposure.start, exposure.stop], *script.unveil.T) == pytest.approx([0, 1])
        for use in script.uses:
            if use.mode == "work":
                assert use.tool == edition.tool_of[use.action]


def test_rare_things_are_of_the_patients_that_have_them():
    """Of every split a share; without it a video has neither the phase nor the tool."""
    plans = corpus.plan_corpus(TRIAL)
    for split in corpus.SPLITS:
        mine = [p for p in plans if p.split == split]
        for name in SECOND.rare:
            share = np.mean([name in p.rare for p in mine])
            assert share == pytest.approx(TRIAL.rare, abs=0.05)
        assert {len(p.rare) for p in mine} >= {0, 1}
    assert not any(p.rare for p in corpus.plan_corpus(FIRST_SPECS["tiny"]))
    common = [p for p in corpus.plan_corpus(IMBALANCED) if p.domain == "laparoscopy"]
    assert 0 < np.mean(["lavage" in p.rare for p in common]) < 0.08
    for rare in ((), ("lavage",), ("retractor",)):
        script = write_script(np.random.default_rng(1), 200.0, "expert", SECOND, rare)
        assert ("lavage" in [SECOND.phases[p.label] for p in script.phases]) == ("lavage" in rare)
        assert ("retractor" in {u.tool for u in script.uses}) == ("retractor" in rare)


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


@pytest.mark.parametrize("name", ["tiny", "default"])
def test_corpus_shape(name):
    spec = FIRST_SPECS[name]
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


def test_tests_of_the_second_edition_have_many_patients():
    """Enough of them to compare recipes; each is short, as many per split in every domain."""
    plans = corpus.plan_corpus(TRIAL)
    splits = Counter(p.split for p in plans)
    assert len({p.case_id for p in plans}) == len(plans)
    assert splits["test"] >= 36 and splits["train"] >= 100
    assert Counter(p.split for p in corpus.plan_corpus(TINY))["test"] >= 24
    assert max(p.seconds for p in plans) < 90
    assert {p.fps for p in plans} == {8.0}


def test_splits_are_written_down():
    folder = Path(corpus.__file__).parent
    written = json.loads((folder / "splits.json").read_text())
    assert list(written) == list(Builder.builder_configs)
    for name, config in Builder.builder_configs.items():
        plans = corpus.plan_corpus(config.corpus)
        for split in corpus.SPLITS:
            assert written[name][split] == sorted({p.case_id for p in plans if p.split == split})


def test_another_seed_is_another_corpus():
    one, two = corpus.plan_corpus(TINY), corpus.plan_corpus(dataclasses.replace(TINY, seed=1))
    assert one == corpus.plan_corpus(TINY)
    assert [p.split for p in one] != [p.split for p in two]
    draws = [p.video_rng().integers(2**60) for p in one]
    assert len(set(draws)) == len(draws)
