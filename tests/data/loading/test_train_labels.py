"""Labels in training batches: those of one frame of the clip, for fine-tuning."""

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax import inputs
from surgrec_jax.data.loading.augment import RandAugment
from surgrec_jax.data.loading.pipeline import ClipSpec, train_batches
from surgrec_jax.online_probes import open_probes
from surgrec_jax.safety.errors import ConfigError
from tests.data.small_corpus import example, read_picture, write_source

WHOLE = ClipSpec(frames=4, fps=4.0, size=48, crop="center")
OPTIONS = {"batch_size": 8, "seed": 3, "num_steps": 12}


def batches(sources, clip=WHOLE, **kwargs):
    with train_batches(sources, None, clip, **(OPTIONS | kwargs)) as found:
        return list(found)


@pytest.mark.parametrize(("which", "place"), [("centre", 2), ("last", 3)])
def test_labels_are_those_of_the_frame_asked_for_and_never_missing(sources, which, place):
    short = 0
    for batch in batches(sources, labels=("phase", "skill"), label_frame=which):
        assert batch["label"].dtype == np.int32 and batch["label"].shape == (8, 2)
        for video, record, label in zip(
            batch["video"], batch["record"], batch["label"].tolist(), strict=True
        ):
            _, shown, frame = read_picture(video[place])
            assert shown == record
            assert label == [(record + frame) % 4 - 1, record % 3 - 1]
            short += label == [-1, -1]
    assert short <= 2  # record 5 of the first source has one start only, and it is unlabelled


def test_a_single_track_is_labelled_wherever_a_start_allows(sources):
    rows = [
        (b["source"], b["record"], b["label"][:, 0]) for b in batches(sources, labels=["phase"])
    ]
    source, record, label = (np.concatenate(x) for x in zip(*rows, strict=True))
    only_start = (source == 0) & (record == 5)
    assert (label[~only_start] >= 0).all() and len(label) == 96


def test_without_labels_batches_are_as_before_and_threads_change_nothing(sources):
    plain = batches(sources)
    assert all("label" not in batch for batch in plain)
    with_labels = batches(sources, labels=["phase"], num_threads=0)
    again = batches(sources, labels=["phase"], num_threads=3)
    for a, b in zip(with_labels, again, strict=True):
        np.testing.assert_array_equal(a["label"], b["label"])
        np.testing.assert_array_equal(a["video"], b["video"])


def test_rand_augment_alters_training_clips_by_draw_alone(sources):
    clip = dataclasses.replace(WHOLE, augment=RandAugment(count=4, magnitude=7))
    plain, altered = batches(sources), batches(sources, clip)
    again = batches(sources, clip, num_threads=0)
    changed = []
    for a, b, c in zip(plain, altered, again, strict=True):
        np.testing.assert_array_equal(a["start"], b["start"])
        np.testing.assert_array_equal(b["video"], c["video"])
        changed += (a["video"] != b["video"]).any((1, 2, 3, 4)).tolist()
    assert 0.7 < np.mean(changed) < 1


def test_the_score_in_training_asks_the_frame_that_is_trained_on(tmp_path):
    examples = [example("held", 0, r, 24, 8.0, 0.0) for r in range(8)]
    write_source(tmp_path, "held", examples, split="val")
    config = runpy.run_path(str(Path(__file__).parents[3] / "configs/finetune.py"))["get_config"]()
    values = {"data.data_dir": str(tmp_path), "data.fps": 4.0, "data.sources": "held@val"}
    values |= {"model.num_frames": 4, "model.image_size": 48, "probe.sources": "held"}
    for frame, place in (("centre", 2), ("last", 3)):
        config.update_from_flattened_dict(values | {"classify.frame": frame})
        question = inputs.open_question(config)
        assert question.frame == frame  # which the checkpoint tells: Classify.meta
        (score,) = open_probes(config, question)
        shown = [read_picture(video[place]) for video in score.validation.video]
        truth = [(record + at) % 4 - 1 for _, record, at in shown]
        assert score.validation.labels["phase"].tolist() == truth
    config.classify.frame = "first"
    with pytest.raises(ConfigError, match="classify.frame='first': choose from"):
        inputs.open_question(config)


def test_an_unknown_label_is_refused(sources):
    with pytest.raises(ValueError, match="source alpha has no label step"):
        train_batches(sources, None, WHOLE, labels=["step"], **OPTIONS)
    with pytest.raises(ValueError, match="label_frame='first': choose from"):
        train_batches(sources, None, WHOLE, labels=["phase"], label_frame="first", **OPTIONS)
