"""Schedules, weight decay, clipping and EMA against NumPy."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax import optim


def constant(value):
    return lambda step: value


def test_warmup_cosine():
    schedule = optim.warmup_cosine(0.1, 1.0, 0.2, warmup=10, total=110)
    for step in range(130):
        if step < 10:
            expected = 0.1 + 0.9 * step / 10
        else:
            progress = min((step - 10) / 100, 1)
            expected = 0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * progress))
        assert float(schedule(step)) == pytest.approx(expected, rel=1e-5)


def test_warmup_constant_with_cooldown():
    schedule = optim.warmup_constant(0.0, 2.0, 0.5, warmup=4, total=20, cooldown=6)
    got = [float(schedule(step)) for step in range(22)]
    down = [2 - 1.5 * i / 6 for i in range(6)]
    assert got == pytest.approx([0, 0.5, 1, 1.5, *[2] * 10, *down, 0.5, 0.5], rel=1e-6)


def test_cosine_goes_both_ways():
    schedule = optim.cosine(0.04, 0.4, 100)
    assert [float(schedule(s)) for s in (0, 50, 100, 120)] == pytest.approx([0.04, 0.22, 0.4, 0.4])


def test_warmup_longer_than_the_run_is_refused():
    with pytest.raises(ValueError, match="30 of 20 steps"):
        optim.warmup_cosine(0, 1, 0, warmup=30, total=20)


def params():
    rng = np.random.default_rng(0)

    def array(*shape):
        return rng.standard_normal(shape).astype(np.float32)

    return {
        "encoder": {"fc": {"kernel": array(2, 3, 4), "bias": array(2, 4)}},
        "decoder": {"mask_tokens": array(2, 5), "norm": {"scale": array(4)}},
    }


def test_adamw_is_the_published_algorithm_with_the_recipes_mask():
    adamw = optim.AdamW(
        lr=lambda step: 0.1 / (1 + step),
        weight_decay=lambda step: 0.3 * (step + 1),
        decayed=("kernel", "mask_tokens"),
        b1=0.9,
        b2=0.95,
    )
    tx = adamw.build()
    p = params()
    state = tx.init(p)
    flat = {
        ("encoder", "fc", "kernel"): True,
        ("encoder", "fc", "bias"): False,
        ("decoder", "mask_tokens"): True,
        ("decoder", "norm", "scale"): False,
    }

    def leaf(tree, path):
        for key in path:
            tree = tree[key]
        return np.asarray(tree)

    moments = dict.fromkeys(flat, (0.0, 0.0))
    expected = {path: leaf(p, path).astype(np.float64) for path in flat}
    rng = np.random.default_rng(1)
    import jax
    import optax

    for step in range(4):
        grads = jax.tree.map(lambda x: rng.standard_normal(x.shape).astype(np.float32), p)
        updates, state = tx.update(grads, state, p)
        p = optax.apply_updates(p, updates)
        for path, decays in flat.items():
            g = leaf(grads, path)
            m, v = moments[path]
            m, v = 0.9 * m + 0.1 * g, 0.95 * v + 0.05 * g * g
            moments[path] = m, v
            direction = (m / (1 - 0.9 ** (step + 1))) / (
                np.sqrt(v / (1 - 0.95 ** (step + 1))) + 1e-8
            )
            if decays:
                direction = direction + 0.3 * (step + 1) * expected[path]
            expected[path] = expected[path] - 0.1 / (1 + step) * direction
            np.testing.assert_allclose(leaf(p, path), expected[path], rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("per_module", [False, True])
def test_clipping(per_module):
    grads = {"encoder": {"a": jnp.array([3.0, 4.0])}, "predictor": {"b": jnp.array([0.3, 0.4])}}
    clip = optim.clip_by_norm(1.0, per_module=per_module)
    clipped, _ = clip.update(grads, clip.init(grads))
    scale = 1 / 5 if per_module else 1 / math.sqrt(25.25)
    np.testing.assert_allclose(clipped["encoder"]["a"], np.array([3, 4]) * scale, rtol=1e-6)
    small = 1.0 if per_module else scale
    np.testing.assert_allclose(clipped["predictor"]["b"], np.array([0.3, 0.4]) * small, rtol=1e-6)


def test_ema():
    target, new = {"a": jnp.array([1.0, 2.0])}, {"a": jnp.array([3.0, -2.0])}
    got = optim.ema(target, new, jnp.float32(0.75))["a"]
    np.testing.assert_allclose(got, 0.75 * np.array([1.0, 2]) + 0.25 * np.array([3.0, -2]))


def test_ema_sees_steps_that_bfloat16_would_lose():
    target, new = {"a": jnp.ones(1)}, {"a": jnp.full(1, 1.01)}
    for _ in range(100):
        target = optim.ema(target, new, jnp.float32(0.99925))
    assert float(target["a"][0]) == pytest.approx(1 + 0.01 * (1 - 0.99925**100), abs=1e-6)
