"""Attention in blocks that stay in a CPU's cache: a head and a chunk of queries at a time.

Memory is O(chunk x Nk) instead of O(Nq x Nk). The backward pass recomputes the weights from the
rows' log-sums (after Dao et al. 2022, "FlashAttention", section 3.1, without tiles of keys).
"""

import functools

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

# 392 rows of scores with 1,568 keys are 2.5 MB, which two cores share. Smaller chunks are more
# parallel regions, larger ones leave the caches (docs/performance.md).
CHUNK_SIZES = (392, 320, 256, 196, 160, 128, 112, 98, 64)


def chunk_size(length: int) -> int | None:
    """The largest of CHUNK_SIZES that divides a sequence, None where none does."""
    return next((c for c in CHUNK_SIZES if length % c == 0 and length > c), None)


def chunked(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    q_times: jax.Array | None = None,
    k_times: jax.Array | None = None,
    *,
    chunk: int,
    name: str,
) -> jax.Array:
    """softmax(q k^T / sqrt(d)) v.

    Args:
        q: [B, Nq, H, d].
        k, v: [B, Nk, H, d].
        q_times, k_times: int32 [B, Nq] and [B, Nk], for causal attention: a query reads the keys
            whose time is not later than its own.
        chunk: queries at a time, a divisor of Nq.
        name: what remat policies call the result and the log-sums.
    """
    b, n, h, d = q.shape
    q, k, v = (
        x.transpose(0, 2, 1, 3).reshape(b * h, -1, d) for x in (q * d**-0.5, k, v)
    )  # [B H, N, d]
    times = None
    if q_times is not None:
        times = tuple(jnp.repeat(part, h, axis=0) for part in (q_times, k_times))  # [B H, N]
    return _heads(chunk, name, q, k, v, times).reshape(b, h, n, d).transpose(0, 2, 1, 3)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _heads(chunk: int, name: str, q, k, v, times) -> jax.Array:
    return _forward(chunk, name, q, k, v, times)[0]


def _forward(chunk: int, name: str, q: jax.Array, k: jax.Array, v: jax.Array, times):
    def head(inputs):
        q, k, v, times = inputs  # [N, d] each; times: [Nq] and [Nk], or None

        def one(inputs):
            q_c, times_c = inputs
            scores = _masked(_scores(q_c, k), times_c, times)  # [chunk, Nk]
            highest = scores.max(-1, keepdims=True)
            weights = jnp.exp(scores - highest)
            total = weights.sum(-1, keepdims=True)
            out = jnp.matmul(weights.astype(v.dtype), v) / total.astype(v.dtype)
            return out, highest + jnp.log(total)

        return jax.lax.map(one, (_split(q, chunk), _query_times(times, chunk)))

    out, log_total = jax.lax.map(head, (q, k, v, times))
    out = checkpoint_name(out.reshape(q.shape), name)
    log_total = checkpoint_name(log_total.reshape(*q.shape[:-1], 1), name)
    return out, (q, k, v, times, out, log_total)


def _backward(chunk: int, name: str, saved, d_out: jax.Array):
    del name
    q, k, v, times, out, log_total = saved
    # Row sums of weights * d_weights, in float32 because they are differences of like terms.
    inner = (d_out.astype(jnp.float32) * out.astype(jnp.float32)).sum(-1, keepdims=True)

    def head(inputs):
        q, k, v, times, d_out, log_total, inner = inputs

        def one(carry, inputs):
            dk, dv = carry  # [d, Nk]: matrix products with transposed weights are slower on CPUs
            q_c, times_c, d_c, log_total_c, inner_c, q_t, d_t = inputs
            scores = _masked(_scores(q_c, k), times_c, times)
            weights = jnp.exp(scores - log_total_c)  # [chunk, Nk]
            d_scores = (weights * (_scores(d_c, v) - inner_c)).astype(k.dtype)
            dv = dv + jnp.matmul(d_t, weights.astype(v.dtype))
            dk = dk + jnp.matmul(q_t, d_scores)
            return (dk, dv), jnp.matmul(d_scores, k)

        zeros = jnp.zeros_like(k.T), jnp.zeros_like(v.T)
        q, d_out, log_total, inner = (_split(x, chunk) for x in (q, d_out, log_total, inner))
        # Transposed here, for all chunks: XLA's CPU runtime is slow where a product transposes its
        # left side, as the products with q_c.T and d_c.T would.
        transposed = q.swapaxes(1, 2), d_out.swapaxes(1, 2)  # [chunks, d, chunk]
        chunks = (q, _query_times(times, chunk), d_out, log_total, inner, *transposed)
        (dk, dv), dq = jax.lax.scan(one, zeros, chunks)
        return dq.reshape(-1, q.shape[-1]), dk.T, dv.T

    return *jax.lax.map(head, (q, k, v, times, d_out, log_total, inner)), None


_heads.defvjp(_forward, _backward)


def _split(x: jax.Array, chunk: int) -> jax.Array:
    """[N, d] -> [N / chunk, chunk, d]."""
    return x.reshape(-1, chunk, x.shape[-1])


def _query_times(times, chunk: int) -> jax.Array | None:
    """Times of the queries [Nq] -> [N / chunk, chunk]; None stays None."""
    return None if times is None else times[0].reshape(-1, chunk)


def _masked(scores: jax.Array, q_times: jax.Array | None, times) -> jax.Array:
    """Scores [chunk, Nk], -inf where a key is later than the query."""
    if times is None:
        return scores
    return jnp.where(times[1] <= q_times[:, None], scores, -jnp.inf)


def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """The products q k^T [Nq, Nk] in float32."""
    return jnp.matmul(q, k.T, preferred_element_type=jnp.float32)
