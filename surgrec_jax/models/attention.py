"""Softmax attention, softmax(q k^T / sqrt(d)) v, with the implementation chosen by name.

Every implementation takes and returns [B, N, heads, head_dim] and accumulates scores in float32.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

# Below this many keys the score matrix fits in cache and chunking only costs.
CHUNKED_FROM = 512
CHUNK_SIZES = (196, 160, 128, 112, 98, 64)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, implementation: str = "auto") -> jax.Array:
    """Attention of q over k, v.

    Args:
        q: [B, Nq, H, d].
        k, v: [B, Nk, H, d].
        implementation: a name of IMPLEMENTATIONS, or "auto": "cudnn" on GPU where the kernel takes
            the shapes and dtype, "chunked" on CPU for long sequences, otherwise "einsum".

    Raises:
        ValueError: an unknown implementation.
    """
    if implementation == "auto":
        implementation = choose(q, k, jax.default_backend())
    if implementation not in IMPLEMENTATIONS:
        names = ("auto", *IMPLEMENTATIONS)
        raise ValueError(f"compute.attention={implementation!r}: choose from {names}")
    return IMPLEMENTATIONS[implementation](q, k, v)


def choose(q: jax.Array, k: jax.Array, backend: str) -> str:
    """The implementation "auto" means for these shapes on this backend."""
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    head_dim = q.shape[-1]
    even = q.shape[1] % 2 == 0 and k.shape[1] % 2 == 0
    if backend in ("gpu", "cuda") and half and head_dim % 8 == 0 and head_dim <= 128 and even:
        return "cudnn"
    if backend == "cpu" and k.shape[1] >= CHUNKED_FROM and chunk_size(q.shape[1]):
        return "chunked"
    return "einsum"


def einsum_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """The formula as written; holds the [B, H, Nq, Nk] weights for the backward pass."""
    q = q * q.shape[-1] ** -0.5
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def cudnn_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """cuDNN's fused kernel: bf16 or fp16, head size a multiple of 8 up to 128, even lengths."""
    return jax.nn.dot_product_attention(q, k, v, implementation="cudnn")


def chunk_size(length: int) -> int | None:
    """The largest of CHUNK_SIZES that divides a sequence, None where none does."""
    return next((c for c in CHUNK_SIZES if length % c == 0 and length > c), None)


def chunked_attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention over chunks of queries with a backward pass that recomputes the weights.

    Memory is O(chunk x Nk) instead of O(Nq x Nk), which on a CPU means cache instead of RAM
    (the backward pass follows Dao et al. 2022, "FlashAttention", section 3.1, without key tiles).

    Raises:
        ValueError: no chunk size divides the number of queries.
    """
    chunk = chunk_size(q.shape[1])
    if chunk is None:
        raise ValueError(
            f"chunked attention cannot divide {q.shape[1]} queries by any of {CHUNK_SIZES}; "
            "use compute.attention=einsum"
        )
    q = q * q.shape[-1] ** -0.5
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))  # [B, H, N, d]
    return _chunked(chunk, q, k, v).transpose(0, 2, 1, 3)


def _split(x: jax.Array, chunk: int) -> jax.Array:
    b, h, n, d = x.shape
    return x.reshape(b, h, n // chunk, chunk, d).transpose(2, 0, 1, 3, 4)  # [C, B, H, chunk, d]


def _join(x: jax.Array) -> jax.Array:
    c, b, h, chunk, d = x.shape
    return x.transpose(1, 2, 0, 3, 4).reshape(b, h, c * chunk, d)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.matmul(q, k.swapaxes(-1, -2), preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _chunked(chunk: int, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    return _chunked_forward(chunk, q, k, v)[0]


def _chunked_forward(chunk: int, q: jax.Array, k: jax.Array, v: jax.Array):
    def one(q_chunk):
        scores = _scores(q_chunk, k)  # [B, H, chunk, Nk]
        highest = scores.max(-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = weights.sum(-1, keepdims=True)
        out = jnp.matmul(weights.astype(v.dtype), v) / total.astype(v.dtype)
        return out, highest + jnp.log(total)

    out, log_total = jax.lax.map(one, _split(q, chunk))
    out = _join(out)
    return out, (q, k, v, out, log_total)


def _chunked_backward(chunk: int, saved, d_out: jax.Array):
    q, k, v, out, log_total = saved
    # Row sums of weights * d_weights, in float32 because they are differences of like terms.
    inner = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)

    def one(carry, inputs):
        dk, dv = carry
        q_c, d_c, log_total_c, inner_c = inputs
        weights = jnp.exp(_scores(q_c, k) - log_total_c)  # [B, H, chunk, Nk]
        dv = dv + jnp.matmul(weights.astype(v.dtype).swapaxes(-1, -2), d_c)
        d_weights = jnp.matmul(d_c, v.swapaxes(-1, -2), preferred_element_type=jnp.float32)
        d_scores = (weights * (d_weights - inner_c)).astype(k.dtype)
        dk = dk + jnp.matmul(d_scores.swapaxes(-1, -2), q_c)
        return (dk, dv), jnp.matmul(d_scores, k)

    zeros = jnp.zeros_like(k), jnp.zeros_like(v)
    inputs = (_split(q, chunk), _split(d_out, chunk), log_total, _split(inner, chunk))
    (dk, dv), dq = jax.lax.scan(one, zeros, inputs)
    return _join(dq), dk, dv


_chunked.defvjp(_chunked_forward, _chunked_backward)

IMPLEMENTATIONS = {
    "einsum": einsum_attention,
    "chunked": chunked_attention,
    "cudnn": cudnn_attention,
}
