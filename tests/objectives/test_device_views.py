"""Views against NumPy: rectangles, resizing, colours; and which tokens are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.objectives import views
from surgrec_jax.objectives.views import Colours, Crop

CLIP = np.random.default_rng(0).integers(0, 256, (3, 20, 28, 3), np.uint8)
STILL = Colours(probability=0.0, grey=0.0)


def resized(image, rectangle, side):
    """Triangle weights about every output pixel's centre, one pixel at a time."""
    top, left, h, w = (float(x) for x in rectangle)

    def weights(start, size, length):
        rows = []
        for i in range(side):
            centre = start + (i + 0.5) * size / side - 0.5
            reach = max(size / side, 1.0)
            row = np.array([max(0.0, 1 - abs(centre - j) / reach) for j in range(length)])
            rows.append(row / row.sum())
        return rows

    out = np.zeros((side, side, 3))
    for i, down in enumerate(weights(top, h, image.shape[0])):
        for j, right in enumerate(weights(left, w, image.shape[1])):
            out[i, j] = np.einsum("a,b,abc->c", down, right, image)
    return out


@pytest.mark.parametrize(
    "rectangle", [(0, 0, 20, 28), (3.25, 5.5, 9.0, 12.5), (10, 20, 4, 5), (0, 8, 20, 20)]
)
def test_a_rectangle_is_resized_antialiased(rectangle):
    got = views.cut(jnp.asarray(CLIP), jnp.asarray(rectangle, jnp.float32), 8)
    for frame, seen in zip(CLIP, np.asarray(got), strict=True):
        np.testing.assert_allclose(seen, resized(frame.astype(float), rectangle, 8), atol=2e-3)


def test_rectangles_have_the_shares_and_aspects_asked_for():
    crop = Crop(8, (0.1, 0.4))
    keys = jax.random.split(jax.random.key(0), 2000)
    top, left, h, w = np.asarray(jax.vmap(lambda k: views.box(k, 60, 80, crop))(keys)).T
    share, aspect = h * w / 4800, w / h
    assert 0.099 < share.min() < 0.11 and 0.39 < share.max() < 0.401
    assert abs(share.mean() - 0.25) < 0.01
    assert abs(np.log(aspect).mean()) < 0.02 and 0.749 < aspect.min() < aspect.max() < 1.334
    assert (top >= 0).all() and (top + h <= 60.001).all() and (left + w <= 80.001).all()
    free = top / (60 - h)
    assert free.min() < 0.01 and free.max() > 0.99 and abs(free.mean() - 0.5) < 0.02
    whole = jax.vmap(lambda k: views.box(k, 60, 80, Crop(8, (1.0, 1.0))))(keys)
    assert float(whole[:, 2].max()) == 60 and 79 < float(whole[:, 3].max()) <= 80  # cut off


def stepwise(image, mean, b, c, s, hue, grey):
    """Colours changed one step after another, in float64."""
    luma = np.array([0.299, 0.587, 0.114])
    x, mean = b * image, b * mean
    x = c * x + (1 - c) * (mean @ luma)
    x = s * x + (1 - s) * (x @ luma)[..., None]
    yiq = np.array([luma, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    y, i, q = np.moveaxis(x @ yiq.T, -1, 0)
    angle = 2 * np.pi * hue
    turned = [y, i * np.cos(angle) - q * np.sin(angle), i * np.sin(angle) + q * np.cos(angle)]
    x = np.stack(turned, -1) @ np.linalg.inv(yiq).T
    return np.repeat((x @ luma)[..., None], 3, -1) if grey else x


@pytest.mark.parametrize(
    "change",
    [
        (1.0, 1.0, 1.0, 0.0, False),
        (0.7, 1.3, 0.9, 0.08, False),
        (1.2, 0.6, 1.2, -0.1, False),
        (1.1, 0.8, 1.1, 0.05, True),
    ],
)
def test_colours_change_as_step_by_step(change):
    image = CLIP[0] / 1.0
    mean = image.mean((0, 1))
    matrix, offset = views.colour_map(jnp.asarray(mean), *map(jnp.asarray, change))
    got = image @ np.asarray(matrix, np.float64).T + float(offset)
    np.testing.assert_allclose(got, stepwise(image, mean, *change), atol=2e-3)


def test_changes_of_colours_are_drawn_as_asked_for():
    how = Colours()
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn = jax.vmap(lambda k: views.draw_colours(k, how))(keys)
    drawn = {name: np.asarray(x) for name, x in drawn.items()}
    assert abs(drawn["grey"].mean() - 0.2) < 0.03
    for name, still in (("brightness", 1), ("contrast", 1), ("saturation", 1), ("hue", 0)):
        by, limit = drawn[name] - still, getattr(how, name)
        assert abs((by != 0).mean() - 0.8) < 0.03
        assert 0.98 * limit < by.max() <= limit + 1e-6 and -limit - 1e-6 <= by.min() < -0.98 * limit
        assert abs(by.mean()) < 0.04 * limit
    changed = drawn["hue"] != 0
    assert abs(np.corrcoef(drawn["hue"][changed], drawn["contrast"][changed])[0, 1]) < 0.06


def test_all_frames_of_a_view_are_altered_alike_and_a_key_decides_all():
    still = np.repeat(CLIP[:1], 4, 0)
    crop = Crop(8, (0.2, 0.9))
    drawn = [np.asarray(views.view(jax.random.key(n), still, crop, Colours())) for n in range(6)]
    for x in drawn:
        assert x.dtype == np.float32 and x.shape == (4, 8, 8, 3)
        assert 0 <= x.min() < x.max() <= 255
        np.testing.assert_array_equal(x, np.repeat(x[:1], 4, 0))
    assert len({x.tobytes() for x in drawn}) == 6
    again = views.view(jax.random.key(0), still, crop, Colours())
    np.testing.assert_array_equal(again, drawn[0])


def test_a_mirror_image():
    whole = Crop(20, (1.0, 1.0))
    square = CLIP[:, :, :20]
    plain, mirrored = (
        np.asarray(views.view(jax.random.key(0), square, whole, STILL, flip=p)) for p in (0.0, 1.0)
    )
    np.testing.assert_array_equal(mirrored, plain[:, :, ::-1])


def test_every_token_and_every_pair_is_kept_equally_often():
    draws, tokens, count = 4000, 12, 4
    keys = jax.random.split(jax.random.key(5), draws)
    ids = np.asarray(jax.vmap(lambda k: views.kept_ids(k, tokens, count))(keys))
    assert (np.diff(ids, axis=1) > 0).all() and ids.min() == 0 and ids.max() == tokens - 1
    kept = np.zeros((draws, tokens))
    kept[np.arange(draws)[:, None], ids] = 1
    share, deviation = count / tokens, np.sqrt(count / tokens * (1 - count / tokens) / draws)
    assert np.abs(kept.mean(0) - share).max() < 4 * deviation
    together = kept.T @ kept / draws
    pair = share * (count - 1) / (tokens - 1)
    off = together[~np.eye(tokens, dtype=bool)]
    assert np.abs(off - pair).max() < 5 * np.sqrt(pair * (1 - pair) / draws)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Crop(8, (0.0, 0.4)), "0 < low <= high <= 1"),
        (lambda: Crop(8, (0.5, 1.2)), "0 < low <= high <= 1"),
        (lambda: Crop(8, (0.5, 1.0), (2.0, 1.0)), "aspect"),
        (lambda: Colours(hue=0.6), "colours.hue=0.6"),
        (lambda: Colours(grey=-0.1), "colours.grey=-0.1"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
