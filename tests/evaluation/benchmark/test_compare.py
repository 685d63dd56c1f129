"""Probing end to end: a small phantom corpus, real encoders, results, table, predictions, cache."""

import dataclasses
import json
import re

import jax
import numpy as np
import pytest

from data_builders.common.build.build import build
from surgrec_jax.evaluation.benchmark import columns, results
from surgrec_jax.evaluation.benchmark.answers import answer_task
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.benchmark.notes import notes
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.report import summary
from surgrec_jax.evaluation.tasks.task_list import select_tasks
from surgrec_jax.frozen.classifier import Classifier
from surgrec_jax.frozen.encoder import Encoder, random_encoder
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import preset
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.records.source import open_source
from surgrec_jax.safety import files
from tests.evaluation.arrays import made_task
from tests.evaluation.probing import probe_sources
from tests.small_phantom import small_phantom

SMALL = small_phantom(minutes=6.0)
SETTINGS = Settings(
    heads=("linear", "knn"), seeds=2, init_seeds=1, clips_per_record=2, resamples=200
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    data_dir = tmp_path_factory.mktemp("data")
    build("phantom_surgery", data_dir=data_dir, config=SMALL, num_workers=2, progress=False)
    return {s: open_source(data_dir, "phantom_surgery", split=s) for s in ("train", "val", "test")}


@pytest.fixture(scope="module")
def encoder():
    config = preset("Ti", num_frames=4, image_size=(32, 32), depth=1)
    params = init_encoder(config, jax.random.key(5))
    return Encoder(config, params, fps=4.0, name="tiny encoder", batch_size=16)


@pytest.mark.slow
def test_probe_of_the_phantom_corpus(sources, encoder, tmp_path):
    candidates = [
        Candidate("mine", encoder, "here"),
        Candidate("same as random", random_encoder(like=encoder, seed=0), "there"),
    ]
    tasks = select_tasks("phantom_surgery", ("phase", "instruments", "domain", "skill"))
    found, predictions = probe_sources(candidates, sources, tasks, SETTINGS, tmp_path)

    assert [m["name"] for m in found["models"]] == [
        "majority", "pixels", "random", "mine", "same as random",
    ]  # fmt: skip
    assert any("not clinical" in note for note in found["notes"])
    for task in found["tasks"]:
        assert task["counts"]["test"]["cases"] == 8
        for entries in task["heads"].values():
            difference = entries["same as random"]["minus_random"]
            assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)
            assert entries["mine"]["interval"]["cases"] == 8
    phase = found["tasks"][0]
    assert phase["heads"]["linear"]["majority"]["mean"] == pytest.approx(
        1 / len(set(predictions["phase/labels"].tolist()))
    )
    # Domains look different even to a random encoder, and to pixels.
    domain = next(task for task in found["tasks"] if task["name"] == "domain")
    assert domain["heads"]["linear"]["mine"]["mean"] > 0.4
    assert domain["heads"]["linear"]["pixels"]["mean"] > 0.4
    scores = predictions["phase/knn/mine"]
    assert scores.shape == (2, len(predictions["phase/case_id"]), len(phase["classes"]))
    again = (scores[0].argmax(1) == predictions["phase/labels"]).mean()
    assert again == pytest.approx(
        2 * phase["heads"]["knn"]["mine"]["metrics"]["top1"]
        - (scores[1].argmax(1) == predictions["phase/labels"]).mean()
    )

    files.write_json(tmp_path / "results.json", found)
    assert "same as random" in results.table(results.read_json(tmp_path / "results.json"))
    assert "<table>" in summary.build_report([], found, title="t")

    second, _ = probe_sources(candidates, sources, tasks, SETTINGS, tmp_path)
    for part in (found, second):
        part.pop("seconds"), part.pop("created")
    assert json.dumps(found, sort_keys=True) == json.dumps(second, sort_keys=True)


@pytest.mark.slow
def test_encoders_with_another_clip_have_their_own_baselines(sources, encoder, tmp_path):
    other = preset("Ti", num_frames=2, image_size=(16, 16), patch=8, depth=1)
    params = init_encoder(other, jax.random.key(1))
    small = Encoder(other, params, fps=2.0, name="small", batch_size=16)
    candidates = [Candidate("a", encoder, "x"), Candidate("b", small, "y")]
    tasks = select_tasks("phantom_surgery", ("domain",))
    found, predictions = probe_sources(candidates, sources, tasks, SETTINGS, tmp_path)
    assert [m["name"] for m in found["models"]] == [
        "majority", "pixels 4x32@4", "pixels 2x16@2", "random like a", "random like b", "a", "b",
    ]  # fmt: skip
    entries = found["tasks"][0]["heads"]["linear"]
    assert set(entries) == {m["name"] for m in found["models"]}
    assert entries["b"]["minus_random"]["value"] == pytest.approx(
        entries["b"]["mean"] - entries["random like b"]["mean"]
    )
    assert "2x16@2/domain/linear/b" in predictions


def test_random_columns_are_drawn_anew_for_every_seed(encoder):
    several = dataclasses.replace(SETTINGS, init_seeds=3)
    (group,) = columns.groups([Candidate("a", encoder, "x")], several)
    (random,) = (column for column in group.columns if column.kind == "random")
    marks = {encode.__self__.fingerprint for encode in random.encoders.values()}
    assert len(marks) == 3 and encoder.fingerprint not in marks


def test_a_classifier_of_other_classes_or_another_frame_is_not_asked_and_it_is_said(encoder):
    labelled, features = made_task()  # unit "frame": scored by the last frame
    found = {split: {"a": f, "a" + columns.PROBABILITIES: f} for split, f in features.items()}
    meta = {"tracks": ["phase"], "multi_label": False}
    asked = [(labelled.task, labelled.classes)]
    whole = SETTINGS.under("fine-tune")

    def group(frame, classes=labelled.classes):
        given = meta | {"frame": frame, "classes": classes}
        one = Classifier(encoder, HeadConfig("linear", 3), {}, given)
        (made,) = columns.groups([Candidate("a", encoder, "x", one)], SETTINGS)
        return made

    fit = group("last")
    assert list(answer_task(labelled, fit.columns[-1], found, whole)) == ["fine-tuned"]
    assert not notes({}, [fit], SETTINGS, asked)
    frame = "a was fine-tuned on the label of a clip's centre frame, .*classify.frame=last"
    classes = "a was fine-tuned on the classes x, y, task phase of made has a, b, c: "
    for unfit, said in (
        (group("centre"), frame),
        (group("last", ("x", "y")), classes),
        (group("centre", ("x", "y")), classes),  # which no other frame would mend
    ):
        with pytest.raises(ValueError, match=said):
            answer_task(labelled, unfit.columns[-1], found, whole)
        given = answer_task(labelled, unfit.columns[-1], found, SETTINGS)
        assert list(given) == ["linear", "knn"]
        (note,) = notes({}, [unfit], SETTINGS, asked)
        assert re.search(said, note)


def test_wrong_settings_and_names_are_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match="choose from linear, "):
        Settings(heads=("linaer",))
    with pytest.raises(ValueError, match="seeds=0"):
        Settings(seeds=0)
    with pytest.raises(ValueError, match="train_resample='videos'"):
        Settings(train_resample="videos")
    twice = [Candidate("a", encoder, "x"), Candidate("a", encoder, "y")]
    with pytest.raises(ValueError, match="different names"):
        probe_sources(twice, {}, (), Settings(), tmp_path)
    assert np.isfinite(encoder.features(np.zeros((1, 4, 32, 32, 3), np.uint8))).all()
