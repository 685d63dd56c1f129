"""Heads over an encoder's tokens: the attentive probe of V-JEPA and a linear classifier."""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.layers import MLP, LayerNorm, Linear, Stack, kernel_init
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """A classifier on tokens [B, N, D].

    Attributes:
        kind: "attentive" (self-attention blocks, one cross-attention block, linear layer; Assran et
            al. 2025, section 4.1), or "linear" on the encoder's pooled features.
        classes: logits.
        depth: self-attention blocks before the cross-attention block (V-JEPA 1: 0, 2: 3).
        heads, mlp_dim: of every block of an attentive head.
        norm_eps: epsilon of its LayerNorms.
    """

    kind: str
    classes: int
    depth: int = 0
    heads: int = 1
    mlp_dim: int = 0
    norm_eps: float = 1e-5


class CrossAttention(nnx.Module):
    """One learned query over all tokens, without an output projection (as V-JEPA has it).

    A single query needs no keys and values of its own: q . (W x) = (W^T q) . x, the key's bias
    cancels in the softmax, and the mean of projected tokens is the projected mean. So tokens meet
    one vector per attention head instead of two D x D matrices, and are only standardised before,
    which heads trained side by side share.
    """

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        width, init = config.width, kernel_init(config.init)
        self.heads, self.compute = config.heads, compute
        self.q = Linear(width, width, compute, init=init, rngs=rngs)
        self.kv = Linear(width, 2 * width, compute, init=init, rngs=rngs)

    def __call__(self, query: jax.Array, tokens: jax.Array, norm: LayerNorm) -> jax.Array:
        """Attention of query [D] over norm(tokens) [B, N, D] -> [B, D]."""
        b, _, d = tokens.shape
        size, dtype = d // self.heads, self.compute.dtype
        x = tokens.astype(jnp.float32)
        x = x - x.mean(-1, keepdims=True)
        x = x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + norm.epsilon)
        x = x.astype(dtype)
        kernel = self.kv.kernel[...].reshape(d, 2, self.heads, size)
        value_bias = self.kv.bias[...].reshape(2, self.heads, size)[1]
        q = self.q(query[None]).reshape(self.heads, size).astype(jnp.float32)
        key = jnp.einsum("dhs,hs->dh", kernel[:, 0], q) * norm.scale[...][:, None]
        logits = (x @ key.astype(dtype)).astype(jnp.float32) * size**-0.5  # [B, N, H]
        weights = jax.nn.softmax(logits, axis=1).astype(dtype)
        mean = jnp.einsum("bnh,bnd->bhd", weights, x)
        mean = mean * norm.scale[...].astype(dtype) + norm.bias[...].astype(dtype)
        values = jnp.einsum("bhd,dhs->bhs", mean, kernel[:, 1].astype(dtype))
        return (values + value_bias.astype(dtype)).reshape(b, d)


class AttentiveClassifier(nnx.Module):
    """V-JEPA's attentive probe: tokens [B, N, D] -> logits [B, classes]."""

    def __init__(self, head: HeadConfig, encoder: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        # Only sizes, biases and initialisation matter here: a probe has no positions.
        config = ViTConfig(
            width=encoder.width,
            depth=head.depth,
            heads=head.heads,
            mlp_dim=head.mlp_dim,
            norm_eps=head.norm_eps,
            init="trunc_normal",
        )
        init = kernel_init(config.init)
        if head.depth:
            self.blocks = Stack(config, compute, rngs=rngs)
        self.query = nnx.Param(init(rngs.params(), (1, encoder.width)))
        self.norm1 = LayerNorm(encoder.width, head.norm_eps, compute, rngs=rngs)
        self.cross = CrossAttention(config, compute, rngs=rngs)
        self.norm2 = LayerNorm(encoder.width, head.norm_eps, compute, rngs=rngs)
        self.mlp = MLP(config, compute, rngs=rngs)
        self.linear = Linear(encoder.width, head.classes, compute, init=init, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        if hasattr(self, "blocks"):
            tokens = self.blocks(tokens)
        query = self.query[...].astype(tokens.dtype)[0]
        pooled = query + self.cross(query, tokens, self.norm1)
        pooled = pooled + self.mlp(self.norm2(pooled))
        return self.linear(pooled)


class LinearClassifier(nnx.Module):
    """Pooled features [B, D] -> logits [B, classes]."""

    def __init__(self, head: HeadConfig, encoder: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        init = kernel_init(encoder.init)
        self.linear = Linear(encoder.width, head.classes, compute, init=init, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.linear(features)


HEADS = {"attentive": AttentiveClassifier, "linear": LinearClassifier}


def make_head(head: HeadConfig, encoder: ViTConfig, compute: Compute, rngs: nnx.Rngs) -> nnx.Module:
    """The module of a head.

    Raises:
        ConfigError: an unknown kind.
    """
    if head.kind not in HEADS:
        raise ConfigError(f"head kind {head.kind!r}: choose from {tuple(HEADS)}")
    return HEADS[head.kind](head, encoder, compute, rngs=rngs)
