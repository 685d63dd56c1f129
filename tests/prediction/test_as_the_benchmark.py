"""Predictions of files are the benchmark's scores of the same frames, to the last digit."""

import argparse
import csv
import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from data_builders.common.build.build import build
from data_builders.phantom_surgery.corpus import DOMAINS
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from surgrec_jax import load_encoder, probe, train
from surgrec_jax.bench import far
from surgrec_jax.data.loading.clips import TIME_TOLERANCE, clip_of, frame_indices, num_starts
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.features.clips import labelled_clips
from surgrec_jax.evaluation.heads import kept
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.metrics.calibration import with_temperature
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.frozen.classifier import load_classifier
from surgrec_jax.prediction.command import main
from surgrec_jax.records.source import open_source
from tests.evaluation.probing import probe_sources
from tests.prediction.workdirs import save_classifier
from tests.small_phantom import small_phantom

ROOT = Path(__file__).resolve().parents[2]
# Stored at other rates than the clip's 4 a second, so that its frames are the nearest ones.
SMALL = small_phantom(minutes=4.0)
SMALL = dataclasses.replace(
    SMALL,
    record=dataclasses.replace(SMALL.record, fps=5.0, short_side=40, jpeg_quality=80),
    corpus=dataclasses.replace(SMALL.corpus, short_sides=(48,), rates=(4.0, 6.0)),
)


