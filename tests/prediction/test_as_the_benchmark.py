"""Predictions of files are the benchmark's scores of the same frames, to the last digit."""

import csv
import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest

from data_builders.common.build.build import build
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from surgrec_jax import train
from surgrec_jax.data.loading.clips import TIME_TOLERANCE, frame_indices, num_starts
from surgrec_jax.evaluation.benchmark.columns import Candidate
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


@pytest.mark.slow
def test_the_scores_of_unseen_patients_files_are_the_benchmarks(tmp_path):
    data = tmp_path / "data"
    build("phantom_surgery", data_dir=data, config=SMALL, num_workers=2, progress=False)
    run = tuned(tmp_path, data)
    splits = {s: open_source(data, "phantom_surgery", split=s) for s in ("train", "val", "test")}
    one = load_classifier(run)
    task = Task("phase", "phantom_surgery", "phase", unit="frame")
    settings = Settings(heads=("linear",), seeds=1, init_seeds=1, clips_per_record=3, resamples=20)
    candidate = Candidate("mine", one.encoder, "here", one)
    _, predicted = probe_sources([candidate], splits, [task], settings, tmp_path / "probe")
    (scores,) = predicted["phase/fine-tuned/mine"]

    # The patients' files as a hospital has them, and what is said of them by the command alone.
    builder = Builder(data_dir=tmp_path / "unused", config=SMALL)
    items = [item for item in builder.list_videos(None) if item.split == "test"]
    paths = [builder.open_video(item, tmp_path).path for item in items]
    command = [f"--checkpoint={run}", f"--out={tmp_path / 'out'}", "--rate=50", *map(str, paths)]
    assert main(command) == 0
    clip, answers = clip_of(one.encoder.clip), {}
    for item, path in zip(items, paths, strict=True):
        with open(tmp_path / "out" / path.name / "predictions.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        times = [float(row["time"]) for row in rows]
        columns = [[row[name] for name in one.classes] for row in rows]
        answers[item.video_id] = np.array(times), np.array(columns, np.float32)

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
