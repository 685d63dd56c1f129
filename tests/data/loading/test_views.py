"""Several crops of a clip, for probing with more than one view."""

import numpy as np
import pytest

from surgrec_jax.data.loading.pipeline import ClipSpec, eval_clips
from surgrec_jax.data.loading.transforms import center_crop, spread_crops


def test_crops_are_spread_over_the_long_side():
    assert spread_crops(48, 64, 3) == [(0, 0, 48, 48), (0, 8, 48, 48), (0, 16, 48, 48)]
    assert spread_crops(90, 30, 2) == [(0, 0, 30, 30), (60, 0, 30, 30)]
    assert spread_crops(31, 48, 1) == [center_crop(31, 48)]


def test_the_middle_of_three_crops_is_the_only_one_of_one(sources):
    clip = ClipSpec(frames=4, fps=4.0, size=48, crop="center")
    found = {}
    for crops in (1, 3):
        with eval_clips(sources[0], clip, crops=crops, records=[0, 5], batch_size=2) as batches:
            found[crops] = next(batches)
    assert found[1]["video"].shape == (2, 4, 48, 48, 3)
    assert found[3]["video"].shape == (2, 3, 4, 48, 48, 3)
    np.testing.assert_array_equal(found[3]["video"][:, 1], found[1]["video"])
    assert (found[3]["video"][:, 0] != found[3]["video"][:, 2]).any()
    np.testing.assert_array_equal(found[3]["labels"]["phase"], found[1]["labels"]["phase"])
    with pytest.raises(ValueError, match="crops 0"):
        eval_clips(sources[0], clip, crops=0)


def test_records_may_give_different_numbers_of_clips(sources):
    def views(records, count):
        clip = ClipSpec(frames=4, fps=4.0, size=32)
        with eval_clips(
            sources[0], clip, clips_per_record=count, records=records, batch_size=3
        ) as b:
            got = list(b)
        return {
            k: np.concatenate([x[k] for x in got]) for k in ("video", "start", "record", "view")
        }

    found, one, three = views([4, 7, 9], [1, 3, 1]), views([4, 9], 1), views([7], 3)
    for key, values in found.items():
        expected = np.concatenate([one[key][:1], three[key], one[key][1:]])
        np.testing.assert_array_equal(values, expected)
