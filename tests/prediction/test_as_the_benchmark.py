"""Predictions of files are the benchmark's scores of the same frames, to the last digit."""

import csv
import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from data_builders.common.build.build import build
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from surgrec_jax import load_encoder, probe, train
from surgrec_jax.data.loading.clips import TIME_TOLERANCE, frame_indices, num_starts
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.features.clips import labelled_clips
from surgrec_jax.evaluation.heads import kept
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.frozen.classifier import load_classifier
from surgrec_jax.prediction.command import main
from surgrec_jax.prediction.frames import clip_of
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
        with open(tmp_path / "out" / path.name / "predictions.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        times = [float(row["time"]) for row in rows]
        columns = [[row[name] for name in one.classes] for row in rows]
        answers[video] = np.array(times), np.array(columns, np.float32)

    # Row by row: the clips that the benchmark cut from records, and those that end at that time.
    compared, row, span = 0, 0, (clip.frames - 1) / clip.fps
    test = splits["test"]
    labels = predicted["phase/labels"]
    for index in range(len(test)):
        record = test.record(index)
        count = num_starts(record.times, clip)
        for view in range(settings.clips_per_record):
            start = int((view + 0.5) * count / settings.clips_per_record)
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
    assert row == len(scores) and compared > 0.6 * row
    assert len(np.unique(scores.argmax(1))) > 1 and np.ptp(scores, 0).max() > 0.1


@pytest.mark.slow
def test_a_kept_head_answers_files_as_the_probe_scored_them(data, tmp_path, capsys):
    run = save_classifier(tmp_path / "run", pretrained=True)
    config = runpy.run_path(str(ROOT / "configs/probe.py"))["get_config"]("tiny")
    config.update(data_dir=str(data), checkpoint=str(run), source="phantom_surgery/small")
    config.update(task="workflow", heads="linear", seeds=2, init_seeds=1, resamples=20)
    config.keep_heads = True
    results = json.loads(probe.run(config).read_text())
    (entry,) = results["kept"]
    assert entry["row"] == "linear" and 0.05 <= entry["temperature"] <= 20
    assert entry["error"]["after"] < 1
    head = kept.load(run / "probe/heads" / entry["file"])
    scores = np.load(run / "probe/predictions.npz")[f"workflow/linear/{entry['column']}"]

    # The head alone, on the same clips; then its calibration, which keeps the order.
    test = open_source(data, "phantom_surgery", split="test")
    encoder = load_encoder(run)
    clip = clip_of(encoder.clip)
    batches = list(labelled_clips(test, clip, 2))
    known = np.concatenate([b["labels"]["phase@last"] >= 0 for b in batches])
    features = np.concatenate([encoder.features(b["video"]) for b in batches])[known]
    plain = dataclasses.replace(head, facts=head.facts | {"temperature": 1.0})
    np.testing.assert_allclose(plain.probabilities(features), scores[0], atol=1e-6)
    np.testing.assert_array_equal(
        head.probabilities(features).argmax(1), plain.probabilities(features).argmax(1)
    )

    # The command finds it, and its page shows how far it can be believed.
    path = next(iter(files_of_test_patients(tmp_path).values()))
    assert main([f"--checkpoint={run}", f"--out={tmp_path / 'out'}", str(path)]) == 0
    page = (tmp_path / "out" / path.name / "index.html").read_text()
    assert "How far confidence can be believed" in page and "linear head" in page
    other = save_classifier(tmp_path / "other", pretrained=True, seed=5)
    file = run / "probe/heads" / entry["file"]
    capsys.readouterr()
    assert main([f"--checkpoint={other}", f"--head={file}", "--out=out", str(path)]) == 1
    assert "keep one of its own" in capsys.readouterr().err
    assert main([f"--checkpoint={other}", "--out=out", str(path)]) == 1
    assert "keep a head (python -m surgrec_jax.probe" in capsys.readouterr().err
