"""LayerNorm, GELU and bias: the formulas, their gradients, and float32 inside bfloat16."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend import core

from surgrec_jax import sharding
from surgrec_jax.models import elementwise
from surgrec_jax.models.layers import Attention
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives.jepa import JEPA, JEPAOptions
from surgrec_jax.objectives.mae import MAE, MAEOptions
from surgrec_jax.objectives.masking import BlockMask

X = jnp.asarray(np.random.default_rng(0).standard_normal((4, 7, 32)) * 3, jnp.float32)
WEIGHT = jnp.asarray(np.random.default_rng(1).standard_normal(X.shape), jnp.float32)


def plain_norm(x, scale, bias):
    module = nnx.LayerNorm(32, epsilon=1e-6, use_fast_variance=False, rngs=nnx.Rngs(0))
    module.scale[...], module.bias[...] = scale, bias
    return module(x)


def gradients(function, *args):
    return jax.grad(lambda *a: jnp.sum(function(*a) * WEIGHT), range(len(args)))(*args)


def test_layer_norm_and_its_gradients_are_those_of_flax():
    x = X + 100  # a mean that the one-pass formula of the variance would suffer from
    scale, bias = jnp.linspace(-1, 2, 32), jnp.linspace(3, -1, 32)

    def ours(x, scale, bias):
        return elementwise.layer_norm(x, scale, bias, 1e-6)

    np.testing.assert_allclose(
        ours(x, scale, bias), plain_norm(x, scale, bias), rtol=1e-5, atol=1e-5
    )
    pairs = zip(gradients(ours, x, scale, bias), gradients(plain_norm, x, scale, bias), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_gelu_and_its_gradient_are_the_exact_ones():
    def exact(x):
        return jax.nn.gelu(x, approximate=False)

    np.testing.assert_allclose(elementwise.gelu(X), exact(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        gradients(elementwise.gelu, X)[0], gradients(exact, X)[0], rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    "function",
    [elementwise.gelu, lambda x: elementwise.layer_norm(x, jnp.full(32, 1.003), X[0, 0], 1e-6)],
    ids=["gelu", "layer_norm"],
)
def test_in_bfloat16_only_what_goes_in_and_out_is_rounded(function):
    half = X.astype(jnp.bfloat16)
    expected = function(half.astype(jnp.float32)).astype(jnp.bfloat16)
    assert function(half).dtype == jnp.bfloat16
    np.testing.assert_array_equal(function(half), expected)


def sums_in_half(jaxpr, found):
    """Sums over bfloat16 arrays in a program and all programs inside it."""
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "reduce_sum" and eqn.invars[0].aval.dtype == jnp.bfloat16:
            found.append(str(eqn))
        for inner in jax.tree.leaves(
            list(eqn.params.values()),
            is_leaf=lambda p: isinstance(p, core.Jaxpr | core.ClosedJaxpr),
        ):
            if isinstance(inner, core.ClosedJaxpr):
                sums_in_half(inner.jaxpr, found)
            elif isinstance(inner, core.Jaxpr):
                sums_in_half(inner, found)
    return found


ENCODER = ViTConfig(32, 2, 2, 64, image_size=(64, 64), num_frames=4)
MASKS = tuple(BlockMask(1, scale, 2, 3) for scale in (0.4, 0.5))


def objective(name):
    compute = Compute(dtype=jnp.bfloat16)
    if name == "mae":
        return MAE(ENCODER, MAEOptions(2, 32, 2, mask_ratio=0.5), compute)
    return JEPA(ENCODER, JEPAOptions(MASKS, 2, 32, 2), compute)


@pytest.mark.parametrize("name", ["mae", "jepa"])
def test_no_gradient_is_summed_in_bfloat16(name):
    one = objective(name)
    params = jax.eval_shape(one.init, jax.random.key(0))
    video = jax.ShapeDtypeStruct((2, 4, 64, 64, 3), np.uint8)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0)))
    step = jax.make_jaxpr(
        lambda p, v, k: jax.grad(lambda p: one.loss(p, {"video": v}, k, p)[0])(p)
    )(params, video, keys)
    assert sums_in_half(step.jaxpr, []) == []


def test_a_sum_in_bfloat16_would_be_found():
    step = jax.make_jaxpr(jax.grad(lambda b: jnp.sum((X.astype(jnp.bfloat16) + b) ** 2)))
    assert sums_in_half(step(jnp.zeros(32, jnp.bfloat16)).jaxpr, [])


@pytest.mark.parametrize("bias", ["qkv", "qv"])
def test_three_products_on_a_gpu_are_the_one_of_others(bias, monkeypatch):
    module = Attention(ViTConfig(32, 1, 2, 64, qkv_bias=bias), Compute(), rngs=nnx.Rngs(0))
    graph, params = nnx.split(module)
    noise = np.random.default_rng(0)
    params = jax.tree.map(lambda p: p + 0.1 * noise.standard_normal(p.shape), params)

    def both():
        def loss(params):
            return jnp.sum(nnx.merge(graph, params)(X, None, (3, 4)) * WEIGHT)

        return jax.jit(jax.value_and_grad(loss))(params)

    expected = both()
    monkeypatch.setattr(sharding, "platform", lambda: "gpu")
    for a, b in zip(jax.tree.leaves(both()), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_one_product_where_the_state_is_split(monkeypatch):
    module = Attention(ViTConfig(32, 1, 2, 64), Compute(), rngs=nnx.Rngs(0))
    monkeypatch.setattr(sharding, "platform", lambda: "gpu")

    def products(split):
        with jax.set_mesh(sharding.make_mesh(split)):
            return str(jax.make_jaxpr(module._project)(X)).count("dot_general")

    assert (products(1), products(8)) == (3, 1)
