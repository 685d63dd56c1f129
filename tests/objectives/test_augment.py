"""Erasing, mixup and CutMix inside the step: by their formulas, really applied, repeatable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models.presets import IMAGENET_MEAN, IMAGENET_STD
from surgrec_jax.objectives import augment
from surgrec_jax.objectives.augment import Mixing

SHAPE = (64, 2, 16, 24, 3)
erase = jax.jit(augment.erase, static_argnums=(2, 3, 4))
mix = jax.jit(augment.mix, static_argnums=3)


def clips():
    """Each clip is of one grey: what comes from where can be read off."""
    grey = np.arange(len(range(SHAPE[0])), dtype=np.uint8) * 2 + 60
    return np.broadcast_to(grey[:, None, None, None, None], SHAPE).copy()


def keys(seed=0):
    return jax.random.split(jax.random.key(seed), SHAPE[0])


def test_erasing_replaces_a_rectangle_alike_in_all_frames():
    video = clips()
    found = np.asarray(erase(keys(), video, 1.0, IMAGENET_MEAN, IMAGENET_STD))
    changed = (found != video).any((1, 4))  # [B, H, W]
    rows, columns = changed.any(2), changed.any(1)
    areas = changed.mean((1, 2))
    assert (areas > 0.005).all() and areas.max() <= 0.4 and areas.std() > 0.05
    # Nearly every pixel of the bounding rectangle differs, in every frame.
    box = rows[:, :, None] & columns[:, None, :]
    assert (changed | ~box).mean() > 0.995
    each_frame = (found != video).any(-1)[np.repeat(box[:, None], 2, 1)]
    assert each_frame.mean() > 0.99
    noise = found[np.broadcast_to(box[:, None, :, :, None], SHAPE)].reshape(-1, 3) / 255
    np.testing.assert_allclose(noise.mean(0), IMAGENET_MEAN, atol=0.03)
    np.testing.assert_allclose(noise.std(0), IMAGENET_STD, atol=0.03)


def test_erasing_keeps_its_probability_and_is_a_function_of_the_keys():
    video = clips()
    some = np.asarray(erase(keys(1), video, 0.25, IMAGENET_MEAN, IMAGENET_STD))
    hit = (some != video).any((1, 2, 3, 4)).mean()
    assert 0.08 < hit < 0.45
    np.testing.assert_array_equal(some, erase(keys(1), video, 0.25, IMAGENET_MEAN, IMAGENET_STD))
    assert (some != np.asarray(erase(keys(2), video, 0.25, IMAGENET_MEAN, IMAGENET_STD))).any()
    none = erase(keys(1), video, 0.0, IMAGENET_MEAN, IMAGENET_STD)
    np.testing.assert_array_equal(none, video)


def mixed(how, seed=0):
    targets = jnp.eye(SHAPE[0])
    video, found = mix(keys(seed), clips(), targets, how)
    own = np.asarray(found)[np.arange(SHAPE[0]), np.arange(SHAPE[0])]
    other = np.asarray(found)[np.arange(SHAPE[0]), np.arange(SHAPE[0])[::-1]]
    np.testing.assert_allclose(own + other, 1, atol=1e-6)
    np.testing.assert_allclose(np.asarray(found).sum(1), 1, atol=1e-6)
    return np.asarray(video), own


def test_mixup_blends_pictures_and_targets_by_the_same_share():
    video, share = mixed(Mixing(mixup=0.8, cutmix=0.0))
    original = clips().astype(np.float64)
    lam = share[:, None, None, None, None]
    np.testing.assert_allclose(video, lam * original + (1 - lam) * original[::-1], atol=0.51)
    # Beta(0.8, 0.8): mean 1/2, variance 1/4 / 2.6.
    assert share.mean() == pytest.approx(0.5, abs=0.13) and share.std() == pytest.approx(
        0.31, abs=0.06
    )


def test_cutmix_pastes_a_rectangle_and_its_area_is_the_target():
    video, share = mixed(Mixing(mixup=0.0, cutmix=1.0))
    original = clips()
    kept, pasted = video == original, video == original[::-1]
    assert (kept | pasted).all()
    assert (kept == kept[:, :1, :, :, :1]).all()  # alike in all frames and channels
    np.testing.assert_allclose(kept.mean((1, 2, 3, 4)), share, atol=1e-6)
    inside = pasted[:, 0, :, :, 0]
    box = inside.any(2)[:, :, None] & inside.any(1)[:, None, :]
    np.testing.assert_array_equal(inside, box)
    assert 0.5 < share.mean() < 0.9 and share.std() > 0.15


@pytest.mark.slow
def test_both_take_turns_and_the_probability_is_kept():
    video, share = mixed(Mixing(mixup=0.8, cutmix=1.0, switch=0.5), seed=3)
    original = clips()
    cut = ((video == original) | (video == original[::-1])).all((1, 2, 3, 4))
    assert 0.25 < cut.mean() < 0.75 and (share < 1).mean() > 0.9
    _, share = mixed(Mixing(probability=0.3), seed=4)
    assert 0.1 < (share < 1).mean() < 0.5
    again, _ = mixed(Mixing(mixup=0.8, cutmix=1.0, switch=0.5), seed=3)
    np.testing.assert_array_equal(video, again)
    assert not Mixing(mixup=0.0, cutmix=0.0).on and not Mixing(probability=0.0).on


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match="at least 0"):
        Mixing(mixup=-1.0)
    with pytest.raises(ValueError, match="0 to 1"):
        Mixing(probability=1.5)
