"""MAE and JEPA losses against NumPy written from the recipes; gradients against differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models import vit
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import find_objective, jepa, mae, masking

MAE_ENCODER = ViTConfig(24, 2, 2, 48, num_frames=8, image_size=(32, 32), patch=8, qkv_bias="qv")
JEPA_ENCODER = ViTConfig(
    24,
    2,
    2,
    48,
    num_frames=4,
    image_size=(48, 48),
    patch=8,
    position="rope_3d",
    init="trunc_normal",
)
MAE_OPTIONS = {"decoder_depth": 1, "decoder_width": 16, "decoder_heads": 2, "mask_ratio": 0.75}
JEPA_OPTIONS = {
    "masks": (
        {"blocks": 4, "scale": 0.15, "context": 8, "target": 10},
        {"blocks": 1, "scale": 0.6, "context": 6, "target": 16},
    ),
    "predictor_depth": 1,
    "predictor_width": 16,
    "predictor_heads": 2,
}


def objective(name, **changes):
    if name == "mae":
        return find_objective("mae").from_config(MAE_ENCODER, MAE_OPTIONS | changes, Compute())
    return find_objective("jepa").from_config(JEPA_ENCODER, JEPA_OPTIONS | changes, Compute())


def batch_for(obj, size=3, seed=0):
    e = obj.encoder
    shape = (size, e.num_frames, *e.image_size, 3)
    return {"video": np.random.default_rng(seed).integers(0, 256, shape, np.uint8)}


def noisy(params, seed=0, scale=0.1):
    leaves, tree = jax.tree.flatten(params)
    rng = np.random.default_rng(seed)
    noise = [np.float32(x + scale * rng.standard_normal(x.shape)) for x in leaves]
    return jax.tree.unflatten(tree, noise)


def keys(count, seed=7):
    return jax.random.split(jax.random.key(seed), count)


def test_pixel_targets():
    tubelets = np.random.default_rng(0).integers(0, 256, (2, 5, 2 * 4 * 4 * 3), np.uint8)
    got = np.asarray(mae.pixel_targets(jnp.asarray(tubelets))).reshape(2, 5, 32, 3)
    for b in range(2):
        for n in range(5):
            for c in range(3):
                x = tubelets[b, n].reshape(32, 3)[:, c].astype(np.float64) / 255
                mean = x.sum() / 32
                std = np.sqrt(((x - mean) ** 2).sum() / 31)
                np.testing.assert_allclose(got[b, n, :, c], (x - mean) / (std + 1e-6), atol=1e-5)


def test_a_flat_patch_has_the_target_zero():
    got = np.asarray(mae.pixel_targets(jnp.full((1, 1, 96), 77, jnp.uint8)))
    np.testing.assert_allclose(got, 0, atol=1e-1)


@pytest.mark.parametrize("decoder_mask_ratio", [0.0, 0.5])
def test_mae_loss_is_the_mean_square_over_the_decoded_tokens(decoder_mask_ratio):
    obj = objective("mae", decoder_mask_ratio=decoder_mask_ratio)
    params, batch = noisy(obj.init(jax.random.key(0))), batch_for(obj)
    loss, _ = jax.jit(obj.loss)(params, batch, keys(3))
    predicted, target, ids = jax.jit(obj._predict)(params, jnp.asarray(batch["video"]), keys(3))
    hidden = 4 * int(0.75 * 16)
    assert ids.shape == (3, hidden if not decoder_mask_ratio else hidden // 2)
    tubelets = np.asarray(vit.patchify(jnp.asarray(batch["video"]), obj.encoder))
    total, count = 0.0, 0
    for b in range(3):
        for row, n in enumerate(np.asarray(ids)[b]):
            x = tubelets[b, n].reshape(-1, 3).astype(np.float64) / 255
            true = (x - x.mean(0)) / (x.std(0, ddof=1) + 1e-6)
            total += ((np.asarray(predicted)[b, row].reshape(-1, 3) - true) ** 2).sum()
            count += x.size
            np.testing.assert_allclose(np.asarray(target)[b, row].reshape(-1, 3), true, atol=1e-4)
    assert float(loss) == pytest.approx(total / count, rel=1e-5)


def test_mae_does_not_look_at_hidden_pixels():
    obj = objective("mae")
    params, batch = noisy(obj.init(jax.random.key(0))), batch_for(obj)
    predicted, _, ids = obj._predict(params, jnp.asarray(batch["video"]), keys(3))
    tubelets = np.array(vit.patchify(jnp.asarray(batch["video"]), obj.encoder))
    tubelets[np.arange(3)[:, None], np.asarray(ids)] = 13
    changed = vit.unpatchify(jnp.asarray(tubelets), obj.encoder)
    again, _, _ = obj._predict(params, changed, keys(3))
    np.testing.assert_array_equal(predicted, again)


def test_jepa_loss_is_the_mean_absolute_error_to_layer_normed_targets():
    obj = objective("jepa")
    params = noisy(obj.init(jax.random.key(0)))
    target_params = noisy(obj.target_of(params), seed=1)
    batch = batch_for(obj)
    loss, metrics = jax.jit(obj.loss)(params, batch, keys(3), target_params)

    tokens = np.asarray(
        vit.encode(obj.encoder, Compute(), target_params["encoder"], batch["video"]), np.float64
    )
    tokens = (tokens - tokens.mean(-1, keepdims=True)) / np.sqrt(
        tokens.var(-1, keepdims=True) + 1e-5
    )
    model = obj.module(params)
    tubelets = vit.patchify(jnp.asarray(batch["video"]), obj.encoder)
    both = jax.vmap(lambda key: jax.random.split(key, 2))(keys(3))
    losses = []
    for i, mask in enumerate(obj.options.masks):
        context, target = masking.multi_block_mask(both[:, i], obj.encoder.grid, mask)
        seen = model.encoder(vit.take_tokens(tubelets, context), context)
        [predicted], _ = model.predictor(seen, [context], [target], [i])
        errors = [
            np.abs(np.asarray(predicted)[b, row] - tokens[b, n])
            for b in range(3)
            for row, n in enumerate(np.asarray(target)[b])
        ]
        losses.append(np.mean(errors))
        assert float(metrics[f"loss_mask{i}"]) == pytest.approx(losses[-1], rel=1e-5)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_jepa_gradient_does_not_reach_the_target():
    obj = objective("jepa")
    params = obj.init(jax.random.key(0))
    batch = batch_for(obj)
    loss = jax.jit(jax.grad(lambda target: obj.loss(params, batch, keys(3), target)[0]))
    grads = loss(noisy(obj.target_of(params)))
    assert all(float(jnp.abs(g).max()) == 0 for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_gradients_agree_with_finite_differences(name):
    """Along random directions, in float64: d loss / d direction by central differences."""
    with jax.enable_x64(True):
        obj = find_objective(name).from_config(
            MAE_ENCODER if name == "mae" else JEPA_ENCODER,
            dict(MAE_OPTIONS if name == "mae" else JEPA_OPTIONS),
            Compute(dtype=jnp.float64),
        )
        params = jax.tree.map(
            lambda x: np.asarray(x, np.float64), noisy(obj.init(jax.random.key(0)))
        )
        target = noisy(obj.target_of(params), seed=5)
        target = jax.tree.map(lambda x: np.asarray(x, np.float64), target)
        batch, ks = batch_for(obj, 2), keys(2)

        @jax.jit
        def loss(params):
            return obj.loss(params, batch, ks, target)[0]

        grads = jax.jit(jax.grad(loss))(params)
        rng = np.random.default_rng(3)
        for _ in range(3):
            way = jax.tree.map(lambda x: rng.standard_normal(x.shape), params)
            up = float(loss(jax.tree.map(lambda p, w: p + 1e-4 * w, params, way)))
            down = float(loss(jax.tree.map(lambda p, w: p - 1e-4 * w, params, way)))
            slope = sum(
                float(jnp.sum(g * w))
                for g, w in zip(jax.tree.leaves(grads), jax.tree.leaves(way), strict=True)
            )
            # The loss itself is computed in float32, which bounds the differences' precision.
            assert (up - down) / 2e-4 == pytest.approx(slope, rel=2e-2, abs=5e-3)


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_a_causal_encoder_trains_under_every_mask(name):
    """Its weights are shaped as those of a full one, and the same weights give another loss."""
    full = objective(name)
    encoder = dataclasses.replace(full.encoder, attention="block_causal")
    options = MAE_OPTIONS if name == "mae" else JEPA_OPTIONS
    causal = find_objective(name).from_config(encoder, options, Compute())
    params, batch = noisy(full.init(jax.random.key(0))), batch_for(full)
    losses = [
        float(jax.jit(obj.loss)(params, batch, keys(3), full.target_of(params))[0])
        for obj in (full, causal)
    ]
    assert np.isfinite(losses).all() and abs(losses[0] - losses[1]) > 1e-4


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_pictures_show_the_clip_and_fill_it(name):
    obj = objective(name)
    params, batch = obj.init(jax.random.key(0)), batch_for(obj, 2)
    rows = obj.images(params, batch, jax.random.key(1), obj.target_of(params))
    assert rows.dtype == jnp.uint8
    assert rows.shape == (2, 3 if name == "mae" else 2, *batch["video"].shape[1:])
    np.testing.assert_array_equal(rows[:, 0], batch["video"])
    if name == "mae":
        grey = np.asarray(rows[:, 1]) == 128
        assert 0.74 < grey.all(-1).mean() < 0.77
        seen = ~grey
        np.testing.assert_array_equal(np.asarray(rows[:, 2])[seen], batch["video"][seen])


def test_a_perfect_prediction_redraws_the_clip(monkeypatch):
    """Undoing the target's normalisation gives the pixels back."""
    obj = objective("mae")
    batch = batch_for(obj, 2)
    real = obj._predict

    def perfect(params, video, ks):
        _, target, ids = real(params, video, ks)
        return target, target, ids

    monkeypatch.setattr(obj, "_predict", perfect)
    rows = obj.images(obj.init(jax.random.key(0)), batch, jax.random.key(1))
    np.testing.assert_allclose(np.asarray(rows[:, 2], int), np.asarray(batch["video"], int), atol=1)


@pytest.mark.parametrize(("ratio", "message"), [(0.0, "hides 0 of 16"), (1.0, "hides 16 of 16")])
def test_mae_refuses_to_hide_nothing_or_everything(ratio, message):
    with pytest.raises(ValueError, match=message):
        objective("mae", mask_ratio=ratio)


def test_jepa_refuses_masks_that_do_not_fit():
    masks = ({"blocks": 2, "scale": 0.7, "context": 30, "target": 30},)
    with pytest.raises(ValueError, match="6 x 6 grid"):
        objective("jepa", masks=masks)


def test_unknown_objective():
    with pytest.raises(ValueError, match="'simclr'"):
        find_objective("simclr").from_config(MAE_ENCODER, {}, Compute())


def test_layer_norm_has_no_affine_part():
    x = np.random.default_rng(0).standard_normal((2, 3, 24)) * 5 + 2
    got = jepa.layer_norm(jnp.asarray(x))
    np.testing.assert_allclose(np.asarray(got).mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(got).std(-1), 1, atol=1e-4)
