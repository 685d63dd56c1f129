"""Every attention implementation against the formula in float64."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax import sharding
from surgrec_jax.models import attention, chunked, splash


def reference(q, k, v):
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(q.shape[-1])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bhqk,bkhd->bqhd", weights, v)


def random_qkv(queries, keys, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((2, queries, 3, 8), (2, keys, 3, 8), (2, keys, 3, 8))
    return tuple(rng.standard_normal(s).astype(np.float32) for s in shapes)


@pytest.mark.parametrize("name", ["einsum", "chunked"])
@pytest.mark.parametrize("sizes", [(196, 196), (392, 640), (256, 100)])
def test_forward(name, sizes):
    if name == "chunked" and chunked.chunk_size(sizes[0]) is None:
        sizes = (sizes[0] * 2, sizes[1])
    q, k, v = random_qkv(*sizes)
    np.testing.assert_allclose(attention.attend(q, k, v, name), reference(q, k, v), atol=3e-6)


def test_chunked_gradients_are_those_of_the_formula():
    q, k, v = random_qkv(320, 256, seed=1)
    weight = np.random.default_rng(2).standard_normal(q.shape).astype(np.float32)

    def loss(name):
        return lambda *qkv: jnp.sum(attention.attend(*qkv, name) * weight)

    chunked = jax.grad(loss("chunked"), argnums=(0, 1, 2))(q, k, v)
    whole = jax.grad(loss("einsum"), argnums=(0, 1, 2))(q, k, v)
    for a, b in zip(chunked, whole, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_chunked_refuses_what_it_cannot_divide():
    q, k, v = random_qkv(101, 101)
    with pytest.raises(ValueError, match="101 queries"):
        attention.attend(q, k, v, "chunked")


def test_unknown_implementation():
    with pytest.raises(ValueError, match="'flsh'.*einsum"):
        attention.attend(*random_qkv(8, 8), "flsh")


@pytest.mark.parametrize(
    ("backend", "dtype", "length", "head_dim", "expected"),
    [
        ("gpu", jnp.bfloat16, 1568, 64, "cudnn"),
        ("gpu", jnp.float32, 1568, 64, "einsum"),
        ("gpu", jnp.bfloat16, 1569, 64, "einsum"),
        ("gpu", jnp.bfloat16, 1568, 136, "einsum"),
        ("cpu", jnp.float32, 1568, 64, "chunked"),
        ("cpu", jnp.float32, 160, 64, "einsum"),
        ("cpu", jnp.float32, 1571, 64, "einsum"),
        ("tpu", jnp.bfloat16, 160, 64, "einsum"),
        ("tpu", jnp.bfloat16, 1568, 64, "splash"),
    ],
)
def test_auto(backend, dtype, length, head_dim, expected):
    x = jax.ShapeDtypeStruct((2, length, 4, head_dim), dtype)
    assert attention.choose(x, x, backend) == expected


def test_splash_and_its_gradients_are_those_of_the_formula():
    """The TPU kernel, interpreted: 200 tokens are padded to 256, which real tokens do not see."""
    q, k, v = random_qkv(200, 200, seed=3)
    weight = np.random.default_rng(4).standard_normal(q.shape).astype(np.float32)

    def run(name):
        loss = lambda *qkv: jnp.sum(attention.attend(*qkv, name) * weight)  # noqa: E731
        return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2)))(q, k, v)

    (value, gradients), (expected, wanted) = run("splash"), run("einsum")
    assert float(value) == pytest.approx(float(expected), rel=1e-5)
    for a, b in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=5e-6)


@pytest.mark.parametrize("name", ["splash", "chunked"])
def test_clips_that_do_not_divide_over_the_devices_go_without_the_kernel(name):
    """As the pictures of a run on many devices; its batches divide."""
    q, k, v = random_qkv(256, 256)  # two clips
    with jax.set_mesh(sharding.make_mesh()):
        got = jax.jit(lambda *qkv: attention.attend(*qkv, name))(q, k, v)
    np.testing.assert_allclose(got, reference(q, k, v), atol=3e-6)


def test_splash_tiles():
    for length, padded, block in ((1568, 1664, 128), (1184, 1280, 640), (2048, 2048, 1024)):
        assert splash.padded_length(length) == padded
        assert splash.block_size(padded) == block


def test_splash_refuses_queries_of_another_length():
    with pytest.raises(ValueError, match="self-attention"):
        attention.attend(*random_qkv(8, 16), "splash")


@pytest.mark.parametrize(
    ("name", "platform", "capability", "dtype", "message"),
    [
        ("auto", "gpu", "7.5", jnp.bfloat16, r"T4 \(compute capability 7.5\) has no cuDNN flash"),
        ("cudnn", "gpu", "7.0", jnp.float16, "compute.attention=einsum"),
        ("auto", "gpu", "7.5", jnp.float32, None),
        ("auto", "gpu", "9.0", jnp.bfloat16, None),
        ("einsum", "gpu", "7.5", jnp.bfloat16, None),
        ("splash", "gpu", "9.0", jnp.bfloat16, "a kernel for TPUs"),
        ("cudnn", "cpu", None, jnp.float32, "a kernel for GPUs"),
        ("splash", "cpu", None, jnp.float32, None),
        ("flsh", "cpu", None, jnp.float32, "'flsh'"),
    ],
)
def test_devices_without_the_kernel_are_refused(name, platform, capability, dtype, message):
    device = types.SimpleNamespace(
        platform=platform, device_kind="Tesla T4", compute_capability=capability
    )
    if message is None:
        attention.check_device(name, dtype, device)
    else:
        with pytest.raises(ValueError, match=message):
            attention.check_device(name, dtype, device)
