"""Pre-norm transformer layers, stacked along a leading axis and scanned."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.ad_checkpoint import checkpoint_name
from jax.nn import initializers

from surgrec_jax import sharding
from surgrec_jax.models import remat
from surgrec_jax.models.attention import Times, attend
from surgrec_jax.models.elementwise import add_bias, gelu, layer_norm, spread
from surgrec_jax.models.position import rotate
from surgrec_jax.models.presets import Compute, ViTConfig

# Rows of the rotary tables for a sequence's tokens, and the lengths of its segments.
Rope = tuple[jax.Array, jax.Array] | None
Segments = tuple[int, ...] | None
# Drop path scales of a layer, [2, B]; None in evaluation.
Keep = jax.Array | None


def kernel_init(style: str) -> initializers.Initializer:
    """Initialiser of matrices: VideoMAE's Xavier uniform, or V-JEPA's normal of deviation 0.02.

    V-JEPA calls it truncated, at -2 and 2: a hundred deviations away, where nothing is cut.
    """
    if style == "xavier":
        return initializers.xavier_uniform()
    return initializers.normal(0.02)


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

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., inputs] -> [..., outputs]."""
        bias = None if self.bias is None else self.bias[...]
        return project(x, self.kernel[...], bias, self.dtype)


def project(x: jax.Array, kernel: jax.Array, bias: jax.Array | None, dtype: Any) -> jax.Array:
    """The product x [..., inputs] times kernel [inputs, outputs], plus bias [outputs] if given."""
    shape = (*x.shape[:-1], kernel.shape[1])
    if sharding.platform() == "cpu":
        # As rows: where there are two axes to sum over, XLA transposes the output's gradient for
        # the weights' on a CPU, and multiplies up to a third slower.
        x = x.reshape(-1, x.shape[-1])
    x = x.astype(dtype) @ kernel.astype(dtype)
    return (x if bias is None else add_bias(x, bias)).reshape(shape)


class LayerNorm(nnx.LayerNorm):
    """`elementwise.layer_norm` with its parameters, for tokens in the forward pass's dtype."""

    def __init__(self, width: int, eps: float, compute: Compute, *, rngs: nnx.Rngs):
        super().__init__(width, epsilon=eps, dtype=compute.dtype, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., width] -> [..., width]."""
        return layer_norm(x.astype(self.dtype), self.scale[...], self.bias[...], self.epsilon)


class Attention(nnx.Module):
    """Multi-head self-attention with one fused projection to query, key and value.

    Tokens attend within their segment: `segments` are lengths, known when compiling, of parts of
    the sequence that do not see each other. Everything but attention itself treats the sequence
    as one, and nothing is padded or masked.
    """

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        width, init = config.width, kernel_init(config.init)
        self.heads, self.compute = config.heads, compute
        fused_bias = config.qkv_bias == "qkv"
        self.qkv = Linear(width, 3 * width, compute, init=init, use_bias=fused_bias, rngs=rngs)
        if config.qkv_bias == "qv":
            self.q_bias = nnx.Param(jnp.zeros(width))
            self.v_bias = nnx.Param(jnp.zeros(width))
        self.proj = Linear(width, width, compute, init=init, rngs=rngs)

    def __call__(
        self, x: jax.Array, rope: Rope, segments: Segments, times: Times = None
    ) -> jax.Array:
        b, n, d = x.shape
        q, k, v = self.heads_of(x)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        ends = itertools.accumulate(segments or (n,))
        spans = [
            slice(end - length, end) for length, end in zip(segments or (n,), ends, strict=True)
        ]
        outs = [  # [B, n_s, H, d] each
            attend(
                *(x[:, span] for x in (q, k, v)),
                self.compute.attention,
                None if times is None else tuple(part[:, span] for part in times),
            )
            for span in spans
        ]
        return self.proj(jnp.concatenate(outs, 1).reshape(b, n, d))

    def heads_of(self, x: jax.Array) -> list[jax.Array]:
        """Queries, keys and values [B, N, H, d] of tokens [B, N, D], not turned by positions."""
        return [part.reshape(*x.shape[:2], self.heads, -1) for part in self._project(x)]

    def _project(self, x: jax.Array) -> list[jax.Array]:
        """Queries, keys and values [B, N, D] of tokens [B, N, D]."""
        kernel, bias = self.qkv.kernel[...], self._bias()

        def named(kernel, bias):
            return checkpoint_name(project(x, kernel, bias, self.compute.dtype), remat.QKV)

        if sharding.platform() != "gpu" or sharding.fsdp_size() > 1:
            return jnp.split(named(kernel, bias), 3, -1)
        # cuDNN's attention takes arrays of their own, which would have to be copied out of one
        # product, and their gradients into one. Where the state is split, though, the gradients
        # of three kernels would travel once more to become shards of one.
        biases = [None] * 3 if bias is None else jnp.split(bias, 3)
        return [named(*pair) for pair in zip(jnp.split(kernel, 3, 1), biases, strict=True)]

    def _bias(self) -> jax.Array | None:
        """[3 D]; None without one."""
        if hasattr(self, "q_bias"):
            zeros = jnp.zeros_like(self.q_bias[...])
            return jnp.concatenate([self.q_bias[...], zeros, self.v_bias[...]])
        return None if self.qkv.bias is None else self.qkv.bias[...]


class MLP(nnx.Module):
    """Two linear layers with the exact (erf) GELU between them, or a SwiGLU of three."""

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        init = kernel_init(config.init)
        self.fc1 = Linear(config.width, config.mlp_dim, compute, init=init, rngs=rngs)
        self.fc2 = Linear(config.mlp_dim, config.width, compute, init=init, rngs=rngs)
        self.unrolled = compute.unroll != 1
        if config.mlp == "swiglu":
            self.gate = Linear(config.width, config.mlp_dim, compute, init=init, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        if hasattr(self, "gate"):
            gate, value = (checkpoint_name(f(x), remat.HIDDEN) for f in (self.gate, self.fc1))
            return self.fc2(jax.nn.silu(gate) * value)
        hidden = checkpoint_name(self.fc1(x), remat.HIDDEN)
        # Its backward pass starts from its input. In a loop nothing else could be; outside of one
        # XLA would keep what both passes compute.
        return self.fc2(jax.checkpoint(gelu, prevent_cse=self.unrolled)(hidden))


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

    def __call__(
        self,
        x: jax.Array,
        rope: Rope,
        segments: Segments,
        keep: Keep = None,
        times: Times = None,
    ) -> jax.Array:
        return self.after_attention(x, self.attn(self.norm1(x), rope, segments, times), keep)

    def after_attention(self, x: jax.Array, attended: jax.Array, keep: Keep = None) -> jax.Array:
        """The block's output from its input and what attention gave for it, both [B, N, D]."""
        if hasattr(self, "scale1"):
            scale1, scale2 = (spread(s[...], x.shape, x.dtype) for s in (self.scale1, self.scale2))
            x = x + _kept(attended * scale1, keep, 0)
            return x + _kept(self.mlp(self.norm2(x)) * scale2, keep, 1)
        x = x + _kept(attended, keep, 0)
        return x + _kept(self.mlp(self.norm2(x)), keep, 1)


