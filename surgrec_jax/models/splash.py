"""JAX's splash attention kernel for TPUs, behind the interface of `models.attention`.

Imported only where it is used: Pallas takes a second to import.
"""

import functools

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernel
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

# The kernel's tiles are multiples of the TPU's 128 lanes.
LANES = 128
# Tiles of queries and keys up to this size; a score tile of 1024 x 1024 takes 4 MiB of VMEM.
MAX_BLOCK = 1024


def padded_length(length: int) -> int:
    """The next multiple of 128: 1568 tokens become 1664."""
    return -(-length // LANES) * LANES


def block_size(length: int) -> int:
    """The largest multiple of 128 up to MAX_BLOCK that divides a padded length."""
    blocks = length // LANES
    return max(b for b in range(1, MAX_BLOCK // LANES + 1) if blocks % b == 0) * LANES


def splash(
    q: jax.Array, k: jax.Array, v: jax.Array, *, name: str, interpret: bool = False
) -> jax.Array:
    """Self-attention of one device's clips: q, k, v and the result are [B, N, H, d].

    Tokens are padded to a multiple of 128; padding is a segment of its own, which real tokens do
    not see. The kernel keeps the result and the logarithms of its row sums for the backward pass.

    Args:
        name: what remat policies call what is kept.
        interpret: run the kernel as ordinary operations (tests on a CPU; slow).
    """
    length = q.shape[1]
    padding = padded_length(length) - length
    q = q * q.shape[-1] ** -0.5
    q, k, v = (
        jnp.pad(x.transpose(0, 2, 1, 3), ((0, 0), (0, 0), (0, padding), (0, 0))) for x in (q, k, v)
    )  # [B, H, N', d]
    segments = None
    if padding:
        ids = (jnp.arange(length + padding) >= length).astype(jnp.int32)
        segments = kernel.SegmentIds(ids, ids)
    attention = _kernel(length + padding, q.shape[1], name, interpret)
    out = jax.vmap(lambda q, k, v: attention(q, k, v, segments))(q, k, v)
    return out[:, :, :length].transpose(0, 2, 1, 3)


def _kernel(length: int, heads: int, name: str, interpret: bool) -> kernel.SplashAttentionKernel:
    block = block_size(length)
    # One small tile per grid step would be all overhead: 1664 = 13 x 128 has no other divisor.
    keys = length if block == LANES and length <= 2 * MAX_BLOCK else block
    names = ("block_q", "block_q_dkv", "block_q_dq")
    key_names = ("block_kv", "block_kv_compute", "block_kv_dkv", "block_kv_dkv_compute")
    sizes = dict.fromkeys(names, block) | dict.fromkeys((*key_names, "block_kv_dq"), keys)
    make = functools.partial(
        kernel.make_splash_mha_single_device,
        residual_checkpoint_name=name,
        interpret=interpret,
    )
    mask = masks.MultiHeadMask([masks.FullMask((length, length))] * heads)
    return make(mask=mask, block_sizes=kernel.BlockSizes(**sizes))
