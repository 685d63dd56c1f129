"""Heads over an encoder's tokens: the attentive probe of V-JEPA and a linear classifier."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from surgrec_jax.models.attention import attend
from surgrec_jax.models.layers import MLP, LayerNorm, Linear, Stack, kernel_init
from surgrec_jax.models.presets import Compute, ViTConfig


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
    """One learned query over all tokens, without an output projection (as V-JEPA has it)."""

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        width, init = config.width, kernel_init(config.init)
        self.heads, self.compute = config.heads, compute
        self.q = Linear(width, width, compute, init=init, rngs=rngs)
        self.kv = Linear(width, 2 * width, compute, init=init, rngs=rngs)

    def __call__(self, query: jax.Array, x: jax.Array) -> jax.Array:
        b, n, d = x.shape
        size = d // self.heads
        q = self.q(query).reshape(b, -1, self.heads, size)
        k, v = jnp.moveaxis(self.kv(x).reshape(b, n, 2, self.heads, size), 2, 0)
        return attend(q, k, v, self.compute.attention).reshape(b, -1, d)


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
        query = initializers.truncated_normal(0.02)(rngs.params(), (1, encoder.width))
        self.query = nnx.Param(query)
        self.norm1 = LayerNorm(encoder.width, head.norm_eps, compute, rngs=rngs)
        self.cross = CrossAttention(config, compute, rngs=rngs)
        self.norm2 = LayerNorm(encoder.width, head.norm_eps, compute, rngs=rngs)
        self.mlp = MLP(config, compute, rngs=rngs)
        self.linear = Linear(encoder.width, head.classes, compute, init=init, rngs=rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        if hasattr(self, "blocks"):
            tokens = self.blocks(tokens)
        query = self.query[...].astype(tokens.dtype)
        query = jnp.broadcast_to(query, (len(tokens), *query.shape))
        pooled = query + self.cross(query, self.norm1(tokens))
        pooled = pooled + self.mlp(self.norm2(pooled))
        return self.linear(pooled[:, 0])


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
        ValueError: an unknown kind.
    """
    if head.kind not in HEADS:
        raise ValueError(f"head kind {head.kind!r}: choose from {tuple(HEADS)}")
    return HEADS[head.kind](head, encoder, compute, rngs=rngs)
