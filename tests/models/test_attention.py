"""Every attention implementation against the formula in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from surgrec_jax.models import attention


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
    if name == "chunked" and attention.chunk_size(sizes[0]) is None:
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
    ],
)
def test_auto(backend, dtype, length, head_dim, expected):
    x = jax.ShapeDtypeStruct((2, length, 4, head_dim), dtype)
    assert attention.choose(x, x, backend) == expected
