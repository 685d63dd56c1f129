"""Pre-norm transformer layers, stacked along a leading axis and scanned."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from surgrec_jax import sharding
from surgrec_jax.models.attention import attend
from surgrec_jax.models.position import rotate
from surgrec_jax.models.presets import Compute, ViTConfig

# What a layer keeps for the backward pass: everything, nothing but its input, or the results of
# matrix products with weights.
REMAT_POLICIES: dict[str, Any] = {
    "none": None,
    "full": jax.checkpoint_policies.nothing_saveable,
    "dots": jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}


def kernel_init(style: str) -> initializers.Initializer:
    """Initialiser of matrices: VideoMAE's Xavier uniform, or V-JEPA's truncated normal 0.02."""
    if style == "xavier":
        return initializers.xavier_uniform()
    return initializers.truncated_normal(0.02)


class Linear(nnx.Linear):
    """nnx.Linear with float32 parameters, computed in the forward pass's dtype."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        compute: Compute,
        *,
        init: initializers.Initializer,
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            inputs, outputs, use_bias=use_bias, dtype=compute.dtype, kernel_init=init, rngs=rngs
        )


class LayerNorm(nnx.LayerNorm):
    """LayerNorm with float32 statistics, by the two-pass formula that other frameworks use."""

    def __init__(self, width: int, eps: float, compute: Compute, *, rngs: nnx.Rngs):
        super().__init__(
            width, epsilon=eps, dtype=compute.dtype, use_fast_variance=False, rngs=rngs
        )


class Attention(nnx.Module):
    """Multi-head self-attention with one fused projection to query, key and value."""

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        width, init = config.width, kernel_init(config.init)
        self.heads, self.compute = config.heads, compute
        fused_bias = config.qkv_bias == "qkv"
        self.qkv = Linear(width, 3 * width, compute, init=init, use_bias=fused_bias, rngs=rngs)
        if config.qkv_bias == "qv":
            self.q_bias = nnx.Param(jnp.zeros(width))
            self.v_bias = nnx.Param(jnp.zeros(width))
        self.proj = Linear(width, width, compute, init=init, rngs=rngs)

    def __call__(self, x: jax.Array, rope: tuple[jax.Array, jax.Array] | None) -> jax.Array:
        b, n, d = x.shape
        qkv = self.qkv(x)  # [B, N, 3 D]
        if hasattr(self, "q_bias"):
            bias = [self.q_bias[...], jnp.zeros(d), self.v_bias[...]]
            qkv = qkv + jnp.concatenate(bias).astype(qkv.dtype)
        q, k, v = jnp.moveaxis(qkv.reshape(b, n, 3, self.heads, d // self.heads), 2, 0)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        out = attend(q, k, v, self.compute.attention)  # [B, N, H, d]
        return self.proj(out.reshape(b, n, d))


class MLP(nnx.Module):
    """Two linear layers with the exact (erf) GELU between them, or a SwiGLU of three."""

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        init = kernel_init(config.init)
        self.fc1 = Linear(config.width, config.mlp_dim, compute, init=init, rngs=rngs)
        self.fc2 = Linear(config.mlp_dim, config.width, compute, init=init, rngs=rngs)
        if config.mlp == "swiglu":
            self.gate = Linear(config.width, config.mlp_dim, compute, init=init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if hasattr(self, "gate"):
            return self.fc2(jax.nn.silu(self.gate(x)) * self.fc1(x))
        return self.fc2(jax.nn.gelu(self.fc1(x), approximate=False))


class Block(nnx.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); with LayerScale, a scale on either term."""

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        self.norm1 = LayerNorm(config.width, config.norm_eps, compute, rngs=rngs)
        self.attn = Attention(config, compute, rngs=rngs)
        self.norm2 = LayerNorm(config.width, config.norm_eps, compute, rngs=rngs)
        self.mlp = MLP(config, compute, rngs=rngs)
        if config.layer_scale:
            self.scale1 = nnx.Param(jnp.ones(config.width))
            self.scale2 = nnx.Param(jnp.ones(config.width))

    def __call__(self, x: jax.Array, rope: tuple[jax.Array, jax.Array] | None) -> jax.Array:
        attended = self.attn(self.norm1(x), rope)
        if hasattr(self, "scale1"):
            x = x + attended * self.scale1[...].astype(x.dtype)
            return x + self.mlp(self.norm2(x)) * self.scale2[...].astype(x.dtype)
        x = x + attended
        return x + self.mlp(self.norm2(x))


class Stack(nnx.Module):
    """`config.depth` blocks whose parameters lie stacked along a leading layer axis.

    Raises:
        ValueError: an unknown rematerialisation policy.
    """

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        if compute.remat not in REMAT_POLICIES:
            raise ValueError(
                f"compute.remat={compute.remat!r}: choose from {tuple(REMAT_POLICIES)}"
            )
        self.compute = compute

        @nnx.split_rngs(splits=config.depth)
        @nnx.vmap(in_axes=0, out_axes=0)
        def create(rngs: nnx.Rngs) -> Block:
            return Block(config, compute, rngs=rngs)

        self.layers = create(rngs)
        if config.init == "trunc_normal":
            self._scale_residuals(config.depth)

    def _scale_residuals(self, depth: int) -> None:
        """V-JEPA: the output projections of layer i (from 1) are divided by sqrt(2 i)."""
        scale = (2.0 * jnp.arange(1, depth + 1)) ** -0.5
        for linear in (self.layers.attn.proj, self.layers.mlp.fc2):
            linear.kernel[...] = linear.kernel[...] * scale[:, None, None]

    def __call__(self, x: jax.Array, rope: tuple[jax.Array, jax.Array] | None = None) -> jax.Array:
        """x [B, N, D] through all blocks; rope as given by `Positions.rotary`."""
        graph, params = nnx.split(self.layers)

        def body(x, layer):
            layer = sharding.gather(layer, self.compute.dtype)
            x = nnx.merge(graph, layer)(x, rope)
            return sharding.constrain_batch(x), None

        if self.compute.remat != "none":
            body = jax.checkpoint(body, policy=REMAT_POLICIES[self.compute.remat])
        x = sharding.constrain_batch(x.astype(self.compute.dtype))
        return jax.lax.scan(body, x, params, unroll=self.compute.unroll)[0]
