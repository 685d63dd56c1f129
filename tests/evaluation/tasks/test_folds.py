"""Cross-validation over cases: every case is tested once, and never by heads that saw it."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax import benchmark, probe
from surgrec_jax.commands import load_config
from surgrec_jax.evaluation.benchmark import cells
from surgrec_jax.evaluation.benchmark.answers import answer_task
from surgrec_jax.evaluation.benchmark.columns import MAJORITY, Column
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks import folds
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task
from surgrec_jax.safety.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
TRACKS = {"phase": ("a", "b"), "class": ("a", "b")}
FOLDS = 4


def split_of(name, cases, per=6):
    """Clips of some cases: two videos each, both phases, a feature that tells the phase."""
    count = cases * per
    case = np.arange(count) // per
    phase = np.arange(count) % 2
    rows = np.stack([phase + 0.1 * np.sin(np.arange(count)), case], 1).astype(np.float32)
    video = np.arange(count) // (per // 2)
    return Features(
        rows,
        {"phase": phase.astype(np.int64), "class": (video % 2).astype(np.int64)},
        case_id=np.char.add(f"{name}-", case.astype(str)),
        video_id=np.char.add(f"{name}-v", video.astype(str)),
        source=np.full(count, "s"),
        record=np.arange(count),
        view=np.zeros(count, int),
        time=np.arange(count).astype(np.float32),
    )


@pytest.fixture(scope="module")
def clips():
    made = {"train": split_of("train", 6), "val": split_of("val", 2), "test": split_of("test", 3)}
    return folds.pooled({s: {"mine": c, "pixels": c} for s, c in made.items()})


@pytest.mark.parametrize("track", ["phase", "class"])
def test_every_case_is_tested_once_and_stands_on_one_side(clips, track):
    unit = "video" if track == "class" else "clip"
    task = Task(track, "s", track, unit=unit)
    labelled = folds.label_folds(task, TRACKS, clips[folds.ALL]["mine"], FOLDS)
    assert len(labelled.folds) == FOLDS and len(np.unique(labelled.test.case_id)) == 11
    tested, units = [], []
    for fold in labelled.folds:
        parts = [set(s.case_id.tolist()) for s in (fold.train, fold.validation, fold.test)]
        assert len(set.union(*parts)) == sum(map(len, parts)) == 11
        assert min(map(len, parts)) >= 2
        tested += sorted(parts[2])
        units += folds.places(labelled, fold).tolist()
    assert sorted(tested) == sorted(set(labelled.test.case_id.tolist()))
    assert sorted(units) == list(range(len(labelled.units(labelled.test)[0])))
    assert len(np.unique(labelled.test.record)) == len(labelled.test.record)  # numbered on


def test_a_case_is_scored_by_heads_that_never_saw_it(clips):
    """A label that is a case's own, however clear to a head that saw it, cannot be told."""
    rows = clips[folds.ALL]["mine"]
    cases, number = np.unique(rows.case_id, return_inverse=True)
    secret = np.arange(len(cases)) % 2
    names = np.eye(len(cases), dtype=np.float32)[number]  # tells the case and no more
    own = dataclasses.replace(rows, features=names, labels={"phase": secret[number]})
    task, settings = Task("phase", "s", "phase"), Settings(heads=("knn",), seeds=1, folds=FOLDS)
    labelled = folds.label_folds(task, TRACKS, own, FOLDS)
    column = Column("mine", "encoder", {"mine": len})
    (answer,) = answer_task(labelled, column, {folds.ALL: {"mine": own}}, settings).values()
    right = answer.scores[0].argmax(1) == labelled.test.labels
    assert right.mean() < 0.8  # all would be right, had a head seen its case


def test_answers_of_folds_make_one_cell_with_its_interval(clips):
    task, settings = Task("phase", "s", "phase"), Settings(heads=("linear",), seeds=2, folds=FOLDS)
    labelled = folds.label_folds(task, TRACKS, clips[folds.ALL]["mine"], FOLDS)
    for column in (
        Column("mine", "encoder", {"mine": len}),
        Column("pixels", "pixels", {"pixels": len}),
        MAJORITY,
    ):
        answers = answer_task(labelled, column, clips, settings)
        cell = cells.make(labelled, column.name, answers, resamples=100, level=0.95)
        entry, scores = cell.heads["linear"], cell.arrays["scores/linear"]
        assert np.isfinite(scores).all() and scores.shape[1:] == (66, 2)
        assert entry["interval"]["low"] <= entry["mean"] <= entry["interval"]["high"]
        assert entry["mean"] == (0.5 if column is MAJORITY else 1.0)
        assert cell.task["folds"] == FOLDS and cell.task["counts"]["test"]["cases"] == 11
        if column.name == "mine":
            assert len(entry["chosen"]) == 2 * FOLDS  # one per seed and fold


def test_commands_refuse_what_folds_cannot_have_before_anything_is_read():
    for program, value, says in (
        (probe, "keep_heads=true", "folds=5 with keep_heads: each fold has heads of its own"),
        (benchmark, "vlm.name=qwen", "folds=5 with vlm.name='qwen': a vision-language model lear"),
    ):
        name = program.__name__.rpartition(".")[2]
        config = load_config(f"{ROOT}/configs/{name}.py:tiny", ["folds=5", value])
        with pytest.raises(ConfigError, match=says):
            program.run(config)


def test_what_does_not_go_together_is_refused(clips):
    with pytest.raises(RefusedTaskError, match="11 labelled cases are too few for folds=12"):
        folds.label_folds(Task("phase", "s", "phase"), TRACKS, clips[folds.ALL]["mine"], 12)
    for values in ({"folds": 2}, {"folds": 5, "protocol": "few-shot"}):
        with pytest.raises(ConfigError, match="cross-validation is of protocol v2"):
            Settings(**values)
    assert Settings(folds=5).of_task(Task("phase", "s", "phase"))["folds"] == 5
    assert "folds" not in Settings().of_task(Task("phase", "s", "phase"))  # kept cells stay
