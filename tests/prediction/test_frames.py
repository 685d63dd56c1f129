"""The clips of a video without a build: those of a record, and nothing of the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from surgrec_jax.data.loading.clips import ClipSpec, frame_indices, label_frames, num_starts
from surgrec_jax.prediction.frames import Picture, moments, storing_of
from surgrec_jax.safety.errors import DataError

CLIP = ClipSpec(frames=4, fps=2.0, size=1, crop="center")


def pictures(times):
    """Pictures whose one pixel is their number."""
    for k, time in enumerate(times):
        pixels = np.full((1, 1, 3), k, np.uint8)
        yield Picture(np.float32(time), k, pixels, pixels)


def numbers(moment):
    return moment.clip[:, 0, 0, 0].tolist()


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0.1, 0.125, 0.2, 0.25, 0.9, 4.0]), min_size=1, max_size=60),
    st.sampled_from(["last", "centre"]),
)
def test_every_clip_of_a_record_is_a_clip_of_the_video(gaps, frame):
    """Whatever the clock does; and the label is read at the same picture."""
    times = np.float32(np.cumsum([0.0, *gaps]))
    found = [m for m in moments(pictures(times), CLIP, 40.0, frame) if m.clip is not None]
    shown = {tuple(numbers(m)): m.shown.number for m in found}
    ends = times[-1] - times
    for start, label in enumerate(label_frames(times, CLIP, frame)):
        clip = tuple(frame_indices(times, start, CLIP).tolist())
        # A pause that a whole clip fits into may leave a clip's end to the next picture.
        if start == 0 or ends[start] >= 1.5 + max(gaps):
            later = num_starts(times[: clip[-1] + 2], CLIP) - 1 > start
            assert clip in shown or later
        if clip in shown:
            assert shown[clip] == label


def test_nothing_of_the_future_is_seen():
    times = np.arange(0, 8, 0.125)
    whole = list(moments(pictures(times), CLIP, 2.0))
    for moment in whole:
        seen = times <= moment.time + 1e-9
        *_, last = moments(pictures(times[seen]), CLIP, 2.0)
        assert last.time == moment.time and numbers(last) == numbers(moment)
    assert [m.time for m in whole] == np.arange(0, 8, 0.5).tolist()
    assert numbers(whole[0]) == [0, 0, 0, 0] and numbers(whole[-1]) == [48, 52, 56, 60]


def test_the_centre_looks_half_a_clip_ahead():
    whole = list(moments(pictures(np.arange(0, 8, 0.25)), CLIP, 1.0, "centre"))
    assert [(m.time, m.shown.time) for m in whole[1:-1]] == [(k, k) for k in range(1, 7)]
    assert numbers(whole[3]) == [8, 10, 12, 14]


def test_pictures_that_stand_still_are_asked_once():
    found = list(moments(pictures([0.0, 0.5, 5.0]), CLIP, 2.0))
    assert [m.time for m in found if m.clip is not None] == [0.0, 0.5, 5.0]
    # As the last clip of a record with such a pause: one that ends at 2.0 s.
    assert len(found) == 11 and numbers(found[-1]) == [1, 1, 1, 1]


def test_how_pictures_were_stored_is_the_checkpoints_word(tmp_path):
    record = {"frames": 8, "fps": 5.0, "short_side": 80, "jpeg_quality": 80}
    entry = {"stored": {"record": record, "filters": {"crop_borders": True}}, "directory": "gone"}
    before = {"directory": str(tmp_path), "through": "elsewhere"}
    found, notes = storing_of({"sources": [before, entry]})
    assert found.record.short_side == 80 and found.crop_borders and not notes
    silent = {"sources": [{"directory": str(tmp_path)}]}
    assert "does not say how" in storing_of(silent)[1][0]
    with pytest.raises(DataError, match="make no sense"):
        storing_of({"sources": [{"stored": {"record": {"odd": 1}}}]})
