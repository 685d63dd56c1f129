import cv2
import numpy as np
import pytest
from scipy import stats

from surgrec_jax.data.loading import transforms as tf


def boxes(crop, count=4000, seed=0, **kwargs):
    rng = np.random.default_rng(seed)
    return np.array([crop(rng, **kwargs) for _ in range(count)])


def inside(b, height, width):
    return (
        (b[:, :2] >= 0).all()
        and (b[:, 0] + b[:, 2] <= height).all()
        and (b[:, 1] + b[:, 3] <= width).all()
    )


def test_random_resized_crop_has_uniform_area_and_log_uniform_ratio():
    """On a square of 1000 with an area of at most half, every draw fits: no rejection bends it."""
    b = boxes(tf.random_resized_crop, height=1000, width=1000, scale=(0.1, 0.5), ratio=(0.75, 1.35))
    assert inside(b, 1000, 1000)
    area = b[:, 2] * b[:, 3] / 1e6
    assert stats.kstest(area, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    log_ratio = np.log(b[:, 3] / b[:, 2])
    spread = np.log(1.35 / 0.75)
    assert stats.kstest(log_ratio, stats.uniform(np.log(0.75), spread).cdf).pvalue > 1e-3
    for free, at in ((1000 - b[:, 2], b[:, 0]), (1000 - b[:, 3], b[:, 1])):
        assert stats.kstest((at + 0.5) / (free + 1), "uniform").pvalue > 1e-3


def test_random_resized_crop_fits_wide_frames():
    b = boxes(tf.random_resized_crop, height=256, width=455, scale=(0.3, 1.0), ratio=(0.75, 1.35))
    assert inside(b, 256, 455)
    assert b[:, 2].max() == 256  # at the edge too
    ratio = b[:, 3] / b[:, 2]
    assert ratio.min() > 0.74 and ratio.max() < 1.36


def test_random_resized_crop_falls_back_to_the_largest_centred_box():
    rng = np.random.default_rng(0)
    assert tf.random_resized_crop(rng, 10, 1000, (0.9, 1.0), (0.5, 2.0)) == (0, 490, 10, 20)
    assert tf.random_resized_crop(rng, 1000, 10, (0.9, 1.0), (0.5, 2.0)) == (490, 0, 20, 10)


def test_multi_scale_crop_takes_every_pair_and_position_equally_often():
    height, width = 256, 320
    b = boxes(tf.multi_scale_crop, count=8000, height=height, width=width)
    assert inside(b, height, width)
    sides = [256, 224, 192, 168]
    pairs, counts = np.unique(b[:, 2:], axis=0, return_counts=True)
    expected = {(h, w) for i, h in enumerate(sides) for w in sides[max(0, i - 1) : i + 2]}
    assert {tuple(p) for p in pairs.tolist()} == expected and len(expected) == 10
    assert stats.chisquare(counts).pvalue > 1e-3
    square = b[(b[:, 2] == 192) & (b[:, 3] == 192)]  # free: 64 high, 128 wide
    places, counts = np.unique(square[:, :2], axis=0, return_counts=True)
    wanted = {
        (0, 0), (0, 128), (64, 0), (64, 128), (32, 64), (0, 64), (32, 0), (32, 128), (64, 64),
        (16, 32), (16, 96), (48, 32), (48, 96),
    }  # fmt: skip
    assert {tuple(p) for p in places.tolist()} == wanted
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("h", "w", "box"), [(48, 64, (0, 8, 48, 48)), (65, 48, (8, 0, 48, 48))])
def test_center_crop(h, w, box):
    assert tf.center_crop(h, w) == box


def bilinear(image, size):
    """Independent: half-pixel centres, edges repeated, in float64."""
    h, w, _ = image.shape

    def taps(n):
        x = (np.arange(size) + 0.5) * n / size - 0.5
        low = np.floor(x).astype(int)
        return np.clip(low, 0, n - 1), np.clip(low + 1, 0, n - 1), (x - low)[:, None]

    top, bottom, fy = taps(h)
    left, right, fx = taps(w)
    rows = image[top] * (1 - fy[..., None]) + image[bottom] * fy[..., None]
    return rows[:, left] * (1 - fx) + rows[:, right] * fx


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(3, 5, 30, 41), (0, 0, 48, 64), (10, 10, 16, 16)])
def test_crops_against_an_independent_bilinear_reference(box, flip):
    rng = np.random.default_rng(0)
    frames = [cv2.blur(rng.integers(0, 256, (48, 64, 3), np.uint8), (3, 3)) for _ in range(3)]
    out = np.zeros((3, 32, 32, 3), np.uint8)
    tf.crop_resize_flip(frames, box, out, flip)
    top, left, h, w = box
    for frame, got in zip(frames, out, strict=True):
        wanted = bilinear(frame[top : top + h, left : left + w].astype(np.float64), 32)
        wanted = wanted[:, ::-1] if flip else wanted
        assert np.abs(got - wanted).max() <= 1.0


def test_strong_shrinking_averages_areas():
    checker = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)
    frame = np.stack([checker] * 3, -1)
    out = np.zeros((1, 16, 16, 3), np.uint8)
    tf.crop_resize_flip([frame], (0, 0, 64, 64), out)
    assert (out == 100).all()  # bilinear would pick single pixels: 0 or 200 among them
    rng = np.random.default_rng(1)
    frame = rng.integers(0, 256, (64, 64, 3), np.uint8)
    tf.crop_resize_flip([frame], (0, 0, 64, 64), out)
    mean = frame.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(out[0] - mean).max() <= 0.5 + 1e-6


def test_a_whole_frame_is_copied_exactly():
    frame = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    out = np.zeros((2, 32, 32, 3), np.uint8)
    tf.crop_resize_flip([frame, frame], (0, 0, 32, 32), out)
    np.testing.assert_array_equal(out, np.stack([frame, frame]))