def tuned(tmp_path, data_dir):
    """A run that was fine-tuned on the corpus for two steps."""
    start = save_classifier(tmp_path / "start")
    config = runpy.run_path(str(ROOT / "configs/finetune.py"))["get_config"]("tiny")
    values = {"init_from": str(start), "steps": 2, "batch_size": 8, "optim.warmup_steps": 1}
    values |= {"data.sources": "phantom_surgery/small", "probe.every": 0, "images.every": 0}
    values |= {"data.data_dir": str(data_dir), "classify.frame": "last", "optim.lr": 0.3}
    config.update_from_flattened_dict(values)
    assert train.train(config, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    build("phantom_surgery", data_dir=folder, config=SMALL, num_workers=2, progress=False)
    return folder


def files_of_test_patients(folder):
    """Video id -> file, as a hospital has them."""
    builder = Builder(data_dir=folder / "unused", config=SMALL)
    items = [item for item in builder.list_videos(None) if item.split == "test"]
    return {item.video_id: builder.open_video(item, folder).path for item in items}


@pytest.mark.slow
def test_the_scores_of_unseen_patients_files_are_the_benchmarks(data, tmp_path):
    run = tuned(tmp_path, data)
    splits = {s: open_source(data, "phantom_surgery", split=s) for s in ("train", "val", "test")}
    one = load_classifier(run)
    task = Task("phase", "phantom_surgery", "phase", unit="frame")
    settings = Settings(heads=("linear",), seeds=1, init_seeds=1, clips_per_record=3, resamples=20)
    candidate = Candidate("mine", one.encoder, "here", one)
    _, predicted = probe_sources([candidate], splits, [task], settings, tmp_path / "probe")
    (scores,) = predicted["phase/fine-tuned/mine"]

    # What is said of the patients' files by the command alone.
    files = files_of_test_patients(tmp_path)
    command = [f"--checkpoint={run}", f"--out={tmp_path / 'out'}", "--rate=50"]
    assert main([*command, *map(str, files.values())]) == 0
    clip, answers = clip_of(one.encoder.clip), {}
    for video, path in files.items():
        answers[video] = read(tmp_path / "out" / path.stem, one.classes)

    test = splits["test"]
    labels = predicted["phase/labels"]
    assert compare(test, clip, settings.clips_per_record, answers, labels, scores) > 0.6
    assert len(np.unique(scores.argmax(1))) > 1 and np.ptp(scores, 0).max() > 0.1


def compare(test, clip, views, answers, labels, scores):
    """Holds answers (video -> times, scores) to the benchmark's, row by row, to the last digit.

    These are the clips that the benchmark cut from records, and those that end at that time.
    Returns the share of the rows that could be compared.
    """
    compared, row, span = 0, 0, (clip.frames - 1) / clip.fps
    for index in range(len(test)):
        record = test.record(index)
        count = num_starts(record.times, clip)
        for view in range(views):
            start = int((view + 0.5) * count / views)
            shown = frame_indices(record.times, start, clip)
            label = record.labels["phase"][shown[-1]]
            if label < 0:
                continue
            assert labels[row] == label
            # The first stored picture from the clip's end on. Where the record cuts the clip short,
            # or the next clip ends by that picture too, it is none of the file's.
            later = np.flatnonzero(record.times >= record.times[start] + span - TIME_TOLERANCE)
            if len(later) and num_starts(record.times[: later[0] + 1], clip) == start + 1:
                times, found = answers[record.video_id]
                at = np.searchsorted(times, record.times[later[0]] - TIME_TOLERANCE)
                np.testing.assert_array_equal(found[at], scores[row])
                compared += 1
            row += 1
    assert row == len(scores)
    return compared / row


def probed(tmp_path, data, heads):
    """A workdir with kept heads, row -> (head, its file, its test scores), and the test labels."""
    run = save_classifier(tmp_path / "run", pretrained=True)
    config = runpy.run_path(str(ROOT / "configs/probe.py"))["get_config"]("tiny")
    config.update(data_dir=str(data), checkpoint=str(run), source="phantom_surgery/small")
    config.update(task="workflow", heads=heads, seeds=2, init_seeds=1, resamples=20)
    config.keep_heads = True
    results = json.loads(probe.run(config).read_text())
    found, scores = {}, np.load(run / "probe/predictions.npz")
    for entry in results["kept"]:
        path, row = run / "probe/heads" / entry["file"], entry["row"]
        assert 0.05 <= entry["temperature"] <= 20 and entry["error"]["after"] < 1
        assert entry["far"]["validation_cases"] == 8 and entry["far"]["training_cases"] == 8
        assert entry["far"]["expected_by_validation"] == pytest.approx(1 / 9)
        found[row] = kept.load(path), path, scores[f"workflow/{row}/{entry['column']}"][0]
    return run, found, scores["workflow/labels"]


def clips_of_test(data, encoder, views, take):
    """What a head takes of the labelled clips of the test split, with their videos and times."""
    test, parts = open_source(data, "phantom_surgery", split="test"), {}
    for batch in labelled_clips(test, clip_of(encoder.clip), views):
        known = batch["labels"]["phase@last"] >= 0
        values = {"given": take(batch["video"]), "time": batch["time"]}
        for key, value in (values | {"video": batch["video_id"]}).items():
            parts.setdefault(key, []).append(value[known])
    return (np.concatenate(parts[key]) for key in ("given", "video", "time"))


@pytest.mark.slow
def test_kept_heads_answer_files_as_the_probe_scored_them(data, tmp_path, capsys):
    run, found, labels = probed(tmp_path, data, "linear,attentive,temporal")
    encoder, views = load_encoder(run), 2
    assert set(found) == {"linear", "attentive", "temporal"}

    # Each head alone, on the same clips: as in the table, where the others of its grid were too.
    head, linear_file, scores = found["linear"]
    features, video, time = clips_of_test(data, encoder, views, encoder.features)
    np.testing.assert_allclose(head.models.scores(features, 0), scores[:, head.taught], atol=1e-6)
    order = head.probabilities(features)
    np.testing.assert_array_equal(order.argmax(1), scores.argmax(1))

    head, attentive_file, scores = found["attentive"]
    tokens, *_ = clips_of_test(data, encoder, views, lambda v: kept.rounded(encoder.tokens(v)))
    np.testing.assert_array_equal(head.models.begin()(tokens), scores[:, head.taught])

    head, temporal_file, scores = found["temporal"]
    assert head.facts["interval"] > 0.5
    for name in np.unique(video):
        here = np.flatnonzero(video == name)
        here, follow = here[np.argsort(time[here], kind="stable")], head.models.begin()
        half = len(here) // 2
        one = np.concatenate([follow(features[here[:half]]), follow(features[here[half:]])])
        np.testing.assert_allclose(one, scores[here][:, head.taught], atol=1e-6)

    # The patients' files, by the command: the attentive head's calibrated scores, digit by digit.
    files = files_of_test_patients(tmp_path)
    out, test = tmp_path / "out", open_source(data, "phantom_surgery", split="test")
    command = [f"--checkpoint={run}", f"--out={out}", *map(str, files.values())]
    assert main([*command, f"--head={attentive_file}", "--rate=50"]) == 0
    head, _, scores = found["attentive"]
    facts = head.facts
    wanted = with_temperature(scores, facts["temperature"], False).astype(np.float32)
    answers = {name: read(out / path.stem, facts["classes"]) for name, path in files.items()}
    assert compare(test, clip_of(encoder.clip), views, answers, labels, wanted) > 0.5
    page = (out / path_of_one(files).stem / "index.html").read_text()
    assert "How far confidence can be believed" in page and "attentive head" in page

    # The temporal head answers at the distance that it learnt, anew in every video.
    assert main([*command, f"--head={temporal_file}"]) == 0
    times, _ = read(out / path_of_one(files).stem, facts["classes"])
    assert np.diff(times) == pytest.approx(found["temporal"][0].facts["interval"], abs=2e-3)
    alone = [command[0], f"--out={tmp_path / 'alone'}", str(list(files.values())[-1])]
    assert main([*alone, f"--head={temporal_file}"]) == 0
    last = list(files.values())[-1].stem
    assert (out / last / "predictions.csv").read_bytes() == (
        tmp_path / "alone" / last / "predictions.csv"
    ).read_bytes()
    capsys.readouterr()
    assert main([*alone, f"--head={temporal_file}", "--rate=9"]) == 1
    assert "the temporal head has learnt from clips" in capsys.readouterr().err

    # Which of several is to be said, and it is to be the encoder's own.
    assert main(alone) == 1
    assert "choose one with --head" in capsys.readouterr().err
    other = save_classifier(tmp_path / "other", pretrained=True, seed=5)
    one = [f"--checkpoint={other}", "--out=out", str(path_of_one(files))]
    assert main([*one, f"--head={linear_file}"]) == 1
    assert "keep one of its own" in capsys.readouterr().err
    assert main(one) == 1
    assert "keep a head (python -m surgrec_jax.probe" in capsys.readouterr().err


def path_of_one(files):
    return next(iter(files.values()))


def read(folder, classes):
    """Times, and scores float32 [n, C], of predictions.csv."""
    with open(folder / "predictions.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = [[row[name] for name in classes] for row in rows]
    return np.array([float(row["time"]) for row in rows]), np.array(columns, np.float32)


@pytest.mark.slow
def test_every_domain_is_measured_for_what_is_far(data, tmp_path):
    run = save_classifier(tmp_path / "run", pretrained=True)
    asked = {"checkpoint": run, "data_dir": data, "source": "phantom_surgery/small"}
    found = far.run(argparse.Namespace(**asked, clips_per_record=1, cases=2))
    assert {f"trained on {domain}" for domain in DOMAINS} <= set(found)
    for own in (value for key, value in found.items() if key != "encoder"):
        assert own["its own test videos"].endswith(" of 2 videos") and len(own) == 8
