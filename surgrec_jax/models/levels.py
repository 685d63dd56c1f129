"""Four layers of an encoder side by side, as V-JEPA 2.1 learns from them (arXiv 2603.14482)."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.elementwise import layer_norm
from surgrec_jax.models.layers import Segments
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, encoder_graph, patchify
from surgrec_jax.safety.errors import ConfigError

COUNT = 4


def level_layers(depth: int) -> tuple[int, ...]:
    """Numbers, from 0, of the layers that are the levels of an encoder: the last of each quarter.

    V-JEPA 2.1's code has another third one at a depth of 48.

    Raises:
        ConfigError: fewer layers than levels.
    """
    if depth < COUNT:
        raise ConfigError(f"an encoder of {depth} layers has no {COUNT} levels: give more layers")
    if depth == 48:
        return 11, 23, 37, 47
    return tuple(depth * (i + 1) // COUNT - 1 for i in range(COUNT))


class LevelNorms(nnx.Module):
    """LayerNorms of the levels before the last, whose norm is the encoder's own."""

    def __init__(self, encoder: ViTConfig):
        self.eps, self.layers = encoder.norm_eps, level_layers(encoder.depth)
        shape = (COUNT - 1, encoder.width)
        self.scale, self.bias = nnx.Param(jnp.ones(shape)), nnx.Param(jnp.zeros(shape))

    def __call__(
        self,
        encoder: VideoViT,
        tubelets: jax.Array,
        ids: jax.Array | None = None,
        segments: Segments = None,
    ) -> list[jax.Array]:
        """Normed tokens [B, n, D] of every level; arguments as of `VideoViT`."""
        *earlier, last = encoder.layers(tubelets, ids, layers=self.layers, segments=segments)
        scale, bias = self.scale[...], self.bias[...]
        normed = [layer_norm(x, scale[i], bias[i], self.eps) for i, x in enumerate(earlier)]
        return [*normed, encoder.last_norm(last)]


@functools.lru_cache(maxsize=32)
def norms_graph(encoder: ViTConfig) -> nnx.GraphDef:
    """The graph definition of an encoder's `LevelNorms`, made without allocating parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: LevelNorms(encoder)))


def side_by_side(levels: Sequence[jax.Array]) -> jax.Array:
    """[B, n, D] of every level -> [B, n, levels * D]."""
    return jnp.concatenate(levels, -1)


def encode_levels(
    config: ViTConfig, compute: Compute, params: dict[str, Any], video: jax.Array
) -> jax.Array:
    """Tokens [B, N, levels * D] of whole uint8 clips [B, T, H, W, 3], levels side by side.

    Earlier levels are normed without weights, since an encoder keeps none for them.

    Raises:
        ConfigError: fewer layers than levels.
    """
    encoder = nnx.merge(encoder_graph(config, compute), params)
    return side_by_side(LevelNorms(config)(encoder, patchify(video, config)))
