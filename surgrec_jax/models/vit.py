"""The video ViT encoder: tubelets of uint8 pixels in, tokens out."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.nn import initializers

from surgrec_jax.models.attention import Times
from surgrec_jax.models.elementwise import add_bias, spread
from surgrec_jax.models.layers import Keep, LayerNorm, Linear, Segments, Stack, kernel_init
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig


def patchify(video: jax.Array, config: ViTConfig) -> jax.Array:
    """Cuts clips into tubelets.

    Args:
        video: [B, T, H, W, 3] of any dtype.

    Returns:
        [B, N, P]: tokens in raster order (time, row, column), the P values of a tubelet in the
        order (frame, row, column, channel).

    Raises:
        ValueError: a clip of another size than the encoder's.
    """
    t, h, w = config.grid
    expected = (config.num_frames, *config.image_size, 3)
    if video.shape[1:] != expected:
        raise ValueError(f"clips of shape {video.shape[1:]}; this encoder takes {expected}")
    p, q = config.tubelet, config.patch
    x = video.reshape(-1, t, p, h, q, w, q, 3)
    return x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, t * h * w, config.patch_dim)


def unpatchify(tokens: jax.Array, config: ViTConfig) -> jax.Array:
    """The inverse of `patchify`: [B, N, P] -> [B, T, H, W, 3]."""
    t, h, w = config.grid
    p, q = config.tubelet, config.patch
    x = tokens.reshape(-1, t, h, w, p, q, q, 3).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return x.reshape(-1, config.num_frames, *config.image_size, 3)


def times(config: ViTConfig, ids: jax.Array | None) -> Times:
    """Times of an encoder's tokens for `attention.attend`; None where attention is full.

    A patch has the time of its tubelet. Prefix tokens come after the last tubelet, so they read all
    patches and no patch reads them.

    Args:
        ids: [B, n] token indices; None where all N are given in order.
    """
    if config.attention == "full":
        return None
    t, h, w = config.grid
    known = np if ids is None else jnp  # a whole clip's times are known when compiling
    tubelets = (np.arange(config.num_tokens)[None] if ids is None else ids) // (h * w)
    padding = ((0, 0), (config.prefix_tokens, 0))
    each = known.pad(tubelets, padding, constant_values=t).astype(np.int32)
    return each, each


def take_tokens(x: jax.Array, ids: jax.Array) -> jax.Array:
    """Tokens ids [B, n] of x [B, N, D] -> [B, n, D]."""
    return jnp.take_along_axis(x, ids[:, :, None], axis=1)


class VideoViT(nnx.Module):
    """Patch embedding, transformer and final norm over any subset of a clip's tokens.

    Only the tubelets it is given are embedded: at 90 % masking a tenth of the cost.
    """

    def __init__(self, config: ViTConfig, compute: Compute, *, rngs: nnx.Rngs):
        self.config, self.compute = config, compute
        # VideoMAE leaves the patch convolution at torch's default, uniform in 1/sqrt(fan in).
        patch_init = (
            initializers.variance_scaling(1 / 3, "fan_in", "uniform")
            if config.init == "xavier"
            else kernel_init(config.init)
        )
        self.patch_embed = Linear(
            config.patch_dim, config.width, compute, init=patch_init, rngs=rngs
        )
        self.blocks = Stack(config, compute, rngs=rngs)
        if config.final_norm != "none":
            self.norm = LayerNorm(config.width, config.norm_eps, compute, rngs=rngs)
        small = initializers.truncated_normal(0.02)
        if config.prefix_tokens:
            self.prefix = nnx.Param(small(rngs.params(), (config.prefix_tokens, config.width)))
        if config.modality_embedding:
            self.modality = nnx.Param(small(rngs.params(), (config.width,)))
        if config.position == "learned_2d":
            rows = 1 + config.grid[1] * config.grid[2]  # the first belongs to the CLS token
            self.position = nnx.Param(small(rngs.params(), (rows, config.width)))

    def __call__(
        self,
        tubelets: jax.Array,
        ids: jax.Array | None = None,
        *,
        segments: Segments = None,
        keep: Keep = None,
        with_prefix: bool = False,
    ) -> jax.Array:
        """Encodes tubelets.

        Args:
            tubelets: [B, n, P] rows of `patchify`, uint8 or of any dtype from 0 to 255.
            ids: [B, n] their token indices; None where all N are given in order.
            segments: lengths, n in sum, of views of the clip that do not see each other.
            keep: [depth, 2, B] of `layers.drop_path_scales`, in training.
            with_prefix: whether the prefix tokens are returned too, before the others.

        Returns:
            [B, n, D] tokens after the final norm; without it where the pooled mean is normed, or
            where there is none.
            With frames apart and their prefixes: [B, t, prefix + h w, D].

        Raises:
            ValueError: a part of the tokens, or segments, of an encoder that takes frames apart;
                segments of one with prefix tokens.
        """
        (x,) = self._outputs(tubelets, ids, (self.config.depth - 1,), segments, keep)
        x = self.last_norm(x)
        if not with_prefix:
            return self._patches(x, len(tubelets))
        return x.reshape(len(tubelets), -1, *x.shape[1:]) if self.config.frames_apart else x

    def layers(
        self,
        tubelets: jax.Array,
        ids: jax.Array | None = None,
        *,
        layers: tuple[int, ...],
        segments: Segments = None,
    ) -> list[jax.Array]:
        """Tokens [B, n, D] that some layers give, before any norm; arguments as of a call.

        Args:
            layers: their numbers, from 0, ascending.

        Raises:
            ValueError: as a call.
        """
        given = self._outputs(tubelets, ids, layers, segments)
        return [self._patches(x, len(tubelets)) for x in given]

    def _patches(self, x: jax.Array, clips: int) -> jax.Array:
        """Tokens [clips, n, D] without the prefix, of clips or of their frames."""
        return x[:, self.config.prefix_tokens :].reshape(clips, -1, self.config.width)

    def last_norm(self, x: jax.Array) -> jax.Array:
        """The norm of the last layer's tokens; x itself where they have none."""
        return self.norm(x) if self.config.final_norm == "tokens" else x

    def _outputs(
        self,
        tubelets: jax.Array,
        ids: jax.Array | None,
        layers: tuple[int, ...],
        segments: Segments,
        keep: Keep = None,
    ) -> list[jax.Array]:
        """What layers give, prefix tokens first; with frames apart, each frame is a clip."""
        config = self.config
        if segments and config.prefix_tokens:
            raise ValueError("an encoder with prefix tokens takes one view of a clip at a time")
        if config.frames_apart:
            if ids is not None or segments:
                raise ValueError("an encoder that takes frames apart takes all of a clip's tokens")
            keep = None if keep is None else jnp.repeat(keep, config.grid[0], -1)
        x, rope = self.entering(tubelets, ids)
        return self.blocks.outputs(x, layers, rope, segments, keep, times(config, ids))

    def entering(self, tubelets: jax.Array, ids: jax.Array | None = None):
        """What enters the first block; with frames apart, each frame is a clip.

        Args:
            tubelets, ids: as of a call.

        Returns:
            Tokens [B, prefix + n, D], and their rotary tables or None.
        """
        grid = self.config.grid
        if self.config.frames_apart:
            tubelets = tubelets.reshape(len(tubelets) * grid[0], grid[1] * grid[2], -1)
            grid = (1, *grid[1:])
        rope = Positions(self.config, grid).rotary(ids)
        return self._with_prefix(self.embed(tubelets, ids, grid), rope)

    def embed(
        self, tubelets: jax.Array, ids: jax.Array | None, grid: tuple[int, int, int] | None = None
    ) -> jax.Array:
        """Patch tokens [B, n, D] before the first block; arguments as of a call, and the grid."""
        config, grid = self.config, grid or self.config.grid
        x = self.patch_embed(self.normalise(tubelets))
        if config.modality_embedding:
            x = add_bias(x, self.modality[...])
        if config.position == "learned_2d":
            x = x + self._learned(grid, ids).astype(x.dtype)
        return Positions(config, grid).add(x, ids)

    def prefix_for(self, batch: int, dtype: jnp.dtype) -> jax.Array:
        """CLS and register tokens before the first block: [batch, prefix_tokens, D]."""
        prefix = self.prefix[...]
        if self.config.position == "learned_2d":
            prefix = prefix.at[0].add(self.position[...][0])
        return spread(prefix, (batch, *prefix.shape), dtype)

    def _learned(self, grid: tuple[int, int, int], ids: jax.Array | None) -> jax.Array:
        """Rows of the learned table, the same in every tubelet layer: [B or 1, n, D]."""
        rows = self.position[...][1:]
        return jnp.tile(rows, (grid[0], 1))[None] if ids is None else rows[ids % len(rows)]

    def _with_prefix(self, x: jax.Array, rope: tuple[jax.Array, jax.Array] | None):
        """CLS and register tokens before x, and the rotary tables that leave them unturned."""
        count = self.config.prefix_tokens
        if not count:
            return x, rope
        x = jnp.concatenate([self.prefix_for(len(x), x.dtype), x], 1)
        return x, self.rope_with_prefix(rope)

    def rope_with_prefix(self, rope: tuple[jax.Array, jax.Array] | None):
        """Rotary tables [B or 1, n, head_dim] with rows before them that turn nothing."""
        if rope is None:
            return None
        padding = ((0, 0), (self.config.prefix_tokens, 0), (0, 0))
        cos, sin = rope
        return jnp.pad(cos, padding, constant_values=1.0), jnp.pad(sin, padding)

    def normalise(self, tubelets: jax.Array) -> jax.Array:
        """Pixels [..., P], 0 to 255 -> (x / 255 - mean) / std per channel, in the compute dtype."""
        pixels = tubelets.reshape(*tubelets.shape[:-1], -1, 3).astype(jnp.float32) / 255
        pixels = (pixels - jnp.asarray(self.config.mean)) / jnp.asarray(self.config.std)
        return pixels.reshape(tubelets.shape).astype(self.compute.dtype)


