"""RandAugment: every operation by its formula, really applied, a function of the generator."""

import numpy as np
import pytest

from surgrec_jax.data.loading import augment
from surgrec_jax.data.loading.augment import OPERATIONS, RandAugment, rand_augment


def clip(seed=0, low=20, high=220, shape=(3, 24, 32, 3)):
    return np.random.default_rng([seed]).integers(low, high, shape).astype(np.uint8)


def altered(how, seed=0, video=None):
    video = clip() if video is None else video.copy()
    rand_augment(np.random.default_rng([seed]), video, how)
    return video


def test_pixel_operations_by_hand():
    video = clip()
    wide = video.astype(int)
    low, high = wide.min((0, 1, 2)), wide.max((0, 1, 2))
    stretched = np.round((wide - low) * 255 / (high - low))
    np.testing.assert_allclose(augment.auto_contrast(video, 0.7, 1), stretched, atol=1)
    np.testing.assert_array_equal(augment.invert(video, 0.7, 1), 255 - wide)
    np.testing.assert_array_equal(augment.posterize(video, 0.7, 1), wide // 64 * 64)  # 4 - 2 bits
    threshold = 256 - int(0.7 * 256)
    solarized = np.where(wide < threshold, wide, 255 - wide)
    np.testing.assert_array_equal(augment.solarize(video, 0.7, 1), solarized)
    added = np.where(wide < 128, wide + 77, wide)
    np.testing.assert_array_equal(augment.solarize_add(video, 0.7, 1), added)
    for sign, factor in ((1, 1.63), (-1, 0.37)):
        bright = np.clip(np.round(wide * factor), 0, 255)
        np.testing.assert_allclose(augment.brightness(video, 0.7, sign), bright, atol=1)
        grey = wide @ [0.299, 0.587, 0.114]
        mean = np.round(grey.mean())
        contrast = np.clip(np.round(mean + factor * (wide - mean)), 0, 255)
        np.testing.assert_allclose(augment.contrast(video, 0.7, sign), contrast, atol=1)
        color = np.clip(np.round(grey[..., None] + factor * (wide - grey[..., None])), 0, 255)
        np.testing.assert_allclose(augment.color(video, 0.7, sign), color, atol=1)
    flat = augment.equalize(video, 0.7, 1)
    counts = np.bincount(flat[..., 0].ravel() // 32, minlength=8)
    assert counts.min() > 0.8 * counts.mean()
    assert (
        augment.sharpness(video, 0.7, 1).std()
        > video.std()
        > 1.2 * (augment.sharpness(video, 0.7, -1).std())
    )


def test_geometry_moves_what_it_should():
    dot = np.zeros((1, 41, 61, 3), np.uint8)
    dot[0, 20, 30] = 255  # the centre
    assert augment.rotate(dot, 1.0, 1)[0, 20, 30, 0] == 255
    for name, level, sign, expected in (
        ("translate_x", 0.5, 1, (20, 30 - 0.225 * 61)),
        ("translate_y", 0.5, -1, (20 + 0.225 * 41, 30)),
        ("shear_x", 0.5, 1, (20, 30 - 0.15 * 20)),
        ("shear_y", 0.5, -1, (20 + 0.15 * 30, 30)),
    ):
        moved = OPERATIONS[name](dot, level, sign)[0].astype(float)
        fill = (moved == augment.FILL).all(-1)
        bright = np.where(fill, 0, moved[..., 0]) * (
            (moved[..., 0] == moved[..., 1]) & (moved[..., 0] > 20)
        )
        at = [(np.indices(bright.shape)[i] * bright).sum() / bright.sum() for i in (0, 1)]
        np.testing.assert_allclose(at, expected, atol=0.6, err_msg=name)
    right = np.zeros((1, 41, 41, 3), np.uint8)
    right[0, 20, 35] = 255  # turns by 30 degrees about (20, 20)
    turned = np.argwhere(augment.rotate(right, 1.0, 1)[0, ..., 0] > 150)
    assert len(turned) == 0 or np.hypot(*(turned.mean(0) - 20)) == pytest.approx(15, abs=1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_a_clip_and_treats_its_frames_alike(name):
    still = np.repeat(clip()[:1], 3, axis=0)
    found = OPERATIONS[name](still, 0.7, -1)
    assert found.dtype == np.uint8 and found.shape == still.shape
    assert (found != still).mean() > 0.1, name
    np.testing.assert_array_equal(found[0], found[2])


def test_it_is_applied_and_nothing_else_decides():
    how = RandAugment()
    first = altered(how)
    np.testing.assert_array_equal(first, altered(how))
    changed = [(altered(how, seed) != clip()).any() for seed in range(32)]
    # Four operations of probability one half: unchanged once in 16 times.
    assert 24 <= sum(changed) < 32 + 1
    assert len({altered(how, seed).tobytes() for seed in range(8)}) >= 7
    np.testing.assert_array_equal(altered(RandAugment(count=0)), clip())
    np.testing.assert_array_equal(altered(RandAugment(probability=0.0)), clip())
    gentle = [
        np.abs(altered(RandAugment(magnitude=1), s).astype(int) - clip()).mean() for s in range(40)
    ]
    strong = [
        np.abs(altered(RandAugment(magnitude=9), s).astype(int) - clip()).mean() for s in range(40)
    ]
    assert np.mean(strong) > 1.2 * np.mean(gentle)


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match="magnitude 0 to 10"):
        RandAugment(magnitude=11)
