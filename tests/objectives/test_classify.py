"""Fine-tuning's objective: targets, drop path, accumulation, learning rates per layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

from surgrec_jax import optim, train_state
from surgrec_jax.models.layers import drop_path_scales
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import Question, find_objective

ENCODER = ViTConfig(24, 3, 2, 48, num_frames=4, image_size=(16, 16), patch=8, init="trunc_normal")
PHASE = Question(("phase",), ("a", "b", "c"))
TOOLS = Question(("tool_x", "tool_y"), ("x", "y"))
PLAIN = {
    "drop_path": 0.0,
    "label_smoothing": 0.0,
    "erasing": 0.0,
    "mixing": {"mixup": 0.0, "cutmix": 0.0},
}


def objective(question=PHASE, **changes):
    return find_objective("classify").from_config(
        ENCODER, PLAIN | changes, Compute(), question=question
    )


def batch_of(size=8, tracks=1, seed=0, classes=3):
    rng = np.random.default_rng([seed])
    video = rng.integers(0, 256, (size, 4, 16, 16, 3)).astype(np.uint8)
    return {"video": video, "label": rng.integers(0, classes, (size, tracks)).astype(np.int32)}


def keys(size=8, seed=0):
    return jax.random.split(jax.random.key(seed), size)


@functools.cache  # compiled once per objective
def compiled(one):
    return jax.jit(lambda p, batch, keys: one.loss(p, one.prepare(batch, keys, 0), keys)[0])


def loss_of(one, params, batch, seed=0):
    return float(compiled(one)(params, batch, keys(len(batch["video"]), seed)))


def prepared(one, batch):
    return jax.jit(one.prepare)(batch, keys())


BARE = objective()


@pytest.fixture(scope="module")
def params():
    made = jax.jit(BARE.init)(jax.random.key(1))
    made["head"]["linear"]["kernel"] *= 50  # so that classes differ
    return made


def test_loss_is_the_mean_cross_entropy_and_unlabelled_clips_add_nothing(params):
    one, batch = BARE, batch_of()
    logits = np.asarray(jax.jit(one.logits)(params, batch["video"]), np.float64)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    each = -logs[np.arange(8), batch["label"][:, 0]]
    assert loss_of(one, params, batch) == pytest.approx(each.mean(), rel=1e-4)
    batch["label"][[1, 5]] = -1
    assert loss_of(one, params, batch) == pytest.approx(np.delete(each, [1, 5]).sum() / 8, rel=1e-4)


@pytest.mark.slow
def test_multi_label_loss_is_the_mean_over_labels():
    one, batch = objective(TOOLS), batch_of(tracks=2, classes=2)
    params = jax.jit(one.init)(jax.random.key(1))
    params["head"]["linear"]["kernel"] *= 50
    batch["label"][0, 1] = -1
    logits = np.asarray(jax.jit(one.logits)(params, batch["video"]), np.float64)
    y = batch["label"]
    each = np.where(y < 0, 0, np.logaddexp(0, logits) - y * logits)
    assert loss_of(one, params, batch) == pytest.approx(each.mean(), rel=1e-4)


def test_label_smoothing_moves_the_targets():
    batch = batch_of()
    batch["label"][2] = -1
    found = prepared(objective(label_smoothing=0.3), batch)
    expected = 0.7 * np.eye(3)[batch["label"][:, 0]] + 0.1
    rows = np.arange(8) != 2
    np.testing.assert_allclose(found["target"][rows], expected[rows], atol=1e-6)
    np.testing.assert_array_equal(found["weight"][:, 0], rows)
    tools = batch_of(tracks=2, classes=2)
    found = prepared(objective(TOOLS, label_smoothing=0.3), tools)
    np.testing.assert_allclose(
        found["target"], np.where(tools["label"] == 1, 0.85, 0.15), atol=1e-6
    )


@pytest.mark.slow
def test_a_clip_mixed_with_an_unlabelled_one_weighs_nothing():
    batch = batch_of()
    batch["label"][1] = -1
    found = prepared(objective(mixing={"mixup": 0.8, "cutmix": 0.0}), batch)
    assert found["weight"][:, 0].tolist() == [1, 0, 1, 1, 1, 1, 0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"drop_path": 0.5},
        {"label_smoothing": 0.1},
        pytest.param({"erasing": 1.0}, marks=pytest.mark.slow),
        pytest.param({"mixing": {"mixup": 0.8, "cutmix": 0.0}}, marks=pytest.mark.slow),
        pytest.param({"mixing": {"mixup": 0.0, "cutmix": 1.0}}, marks=pytest.mark.slow),
    ],
    ids=["drop path", "smoothing", "erasing", "mixup", "cutmix"],
)
def test_each_regularisation_is_really_applied(params, change):
    plain, with_it = BARE, objective(**change)
    batch = batch_of()
    value = loss_of(with_it, params, batch, seed=1)
    assert abs(value - loss_of(plain, params, batch, seed=1)) > 1e-4
    assert value == loss_of(with_it, params, batch, seed=1)
    if "label_smoothing" not in change:  # the others draw by the keys
        assert value != loss_of(with_it, params, batch, seed=2)


def test_drop_path_rises_with_depth_and_keeps_the_mean():
    scales = np.asarray(drop_path_scales(keys(4000), 3, 0.4))
    assert scales.shape == (3, 2, 4000)
    np.testing.assert_allclose((scales == 0).mean(-1), [[0, 0], [0.2, 0.2], [0.4, 0.4]], atol=0.04)
    np.testing.assert_allclose(scales.mean(-1), 1, atol=0.07)
    np.testing.assert_allclose(scales[2].max(), 1 / 0.6, rtol=1e-6)


def test_a_dropped_block_leaves_its_input(params):
    one, batch = BARE, batch_of(2)
    keep = jnp.ones((3, 2, 2)).at[1:, :, 1].set(0.0)  # of the second clip only the first block
    logits = jax.jit(one.logits)
    whole, partly = logits(params, batch["video"]), logits(params, batch["video"], keep)
    np.testing.assert_allclose(whole[0], partly[0], rtol=1e-5)
    cut = jax.tree.map(lambda x: x, params)
    layers = cut["encoder"]["blocks"]["layers"]
    for name, part in (("attn", "proj"), ("mlp", "fc2")):
        layers[name][part] = {k: v.at[1:].set(0.0) for k, v in layers[name][part].items()}
    np.testing.assert_allclose(logits(cut, batch["video"])[1], partly[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_accumulation_and_the_batch_order_of_devices_change_nothing(params):
    one = objective(
        drop_path=0.3, erasing=0.5, label_smoothing=0.1, mixing={"mixup": 0.8, "cutmix": 1.0}
    )
    tx = optax.sgd(0.1)
    state = {"step": jnp.int32(3), "params": params, "opt_state": tx.init(params)}
    found = []
    for accum in (1, 4):
        step = jax.jit(train_state.make_train_step(one, tx, seed=5, accum_steps=accum))
        found.append(step(state, batch_of())[0]["params"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), *found)
    assert (
        np.abs(found[0]["head"]["linear"]["kernel"] - params["head"]["linear"]["kernel"]).max() > 0
    )


def trained(noise, steps=120, size=32, pool=480):
    """Accuracy on new clips whose brightness shows a class, which the label is but for noise."""
    shown, label = {}, {}
    for part in (0, 1):
        rng = np.random.default_rng([7, part])
        truth = rng.integers(0, 3, pool)
        video = rng.integers(0, 60, (pool, 4, 16, 16, 3)) + 90 * truth[:, None, None, None, None]
        other = (truth + rng.integers(1, 3, pool)) % 3
        shown[part] = video.astype(np.uint8)
        label[part] = np.where(rng.random(pool) < noise, other, truth).astype(np.int32)
    one = objective(drop_path=0.1, label_smoothing=0.1)
    adamw = optim.AdamW(
        lr=lambda step: 3e-3, weight_decay=lambda step: 0.05, decayed=one.decayed, layer_decay=0.75
    )
    tx = adamw.build()
    params = jax.jit(one.init)(jax.random.key(2))
    state = {"step": jnp.int32(0), "params": params, "opt_state": tx.init(params)}
    step = jax.jit(train_state.make_train_step(one, tx, seed=0))
    rng = np.random.default_rng([8])
    for _ in range(steps):
        rows = rng.integers(0, pool, size)
        state, _ = step(state, {"video": shown[0][rows], "label": label[0][rows, None]})
    said = np.asarray(jax.jit(one.logits)(state["params"], shown[1])).argmax(-1)
    return (said == label[1]).mean() * pool, pool


@pytest.mark.slow
def test_label_noise_gives_the_accuracy_computed_by_hand_and_shuffled_labels_chance():
    for noise, expected in ((0.3, 0.7), (2 / 3, 1 / 3)):  # other classes twice of three: chance
        right, pool = trained(noise)
        low, high = stats.binom.interval(0.9999, pool, expected)
        assert low <= right <= high, (noise, right)


def test_learning_rates_per_layer(params):
    rates = optim.layer_rates(params, 0.5)
    layers = rates["encoder"]["blocks"]["layers"]
    assert layers["attn"]["qkv"]["kernel"].ravel().tolist() == [0.125, 0.25, 0.5]
    assert layers["norm1"]["scale"].ravel().tolist() == [0.125, 0.25, 0.5]
    assert rates["encoder"]["patch_embed"]["kernel"].ravel().tolist() == [0.0625]
    assert rates["encoder"]["norm"]["scale"].ravel().tolist() == [1]
    assert rates["head"]["linear"]["kernel"].ravel().tolist() == [1]
    # AdamW's first step is the rate itself, whatever the gradient.
    adamw = optim.AdamW(
        lr=lambda step: 0.1, weight_decay=lambda step: 0.0, decayed=("kernel",), layer_decay=0.5
    )
    tx = adamw.build()
    grads = jax.tree.map(jnp.ones_like, params)
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    moved = updates["encoder"]["blocks"]["layers"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_allclose(-moved[:, 0, 0], [0.0125, 0.025, 0.05], rtol=1e-4)
    np.testing.assert_allclose(-updates["head"]["linear"]["bias"], 0.1, rtol=1e-4)


def test_impossible_options_are_refused():
    with pytest.raises(ValueError, match="drop_path=1.0"):
        objective(drop_path=1.0)
    with pytest.raises(ValueError, match="needs two"):
        objective(Question(("phase",), ("only",)))