@functools.lru_cache(maxsize=32)
def encoder_graph(config: ViTConfig, compute: Compute) -> nnx.GraphDef:
    """The graph definition of an encoder, made without allocating its parameters."""
    return nnx.graphdef(nnx.eval_shape(lambda: VideoViT(config, compute, rngs=nnx.Rngs(0))))


def init_encoder(config: ViTConfig, key: jax.Array) -> dict[str, Any]:
    """Fresh float32 encoder parameters, a pure dict."""
    module = VideoViT(config, Compute(), rngs=nnx.Rngs(key))
    return nnx.to_pure_dict(nnx.state(module, nnx.Param))


def pool(
    config: ViTConfig, compute: Compute, params: dict[str, Any], tokens: jax.Array
) -> jax.Array:
    """Features [B, D] of a clip's tokens, normed here where the encoder says so.

    Args:
        tokens: [B, N, D] of `VideoViT`; with prefix tokens before them where one is the features.
    """
    features = tokens[:, 0] if config.pooling == "cls" else tokens.mean(1)
    if config.final_norm == "pooled":
        features = nnx.merge(encoder_graph(config, compute), params).norm(features)
    return features


def extract_features(
    config: ViTConfig, compute: Compute, params: dict[str, Any], video: jax.Array
) -> jax.Array:
    """float32 features [B, D] of whole uint8 clips [B, T, H, W, 3]."""
    model = nnx.merge(encoder_graph(config, compute), params)
    tokens = model(patchify(video, config), with_prefix=config.pooling == "cls")
    return pool(config, compute, params, tokens.astype(jnp.float32)).astype(jnp.float32)


def encode(
    config: ViTConfig, compute: Compute, params: dict[str, Any], video: jax.Array
) -> jax.Array:
    """Tokens [B, N, D] of whole uint8 clips [B, T, H, W, 3] under an encoder's parameters."""
    return nnx.merge(encoder_graph(config, compute), params)(patchify(video, config))
