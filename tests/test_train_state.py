"""The training step: exactness over devices, microbatches and broken numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax import optim, sharding, train_state
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives import find_objective

ENCODER = ViTConfig(
    48,
    2,
    4,
    96,
    num_frames=4,
    image_size=(32, 32),
    patch=8,
    position="rope_3d",
    init="trunc_normal",
)
OPTIONS = {
    "mae": {"decoder_depth": 1, "decoder_width": 32, "decoder_heads": 2, "mask_ratio": 0.75},
    "jepa": {
        "masks": ({"blocks": 2, "scale": 0.2, "context": 5, "target": 5},),
        "predictor_depth": 1,
        "predictor_width": 24,
        "predictor_heads": 2,
    },
    "levjepa": {
        "local_views": 2,
        "local_side": 16,
        "global_drop": 0.5,
        "local_drop": 0.5,
        "hidden": 32,
        "outputs": 16,
        "lines": 32,
        "sigreg_weight": 5.0,
    },
}
BATCH = 16


@pytest.fixture(autouse=True)
def small_parameters_are_sharded_too(monkeypatch):
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 64)


def batch(seed):
    rng = np.random.default_rng(seed)
    return {"video": rng.integers(0, 256, (BATCH, 4, 32, 32, 3), np.uint8)}


def build(name, mesh, accum_steps=1, lr=lambda step: 1e-3):
    """What makes a state and what takes a step, as the trainer has them."""
    objective = find_objective(name).from_config(ENCODER, OPTIONS[name], Compute())
    tx = optim.AdamW(lr=lr, weight_decay=lambda s: 0.05, decayed=objective.decayed).build()
    init = train_state.make_init(objective, tx, seed=3)
    abstract, init = train_state.shard_state(init, mesh)
    step = train_state.make_train_step(
        objective, tx, seed=3, momentum=lambda s: 0.9, accum_steps=accum_steps
    )
    return init, train_state.jit_train_step(step, abstract, mesh)


def run(name, mesh, steps=4, accum_steps=1):
    with jax.set_mesh(mesh):
        init, step = build(name, mesh, accum_steps)
        state, losses = init(), []
        for i in range(steps):
            state, metrics = step(state, sharding.put_batch(batch(i), mesh))
            losses.append(float(metrics["loss"]))
    return state, losses, metrics


def mesh_of(devices, fsdp):
    return jax.make_mesh(
        (devices // fsdp, fsdp),
        sharding.BATCH_AXES,
        axis_types=(jax.sharding.AxisType.Auto,) * 2,
        devices=jax.devices()[:devices],
    )


SLOW_OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in ("jepa", "levjepa")]


def agree(name, meshes, **more):
    """The losses are those of one device, and the state is split as the mesh says."""
    _, expected, _ = run(name, mesh_of(1, 1), **more)
    assert expected[-1] < expected[0]
    for devices, fsdp in meshes:
        state, losses, _ = run(name, mesh_of(devices, fsdp), **more)
        np.testing.assert_allclose(losses, expected, rtol=1e-5)
        kernel = state["params"]["encoder"]["blocks"]["layers"]["mlp"]["fc1"]["kernel"]
        assert kernel.addressable_shards[0].data.shape == (2, 48, 96 // fsdp)


def test_any_mesh_gives_the_same_losses():
    agree("mae", [(8, 4)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "jepa", "levjepa"])
def test_twenty_steps_on_every_mesh(name):
    """One, two, four and eight devices, the state copied, split, and both."""
    agree(name, [(2, 1), (4, 4), (8, 4)], steps=20)


@pytest.mark.parametrize("name", ["mae", *SLOW_OTHERS])
def test_microbatches_give_the_whole_batchs_gradient(name):
    """Masks are drawn per clip, so accumulation only changes the order of sums; LeVJEPA's loss is
    of the whole batch's embeddings, which no mean over microbatches is."""
    _, losses, metrics = run(name, mesh_of(2, 1), steps=2)
    _, again, metrics_again = run(name, mesh_of(2, 1), steps=2, accum_steps=4)
    np.testing.assert_allclose(again, losses, rtol=1e-5)
    assert float(metrics_again["grad_norm"]) == pytest.approx(float(metrics["grad_norm"]), rel=1e-4)


def test_the_target_follows_by_ema():
    mesh = mesh_of(1, 1)
    with jax.set_mesh(mesh):
        init, step = build("jepa", mesh)
        start = init()
        target = jax.device_get(start["target_params"]["encoder"])
        state, _ = step(start, sharding.put_batch(batch(0), mesh))
    expected = jax.tree.map(
        lambda a, b: 0.9 * a + 0.1 * np.asarray(b), target, state["params"]["encoder"]
    )
    for got, want in zip(
        jax.tree.leaves(state["target_params"]["encoder"]), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_a_broken_step_changes_nothing_and_says_so():
    """The rate of the second step is no number, which breaks its parameters; the third does so."""
    mesh = mesh_of(1, 1)
    with jax.set_mesh(mesh):
        init, step = build("mae", mesh, lr=lambda step: jnp.where(step == 1, jnp.nan, 1e-3))
        state = init()
        for number in range(2):
            state, metrics = step(state, sharding.put_batch(batch(number), mesh))
            assert bool(metrics["finite"])  # a rate is no gradient: it breaks the next step
            assert int(state["step"]) == number + 1
        before = jax.device_get(state)  # the state itself is given away
        assert not np.isfinite(before["params"]["decoder"]["head"]["bias"]).all()
        after, metrics = step(state, sharding.put_batch(batch(2), mesh))
    assert not bool(metrics["finite"])
    assert int(after["step"]) == 3
    assert optim.updates(after["opt_state"]) == optim.updates(before["opt_state"]) == 2
    for a, b in zip(
        jax.tree.leaves(after["opt_state"]), jax.tree.leaves(before["opt_state"]), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_keys_are_functions_of_seed_step_and_place():
    keys = jax.random.key_data(train_state.clip_keys(0, 5, 8))
    again = jax.random.key_data(train_state.clip_keys(0, jnp.int32(5), 8))
    np.testing.assert_array_equal(keys, again)
    for other in (train_state.clip_keys(1, 5, 8), train_state.clip_keys(0, 6, 8)):
        assert not (jax.random.key_data(other) == keys).all(1).any()
    assert len(np.unique(np.asarray(keys), axis=0)) == 8


def test_an_objective_with_a_target_needs_its_momentum():
    objective = find_objective("jepa").from_config(ENCODER, OPTIONS["jepa"], Compute())
    with pytest.raises(ValueError, match="momentum"):
        train_state.make_train_step(objective, None, seed=0)
