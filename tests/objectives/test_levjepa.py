"""LeVJEPA's loss from NumPy parts, its views in the encoder's grid, and what it refuses."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models import vit
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import views
from surgrec_jax.objectives.levjepa import LeVJEPA
from surgrec_jax.objectives.sigreg import directions, sigreg

ENCODER = ViTConfig(
    24,
    2,
    2,
    48,
    num_frames=4,
    image_size=(48, 48),
    tubelet=1,
    patch=8,
    position="rope_3d",
    init="trunc_normal",
    prefix_tokens=1,
    attention="block_causal",
    pooling="cls",
)
OPTIONS = {
    "local_views": 3,
    "local_side": 16,
    "global_drop": 0.75,
    "local_drop": 0.5,
    "hidden": 16,
    "outputs": 6,
    "lines": 8,
    "sigreg_weight": 5.0,
}


def objective(encoder=ENCODER, **changes):
    return LeVJEPA.from_config(encoder, OPTIONS | changes, Compute())


def batch(size=4, seed=0):
    shape = (size, ENCODER.num_frames, *ENCODER.image_size, 3)
    return {"video": np.random.default_rng(seed).integers(0, 256, shape, np.uint8)}


def keys(count, seed=7):
    return jax.random.split(jax.random.key(seed), count)


@functools.partial(jax.jit, static_argnums=0)
def apply(function, *args):
    return function(*args)


def noisy(params, seed=0):
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    leaves = [np.float32(x + 0.1 * rng.standard_normal(x.shape)) for x in leaves]
    return jax.tree.unflatten(tree, leaves)


def test_the_loss_is_invariance_and_sigreg_of_projected_views():
    obj = objective()
    params = noisy(obj.init(jax.random.key(0)))
    features = np.asarray(apply(obj.embed, params, batch(), keys(4)), np.float64)
    assert features.shape == (4, 4, 24)
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params["projector"])
    rows = features.reshape(16, 24) @ p["fc1"]["kernel"] + p["fc1"]["bias"]
    rows = (rows - rows.mean(0)) / np.sqrt(rows.var(0) + 1e-5) * p["scale"] + p["bias"]
    rows = 0.5 * rows * (1 + np.vectorize(math.erf)(rows / math.sqrt(2)))
    z = (rows @ p["fc2"]["kernel"] + p["fc2"]["bias"]).reshape(4, 4, 6)
    invariance = np.mean([(z[:, 0] - z[:, v]) ** 2 for v in range(4)])
    lines = directions(jax.random.fold_in(keys(4)[0], 0), 6, 8)
    spread = float(sigreg(z.astype(np.float32), lines))

    loss, metrics = apply(obj.loss, params, batch(), keys(4))
    assert float(metrics["invariance"]) == pytest.approx(invariance, rel=1e-4)
    assert float(metrics["sigreg"]) == pytest.approx(spread, rel=1e-4)
    assert float(loss) == pytest.approx(invariance + 5 * spread, rel=1e-4)


def test_a_view_is_encoded_as_a_clip_of_its_own():
    """Nothing dropped: features of a local view are those of an encoder of its size."""
    obj = objective(local_drop=0.0, global_drop=0.0)
    params = noisy(obj.init(jax.random.key(0)))
    made = apply(obj.embed, params, batch(), keys(4))
    for view, (crop, side) in ((0, (obj.crops[0], 48)), (2, (obj.crops[1], 16))):
        config = dataclasses.replace(ENCODER, image_size=(side, side))
        view_keys = jax.vmap(lambda key: jax.random.split(key, 4))(keys(4))[:, view]
        pixels = [
            views.view(jax.random.fold_in(key, 0), jnp.asarray(clip), crop, obj.options.colours)
            for key, clip in zip(view_keys, batch()["video"], strict=True)
        ]
        alone = vit.extract_features(config, Compute(), params["encoder"], jnp.stack(pixels))
        np.testing.assert_allclose(made[:, view], alone, atol=2e-5)


def test_tokens_are_dropped_from_every_view_of_every_clip_by_itself():
    obj = objective()
    view_keys = jax.vmap(lambda key: jax.random.split(key, 4))(keys(4))
    _, ids = obj._views(jnp.asarray(batch()["video"]), view_keys[:, 1:], local=True)
    assert ids.shape == (4, 3, 8)  # half of 4 x 2 x 2
    rows = {tuple(x) for x in np.asarray(ids).reshape(12, 8)}
    assert len(rows) == 12
    time, place = np.divmod(np.asarray(ids), 36)
    assert time.max() == 3 and set(place.ravel()) == {0, 1, 6, 7}  # the corner of a 6 x 6 grid


def test_gradients_reach_both_sides_and_agree_with_differences():
    with jax.enable_x64(True):
        obj = LeVJEPA.from_config(ENCODER, OPTIONS, Compute(dtype=jnp.float64))
        start = noisy(obj.init(jax.random.key(0)))
        params = jax.tree.map(lambda x: np.asarray(x, np.float64), start)

        def loss_of(params):
            return obj.loss(params, batch(3), keys(3))[0]

        loss = functools.partial(apply, loss_of)
        grads = apply(jax.grad(loss_of), params)
        rng = np.random.default_rng(3)
        for _ in range(2):
            way = jax.tree.map(lambda x: rng.standard_normal(x.shape), params)
            up, down = (
                float(loss(jax.tree.map(lambda p, w: p + s * w, params, way)))  # noqa: B023
                for s in (1e-4, -1e-4)
            )
            slope = sum(
                float(jnp.sum(g * w))
                for g, w in zip(jax.tree.leaves(grads), jax.tree.leaves(way), strict=True)
            )
            assert (up - down) / 2e-4 == pytest.approx(slope, rel=2e-2, abs=5e-3)


def test_features_are_the_cls_token_or_the_mean():
    mean = dataclasses.replace(ENCODER, prefix_tokens=0, pooling="mean")
    for encoder in (ENCODER, mean):
        obj = objective(encoder)
        params = noisy(obj.init(jax.random.key(0)))
        video = jnp.asarray(batch(2)["video"])
        model = obj.module(params).encoder
        tokens = model(vit.patchify(video, encoder), with_prefix=True)
        want = tokens[:, 0] if encoder.pooling == "cls" else tokens.mean(1)
        np.testing.assert_allclose(obj.watched(params, video), want, atol=1e-5)
        assert np.isfinite(float(apply(obj.loss, params, batch(), keys(4))[0]))


def test_pictures_show_the_clip_and_two_views():
    obj = objective()
    rows = np.asarray(apply(obj.images, obj.init(jax.random.key(0)), batch(2), jax.random.key(1)))
    assert rows.shape == (2, 3, 4, 48, 48, 3) and rows.dtype == np.uint8
    np.testing.assert_array_equal(rows[:, 0], batch(2)["video"])
    dropped = (rows == 128).all(-1).mean((0, 2, 3, 4))
    assert 0.74 < dropped[1] < 0.76  # of 36 cells a frame
    assert 0.94 < dropped[2] < 0.95  # half of 4 of 36 cells are seen
    assert (rows[:, 2, :, 16:] == 128).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"local_side": 4}, "local_side=4: .* patches of 8 pixels, at least one"),
        ({"local_side": 20}, "local_side=20"),
        ({"local_side": 64}, "no larger than the clip's 48"),
        ({"local_drop": 0.98}, "local_drop=0.98 keeps 0 of a view's 16 tokens"),
        ({"global_drop": 1.0}, "global_drop=1.0 keeps 0 of a view's 144 tokens"),
        ({"global_drop": -0.1}, "global_drop=-0.1"),
        ({"local_views": 0}, "local_views=0: give at least 1"),
        ({"local_area": (0.5, 0.2)}, "area of a view"),
    ],
)
def test_views_that_leave_nothing_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        objective(**changes)


def test_a_batch_of_one_is_refused():
    obj = objective()
    params = obj.init(jax.random.key(0))
    with pytest.raises(ValueError, match="batch_size=1 has one: give at least 2"):
        jax.eval_shape(obj.loss, params, batch(1), keys(1))


def test_pooling_by_a_token_that_is_not_there():
    with pytest.raises(ValueError, match="model.prefix_tokens=1"):
        dataclasses.replace(ENCODER, prefix_tokens=0)


def test_its_cost_by_hand():
    def block(n):
        return n * 24 * (8 * 24 + 4 * 48) + 4 * n * n * 24

    head = 2 * 24 * 16 + 2 * 16 * 6 + 2 * 6 * 8
    large = 2 * (2 * 36 * 24 * 192) + 3 * (2 * block(36 + 1) + head)
    small = 2 * (2 * 8 * 24 * 192) + 3 * (2 * block(8 + 1) + head)
    assert objective().flops() == pytest.approx(large + 3 * small, rel=1e-12)