def _kept(x: jax.Array, keep: Keep, branch: int) -> jax.Array:
    """A residual branch [B, N, D] times its clips' drop path scales."""
    return x if keep is None else x * keep[branch][:, None, None].astype(x.dtype)


def drop_path_scales(keys: jax.Array, depth: int, rate: float) -> jax.Array:
    """Stochastic depth (Huang et al. 2016): drops a clip's residual branches at random.

    Branches that stay are scaled up. The probability rises linearly from 0 at the first layer to
    `rate`.

    Args:
        keys: [B] random keys, one per clip.

    Returns:
        float32 [depth, 2, B]: 0 or 1 / (1 - probability), for attention and MLP of every layer.
    """
    stay = 1 - rate * jnp.arange(depth) / max(depth - 1, 1)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (depth, 2)))(keys)  # [B, depth, 2]
    scales = jnp.where(draws < stay[:, None], 1 / stay[:, None], 0.0)
    return jnp.moveaxis(scales, 0, -1)


class Stack(nnx.Module):
    """`config.depth` blocks whose parameters lie stacked along a leading layer axis.

    Raises:
        ValueError: an unknown rematerialisation policy.
    """

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        remat.policy(compute.remat)  # refuses an unknown one
        self.compute, self.depth = compute, config.depth

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

    def __call__(
        self,
        x: jax.Array,
        rope: Rope = None,
        segments: Segments = None,
        keep: Keep = None,
        times: Times = None,
    ) -> jax.Array:
        """Passes x [B, N, D] through all blocks.

        Args:
            rope: as given by `Positions.rotary`.
            segments: lengths, N in sum, of parts that do not see each other; None for one part.
            keep: [depth, 2, B] of `drop_path_scales`; None to drop nothing.
            times: of the tokens as queries and as keys, for causal attention (see `attend`).
        """
        return self.outputs(x, (self.depth - 1,), rope, segments, keep, times)[0]

    def outputs(
        self,
        x: jax.Array,
        layers: tuple[int, ...],
        rope: Rope = None,
        segments: Segments = None,
        keep: Keep = None,
        times: Times = None,
    ) -> list[jax.Array]:
        """What each of some layers gives, [B, N, D]: numbers from 0, ascending; as in a call."""
        graph, params = nnx.split(self.layers)

        def body(x, inputs):
            layer, keep = inputs
            x = checkpoint_name(x, remat.LAYER)
            layer = sharding.gather(layer, self.compute.dtype)
            x = nnx.merge(graph, layer)(x, rope, segments, keep, times)
            return sharding.constrain_batch(x), None

        body = remat.apply(self.compute.remat, body, in_loop=self.compute.unroll == 1)
        x, given, first = sharding.constrain_batch(x.astype(self.compute.dtype)), [], 0
        for layer in layers:
            part = (params, keep)
            if layers != (self.depth - 1,):
                part = jax.tree.map(lambda p, a=first, b=layer + 1: p[a:b], part)
            x = jax.lax.scan(body, x, part, unroll=self.compute.unroll)[0]
            given.append(x)
            first = layer + 1
        return given
