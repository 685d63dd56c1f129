import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec_jax.data.loading.clips import (
    ClipSpec,
    check_sizes,
    decode_clip,
    frame_indices,
    num_starts,
)
from surgrec_jax.data.loading.faults import BadRecords
from surgrec_jax.data.loading.pipeline import eval_clips, train_batches
from surgrec_jax.evaluation.features.clips import enlarged_share
from surgrec_jax.records.source import open_source
from tests.data.small_corpus import example, read_picture, write_source


def brute_force(times, start, clip):
    """Nearest frame by comparing with every one; the earlier of equals."""
    t = np.asarray(times, np.float64)
    found = []
    for k in range(clip.frames):
        distance = np.abs(t - (t[start] + k / clip.fps))
        found.append(int(np.flatnonzero(distance <= distance.min() + 4e-3)[0]))
    return found


@settings(max_examples=200)
@given(
    stored_fps=st.sampled_from([1.0, 4.0, 5.0, 6.25, 7.5, 8.0]),
    clip_fps=st.sampled_from([1.0, 2.0, 4.0, 5.0, 8.0, 16.0]),
    count=st.integers(1, 64),
    offset=st.floats(0, 9000),
    start=st.integers(0, 63),
    frames=st.integers(1, 16),
)
def test_frames_are_those_nearest_in_time(stored_fps, clip_fps, count, offset, start, frames):
    times = (offset + np.arange(count) / stored_fps).astype(np.float32)
    clip = ClipSpec(frames=frames, fps=clip_fps, size=8)
    start = min(start, count - 1)
    assert frame_indices(times, start, clip).tolist() == brute_force(times, start, clip)


@pytest.mark.parametrize("offset", [0.0, 1234.567, 14000.1])
def test_whole_strides_are_exact_however_late_in_the_video(offset):
    times = (offset + np.arange(64) / 8).astype(np.float32)
    clip = ClipSpec(frames=16, fps=2.0, size=8)
    assert num_starts(times, clip) == 64 - 15 * 4
    for start in range(4):
        assert frame_indices(times, start, clip).tolist() == list(range(start, 64, 4))


def test_short_segments_repeat_their_last_frame():
    times = np.float32([10, 10.125, 10.25])
    clip = ClipSpec(frames=6, fps=8.0, size=8)
    assert num_starts(times, clip) == 1
    assert frame_indices(times, 0, clip).tolist() == [0, 1, 2, 2, 2, 2]


def test_pictures_are_those_of_the_frames(sources):
    clip = ClipSpec(frames=5, fps=4.0, size=32)
    for start in (0, 7, 15):
        frames = decode_clip(sources[0], 11, sources[0].record(11), start, clip)
        read = [read_picture(f[:, 8:56]) for f in frames]
        assert read == [(0, 11, start + 2 * k) for k in range(5)]


def test_only_the_frames_of_the_clip_are_decoded(sources):
    record = sources[0].record(3)
    clip = ClipSpec(frames=3, fps=2.0, size=32)
    record.frames[:] = [f if i in (2, 6, 10) else b"damaged" for i, f in enumerate(record.frames)]
    assert len(decode_clip(sources[0], 3, record, 2, clip)) == 3


def test_a_clip_larger_than_the_frames_is_refused(sources):
    check_sizes(sources[0], ClipSpec(frames=4, fps=4.0, size=48))
    with pytest.raises(ValueError, match=r"clips of 49 pixels .* short side is 48: use .* most 48"):
        check_sizes(sources[0], ClipSpec(frames=4, fps=4.0, size=49))


def test_small_frames_among_larger_ones(tmp_path):
    """Training passes over the record; evaluation enlarges it, and its share is told."""
    examples = [example("mixed", 0, r, 8, 8.0, 0.0) for r in range(8)]
    small = cv2.imencode(".jpg", np.full((24, 40, 3), 200, np.uint8))[1].tobytes()
    examples[0]["frames"] = [small] * 8
    write_source(tmp_path, "mixed", examples)
    source, clip = open_source(tmp_path, "mixed"), ClipSpec(frames=4, fps=4.0, size=32)
    bad = BadRecords({source.label: len(source)}, 0.5)
    options = {"batch_size": 8, "seed": 0, "num_steps": 4, "num_threads": 0}
    with train_batches([source], None, clip, bad=bad, **options) as batches:
        assert 0 not in np.concatenate([batch["record"] for batch in batches])
    assert len(bad) == 1
    with pytest.raises(ValueError, match="short side is 24"):
        train_batches([source], None, clip, **options)
    with eval_clips(source, clip, batch_size=8) as batches:
        (batch,) = batches
    assert batch["video"].shape == (8, 4, 32, 32, 3) and batch["video"][0].min() > 190
    assert enlarged_share(source, clip) == 1 / 8


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"crop": "middle"}, "crop 'middle' is unknown; choose one of random_resized"),
        ({"fps": 0.0}, "fps > 0"),
        ({"scale": (0.0, 1.0)}, "scale must be"),
        ({"ratio": (2.0, 1.0)}, "ratio must be"),
    ],
)
def test_bad_clips_are_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        ClipSpec(**({"frames": 4, "fps": 4.0, "size": 16} | change))
