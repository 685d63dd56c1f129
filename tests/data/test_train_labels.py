"""Labels in training batches: those of the centre frame, for fine-tuning."""

import dataclasses

import numpy as np
import pytest
from small_corpus import read_picture

from surgrec_jax.data.augment import RandAugment
from surgrec_jax.data.pipeline import ClipSpec, train_batches

WHOLE = ClipSpec(frames=4, fps=4.0, size=48, crop="center")
OPTIONS = {"batch_size": 8, "seed": 3, "num_steps": 12}


def batches(sources, clip=WHOLE, **kwargs):
    with train_batches(sources, None, clip, **(OPTIONS | kwargs)) as found:
        return list(found)


def test_labels_are_those_of_the_frame_in_the_centre_and_never_missing(sources):
    short = 0
    for batch in batches(sources, labels=("phase", "skill")):
        assert batch["label"].dtype == np.int32 and batch["label"].shape == (8, 2)
        for video, record, label in zip(
            batch["video"], batch["record"], batch["label"].tolist(), strict=True
        ):
            _, shown, frame = read_picture(video[2])
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


def test_an_unknown_label_is_refused(sources):
    with pytest.raises(ValueError, match="source alpha has no label step"):
        train_batches(sources, None, WHOLE, labels=["step"], **OPTIONS)
