"""Softmax attention, softmax(q k^T / sqrt(d)) v, with the implementation chosen by name.

Every implementation takes and returns [B, N, heads, head_dim] and accumulates scores in float32.
Attention is over all keys, or causal over times: every query and key has an integer time, and a
query reads the keys whose time is not later than its own.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from surgrec_jax import sharding
from surgrec_jax.models import chunked
from surgrec_jax.safety.errors import ConfigError

# Below this many keys the score matrix fits in cache and chunking only costs.
CHUNKED_FROM = 512
# The fused TPU kernel is worth its padding from about here on.
SPLASH_FROM = 1024
# cuDNN's fused kernel needs Ampere or later (NVIDIA, "cuDNN support matrix").
CUDNN_CAPABILITY = 8.0
# Remat policies call the results of a fused kernel so.
RESULT_NAME = "attention"
# A time that no query has: keys of this time are read by none.
NEVER = np.iinfo(np.int32).max

# int32 times of queries [1 or B, Nq] and of keys [1 or B, Nk]; NumPy arrays where they are known
# when compiling, which the TPU kernel needs. None: every query reads every key.
Times = tuple[jax.Array | np.ndarray, jax.Array | np.ndarray] | None


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    implementation: str = "auto",
    times: Times = None,
) -> jax.Array:
    """Attention of q over k, v.

    Args:
        q: [B, Nq, H, d].
        k, v: [B, Nk, H, d].
        times: of queries and keys, for causal attention; every query must read one key at least.
        implementation: a name of IMPLEMENTATIONS, or "auto": see `choose`. A few clips that do not
            divide over the mesh (pictures, probes; a training batch always does) take "einsum" in
            place of a kernel that runs on each device's own clips.

    Raises:
        ConfigError: an unknown implementation, or one that cannot take these arrays.
    """
    if implementation == "auto":
        implementation = choose(q, k, sharding.platform(), times)
    check_name(implementation)
    if implementation in ("splash", "chunked") and not sharding.divides(len(q)):
        implementation = "einsum"
    out = IMPLEMENTATIONS[implementation](q, k, v, times)
    # The others name what their backward passes keep themselves; for cuDNN's see models/remat.py.
    return checkpoint_name(out, RESULT_NAME) if implementation == "einsum" else out


def choose(q: jax.Array, k: jax.Array, platform: str, times: Times = None) -> str:
    """The implementation "auto" means for these shapes on this platform.

    "cudnn" on GPU and "splash" on TPU for long sequences, where the kernel takes the shapes and
    dtype; "chunked" on CPU for long sequences; otherwise "einsum".
    """
    causal = times is not None
    half = q.dtype in (jnp.bfloat16, jnp.float16)
    head_dim = q.shape[-1]
    # Causal attention is padded to even lengths.
    even = causal or (q.shape[1] % 2 == 0 and k.shape[1] % 2 == 0)
    if platform == "gpu" and half and head_dim % 8 == 0 and head_dim <= 128 and even:
        return "cudnn"
    long = k.shape[1] >= SPLASH_FROM and q.shape == k.shape and (not causal or _static(times))
    if platform == "tpu" and long and sharding.divides(len(q)):
        return "splash"
    long = k.shape[1] >= CHUNKED_FROM and chunked.chunk_size(q.shape[1]) is not None
    if platform == "cpu" and long and sharding.divides(len(q)):
        return "chunked"
    return "einsum"


def check_name(implementation: str) -> None:
    """Raises ConfigError for a name that is neither "auto" nor one of IMPLEMENTATIONS."""
    names = ("auto", *IMPLEMENTATIONS)
    if implementation not in names:
        raise ConfigError(f"compute.attention={implementation!r}: choose from {names}")


def check_device(implementation: str, dtype: jnp.dtype, device: jax.Device) -> None:
    """Refuses, before anything is compiled, an implementation that the device does not have.

    Raises:
        ConfigError: an unknown name, a kernel of another kind of device, or a GPU too old for it.
    """
    check_name(implementation)
    needs = {"cudnn": "gpu", "splash": "tpu"}.get(implementation, device.platform)
    # On a CPU the TPU kernel is interpreted: slow, but right.
    if needs != device.platform and (implementation, device.platform) != ("splash", "cpu"):
        raise ConfigError(
            f"compute.attention={implementation} is a kernel for {needs.upper()}s and this is "
            f"{device.device_kind} ({device.platform}); use compute.attention=auto"
        )
    if device.platform != "gpu":
        return
    wanted = implementation == "cudnn" or (implementation == "auto" and dtype == jnp.bfloat16)
    capability = float(device.compute_capability)
    if wanted and capability < CUDNN_CAPABILITY:
        raise ConfigError(
            f"{device.device_kind} (compute capability {capability}) has no cuDNN flash attention, "
            f"which needs {CUDNN_CAPABILITY}; use --config.compute.attention=einsum and, where "
            "it has no bfloat16 either, --config.compute.dtype=float32"
        )


def readable(times: tuple[jax.Array, jax.Array]) -> jax.Array:
    """[1 or B, Nq, Nk] bool: the keys that each query reads."""
    queries, keys = map(jnp.asarray, times)
    return keys[:, None, :] <= queries[:, :, None]


def _static(times: Times) -> bool:
    return times is not None and all(isinstance(part, np.ndarray) for part in times)


def einsum_attention(q: jax.Array, k: jax.Array, v: jax.Array, times: Times) -> jax.Array:
    """The formula as written; holds the [B, H, Nq, Nk] weights for the backward pass."""
    q = q * q.shape[-1] ** -0.5
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
    if times is not None:
        scores = jnp.where(readable(times)[:, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
    return jnp.einsum("bhqk,bkhd->bqhd", weights, v)


def cudnn_attention(
    q: jax.Array, k: jax.Array, v: jax.Array, times: Times, implementation: str = "cudnn"
) -> jax.Array:
    """The fused kernel of cuDNN: bf16 or fp16, head size a multiple of 8 up to 128, even lengths.

    Causal attention gives it a mask, and lengths that are odd one more token, which none reads.

    Args:
        implementation: "xla" computes the same without the kernel (tests).
    """
    attention = functools.partial(jax.nn.dot_product_attention, implementation=implementation)
    if times is None:
        return attention(q, k, v)
    odd_q, odd_k = q.shape[1] % 2, k.shape[1] % 2
    length = q.shape[1]
    q, k, v = (
        jnp.pad(x, ((0, 0), (0, odd), (0, 0), (0, 0)))
        for x, odd in ((q, odd_q), (k, odd_k), (v, odd_k))
    )
    times = tuple(
        jnp.pad(part, ((0, 0), (0, odd)), constant_values=NEVER - 1 + key)
        for part, odd, key in zip(times, (odd_q, odd_k), (0, 1), strict=True)
    )
    return attention(q, k, v, mask=readable(times)[:, None])[:, :length]


def splash_attention(q: jax.Array, k: jax.Array, v: jax.Array, times: Times) -> jax.Array:
    """The fused TPU kernel, each device on its own clips; interpreted on a CPU.

    Raises:
        ConfigError: lengths of queries and keys that differ, times that are not known when
            compiling, or a batch that does not divide.
    """
    if q.shape != k.shape:
        raise ConfigError(
            f"splash attention is for self-attention; queries {q.shape} and keys {k.shape} differ: "
            "use compute.attention=einsum"
        )
    if times is not None and not _static(times):
        raise ConfigError(
            "splash attention is causal over whole clips only, not over a part of their tokens: "
            "use compute.attention=auto"
        )
    from surgrec_jax.models.splash import splash

    interpret = sharding.platform() == "cpu"
    times = None if times is None else tuple(part[0] for part in times)
    fused = functools.partial(splash, name=RESULT_NAME, times=times, interpret=interpret)
    return sharding.per_device(fused, q, k, v)


def chunked_attention(q: jax.Array, k: jax.Array, v: jax.Array, times: Times) -> jax.Array:
    """Attention a head and a chunk of queries at a time, each device on its own clips.

    Raises:
        ConfigError: no chunk size divides the number of queries, or a batch that does not divide.
    """
    chunk = chunked.chunk_size(q.shape[1])
    if chunk is None:
        raise ConfigError(
            f"chunked attention cannot divide {q.shape[1]} queries by any of {chunked.CHUNK_SIZES};"
            " use compute.attention=einsum"
        )
    blocked = functools.partial(chunked.chunked, chunk=chunk, name=RESULT_NAME)
    if times is None:
        return sharding.per_device(blocked, q, k, v)
    times = (jnp.broadcast_to(part, (len(q), part.shape[1])) for part in times)
    return sharding.per_device(blocked, q, k, v, *times)


IMPLEMENTATIONS = {
    "einsum": einsum_attention,
    "chunked": chunked_attention,
    "cudnn": cudnn_attention,
    "splash": splash_attention,
}
