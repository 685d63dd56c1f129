"""Rematerialisation policies: the same gradients, and only what they name is kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax._src.cudnn import fused_attention_stablehlo

from surgrec_jax import sharding
from surgrec_jax.models import remat
from surgrec_jax.models.layers import Stack
from surgrec_jax.models.presets import Compute, ViTConfig

CONFIG = ViTConfig(16, 3, 2, 64)


def loss_of(text):
    stack = Stack(CONFIG, Compute(remat=text), rngs=nnx.Rngs(0))
    graph, params = nnx.split(stack)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 5, 16)), jnp.float32)
    return (lambda p: jnp.sum(nnx.merge(graph, p)(x, segments=(3, 2)) ** 2)), params


def test_every_policy_gives_the_same_gradients():
    expected = None
    for text in ("none", "dots", "names:qkv,attention", "offload:layer"):
        loss, params = loss_of(text)
        gradients = jax.tree.leaves(jax.jit(jax.grad(loss))(params))
        expected = expected or gradients
        for a, b in zip(gradients, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)


def kept(text, capsys):
    """Shapes of what the scan over layers keeps for the backward pass, beside its inputs."""
    loss, params = loss_of(text)
    jax.ad_checkpoint.print_saved_residuals(loss, params)
    lines = capsys.readouterr().out.splitlines()
    return sorted(
        line.split()[0].partition("[")[2].partition("]")[0]
        for line in lines
        if "from the argument" not in line and "f32[3," in line.split()[0]
    )


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("full", ["3,2,5,16"]),  # the layer's input
        ("names:hidden", ["3,2,5,16", "3,2,5,64"]),
        # Two segments, 3 and 2 tokens of 2 heads of 8.
        ("names:qkv,attention", ["3,2,2,2,8", "3,2,3,2,8", "3,2,5,16", "3,2,5,48"]),
    ],
)
def test_only_what_is_named_is_kept(text, shapes, capsys):
    assert kept(text, capsys) == shapes


def test_no_copy_of_weights_and_nothing_inside_gelu_is_kept(capsys):
    shapes = kept("none", capsys)
    _, params = loss_of("none")
    weights = {",".join(map(str, p.shape)) for p in jax.tree.leaves(params) if p.ndim == 3}
    assert weights and not weights & set(shapes)
    hidden = [shape for shape in shapes if shape.endswith(",64")]  # of 2 clips of 5 tokens
    assert sorted(hidden) == ["3,10,64", "3,2,5,64"]  # what GELU gives, as rows, and takes


def test_no_product_on_a_cpu_has_both_sides_transposed():
    loss, params = loss_of("none")
    text = jax.jit(jax.grad(loss)).lower(params).compile().as_text()
    products = [line for line in text.splitlines() if " dot(" in line]
    assert len(products) > 10
    for line in products:
        assert not ("lhs_contracting_dims={0}" in line and "rhs_contracting_dims={1}" in line), line


def test_layers_that_are_gathered_are_not_kept():
    policy = remat.POLICIES["none"]
    weight = jnp.ones((8, 8))  # [D, D]

    def loss(x):  # [B, D] x [D, D]: the gradient of x needs the weights again
        body = lambda x, w: x @ sharding.gather({"w": w}, jnp.float32)["w"]  # noqa: E731
        return jax.checkpoint(body, policy=policy)(x, weight).sum()

    with jax.set_mesh(sharding.make_mesh(8)):
        jaxpr = str(jax.make_jaxpr(jax.grad(loss))(jnp.ones((8, 8))))
    backward = jaxpr[jaxpr.index("remat") :]
    assert "sharding_constraint" in backward and "gathered" in backward


def test_the_fused_gpu_kernel_is_not_run_again_where_attention_is_kept():
    # JAX's own, private: a policy knows the kernel by this primitive's name.
    kernel = fused_attention_stablehlo._dot_product_attention_fwd_p_wrapper
    keeping = [
        t
        for t in ("dots", "names:attention,qkv", "names:qkv", "full", "none")
        if remat.policy(t)(kernel)
    ]
    assert keeping == ["dots", "names:attention,qkv", "none"]


@pytest.mark.parametrize("text", ["some", "names:", "names:qkv,colour", "offload:", ""])
def test_an_unknown_policy(text):
    with pytest.raises(ValueError, match="compute.remat=.*'dots'.*layer,qkv,attention,hidden"):
        remat.policy(text)
