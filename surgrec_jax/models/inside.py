"""What an encoder's layers give and where they look, for those who study it."""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.attention import readable
from surgrec_jax.models.elementwise import layer_norm
from surgrec_jax.models.position import rotate
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, encoder_graph, patchify, times
from surgrec_jax.safety.errors import ConfigError

Params = dict[str, Any]


def numbered(layers: Sequence[int], depth: int) -> tuple[int, ...]:
    """Numbers of layers from 0; negative ones count from the end, as in a list.

    Raises:
        ConfigError: no number of a layer, or none at all.
    """
    given = _integers(layers)
    if not given or not all(-depth <= layer < depth for layer in given):
        raise ConfigError(
            f"layer {layers!r}: give numbers of the encoder's {depth} layers, 0 to {depth - 1}, or "
            "-1 for the last"
        )
    return tuple(layer % depth for layer in given)


def rows(queries: Sequence[int], config: ViTConfig) -> tuple[int, ...]:
    """Numbers of tokens that look, each within one attention's tokens, prefix included.

    Raises:
        ConfigError: no number of a token, or none at all.
    """
    t, h, w = config.grid
    count = config.prefix_tokens + (h * w if config.frames_apart else t * h * w)
    found = _integers(queries)
    if not found or not all(0 <= row < count for row in found):
        raise ConfigError(
            f"queries={queries!r}: give numbers of the {count} tokens, 0 to {count - 1}"
        )
    return tuple(found)


def _integers(values: Any) -> list[int]:
    """The values as integers; [] where they are no sequence of such."""
    try:
        return [operator.index(value) for value in values]
    except TypeError:
        return []


def encode_layers(
    config: ViTConfig, compute: Compute, params: Params, video: jax.Array, layers: tuple[int, ...]
) -> jax.Array:
    """Tokens float32 [B, L, N, D] that some layers give for uint8 clips [B, T, H, W, 3].

    The last layer's have the encoder's final norm, those of others the same without weights, since
    an encoder keeps none for them; where it has no final norm, none are normed.

    Args:
        layers: their numbers, from 0, in any order.
    """
    model, outputs = _outputs(config, compute, params, video, layers)
    normed = [_normed(model, x, layer, "tokens") for layer, x in zip(layers, outputs, strict=True)]
    parts = [x[:, config.prefix_tokens :].reshape(len(video), -1, config.width) for x in normed]
    return jnp.stack(parts, 1).astype(jnp.float32)


def layer_features(
    config: ViTConfig, compute: Compute, params: Params, video: jax.Array, layers: tuple[int, ...]
) -> jax.Array:
    """Features float32 [B, L, D] of some layers; of the last one they are the encoder's own.

    Arguments and norms are those of `encode_layers`.
    """
    model, outputs = _outputs(config, compute, params, video, layers)
    each = []
    for layer, x in zip(layers, outputs, strict=True):
        x = _normed(model, x, layer, "tokens").astype(jnp.float32)
        patches = x[:, config.prefix_tokens :].reshape(len(video), -1, config.width)
        pooled = x[:, 0] if config.pooling == "cls" else patches.mean(1)
        each.append(_normed(model, pooled, layer, "pooled").astype(jnp.float32))
    return jnp.stack(each, 1)


def attention_weights(
    config: ViTConfig,
    compute: Compute,
    params: Params,
    video: jax.Array,
    layer: int,
    queries: tuple[int, ...] | None = None,
) -> jax.Array:
    """Softmax weights float32 [B, heads, Q, n] of a layer's attention; each row sums to 1.

    Rows and columns are tokens: the prefix (CLS, registers), then patches in raster order (time,
    row, column). Where frames are taken apart, each frame has its own: [B, t, heads, Q, n].

    Args:
        layer: its number, from 0.
        queries: the rows that are wanted; None for all n.
    """
    model = nnx.merge(encoder_graph(config, compute), params)
    x, rope = model.entering(patchify(video, config))
    at = times(config, None)
    x = model.blocks.outputs(x, (layer - 1,), rope, times=at)[0] if layer else x
    graph, stacked = nnx.split(model.blocks.layers)
    block = nnx.merge(graph, jax.tree.map(lambda p: p[layer], stacked))
    q, k, _ = block.attn.heads_of(block.norm1(x.astype(compute.dtype)))
    if rope is not None:
        q, k = rotate(q, *rope), rotate(k, *rope)
    rows = jnp.arange(q.shape[1]) if queries is None else jnp.asarray(queries)
    scores = jnp.einsum(
        "bqhd,bkhd->bhqk", q[:, rows] * q.shape[-1] ** -0.5, k, preferred_element_type=jnp.float32
    )
    if at is not None:
        scores = jnp.where(readable(at)[:, None, rows], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, -1)
    if config.frames_apart:
        weights = weights.reshape(len(video), -1, *weights.shape[1:])
    return weights


def _outputs(config, compute, params, video, layers) -> tuple[VideoViT, list[jax.Array]]:
    """The model, and the tokens of layers, prefix first, in the order of the layers asked for."""
    model = nnx.merge(encoder_graph(config, compute), params)
    x, rope = model.entering(patchify(video, config))
    ascending = tuple(sorted(set(layers)))
    given = model.blocks.outputs(x, ascending, rope, times=times(config, None))
    by_number = dict(zip(ascending, given, strict=True))
    return model, [by_number[layer] for layer in layers]


def _normed(model: VideoViT, x: jax.Array, layer: int, where: str) -> jax.Array:
    """The final norm of x, where it is of this kind; without weights before the last layer."""
    config = model.config
    if config.final_norm != where:
        return x
    if layer == config.depth - 1:
        return model.norm(x)
    one = jnp.ones(config.width)
    return layer_norm(x, one, jnp.zeros_like(one), config.norm_eps)
