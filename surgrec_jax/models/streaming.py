"""A block-causal encoder over a video that comes one tubelet after another.

Every layer's keys and values of the last tubelets are kept, so that a new tubelet costs one
tubelet. Until the window is full its features are those of the whole clip; from then on the oldest
tubelet is forgotten. (A deep layer still knows of older ones by what its neighbours had read: this
is attention over a sliding window, as in Jiang et al. 2023, "Mistral 7B", section 2.)
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from surgrec_jax.models.attention import NEVER, attend
from surgrec_jax.models.position import Positions, rotate
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encoder_graph, patchify, pool
from surgrec_jax.safety.errors import ConfigError

Params = dict[str, Any]


class Memory(NamedTuple):
    """The state of a stream: a ring of W places, one per tubelet of the window, n tokens each.

    Attributes:
        keys, values: [depth, B, W n, heads, head_dim]; keys are not turned by positions, which are
            those of the window and move with it.
        means: float32 [B, W, D], the mean of every tubelet's tokens after the final norm.
        count: int32, tubelets so far.
    """

    keys: jax.Array
    values: jax.Array
    means: jax.Array
    count: jax.Array


class Stream:
    """Features of videos, tubelet by tubelet.

    Args:
        config: of a block-causal encoder, with its params.
        window: frames that are looked at, at most those of a clip; None for as many.
        batch: videos that run side by side.

    Raises:
        ConfigError: an encoder that is not block-causal, or a window that it cannot have.
    """

    def __init__(
        self,
        config: ViTConfig,
        compute: Compute,
        params: Params,
        *,
        window: int | None = None,
        batch: int = 1,
    ):
        window = config.num_frames if window is None else window
        if config.attention != "block_causal":
            raise ConfigError(
                f"this encoder's attention is {config.attention}: its features change with frames "
                "that come later, so it cannot stream; train one with "
                "--config.model.attention=block_causal"
            )
        if not config.tubelet <= window <= config.num_frames or window % config.tubelet:
            raise ConfigError(
                f"window={window} frames: give a multiple of the tubelet's {config.tubelet}, up to "
                f"the {config.num_frames} frames of the clips it was trained on"
            )
        if batch < 1:
            raise ConfigError(f"batch={batch}: give at least one video")
        self.config, self.compute, self.batch = config, compute, batch
        self.window = window // config.tubelet
        self._params = jax.device_put(params)
        self.reset()

    def reset(self) -> None:
        """Forgets what has been seen: the next tubelet is the first of a video."""
        config, dtype = self.config, self.compute.dtype
        _, h, w = config.grid
        tokens = self.window * h * w
        shape = (config.depth, self.batch, tokens, config.heads, config.width // config.heads)
        self.count = 0
        self._memory = Memory(
            jnp.zeros(shape, dtype),
            jnp.zeros(shape, dtype),
            jnp.zeros((self.batch, self.window, config.width)),
            jnp.int32(0),
        )

    def push(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next tubelet of every video.

        Args:
            frames: uint8 [B, tubelet, H, W, 3].

        Returns:
            float32 tokens [B, h w, D] of this tubelet, and features [B, D] of the window up to it:
            of a clip that ends here, what `Encoder.tokens` and `Encoder.features` give.

        Raises:
            ConfigError: frames of another shape or dtype, or more than a clip of them where
                positions end with the clip.
        """
        config = self.config
        expected = (self.batch, config.tubelet, *config.image_size, 3)
        if frames.shape != expected or frames.dtype != np.uint8:
            raise ConfigError(
                f"this stream takes uint8 frames {list(expected)}, not {frames.dtype} "
                f"{list(frames.shape)}"
            )
        if config.position.startswith("sincos") and self.count == config.grid[0]:
            raise ConfigError(
                f"positions {config.position} end with a clip of {config.num_frames} frames: call "
                "reset() to begin another, or train with --config.model.position=rope_3d"
            )
        self._memory, tokens, features = _push(
            config, self.compute, self.window, self._params, self._memory, frames
        )
        self.count += 1
        return np.asarray(tokens), np.asarray(features)


@functools.partial(jax.jit, static_argnums=(0, 1, 2), donate_argnums=4)
def _push(
    config: ViTConfig,
    compute: Compute,
    window: int,
    params: Params,
    memory: Memory,
    frames: jax.Array,
) -> tuple[Memory, jax.Array, jax.Array]:
    """The memory after a tubelet, its tokens and the window's features; see `Stream.push`."""
    _, h, w = config.grid
    cells, prefix, batch = h * w, config.prefix_tokens, len(frames)
    model = nnx.merge(encoder_graph(config, compute), params)
    place, slot, kept = _places(memory.count, window)

    # Tokens as they enter the first layer: prefix tokens begin anew at every tubelet.
    ids = place * cells + jnp.arange(cells)[None]  # in the clip's grid
    tubelet = dataclasses.replace(config, num_frames=config.tubelet)
    x = model.embed(patchify(frames, tubelet), ids)
    if prefix:
        x = jnp.concatenate([model.prefix_for(batch, x.dtype), x], 1)

    # Rotary tables and times of queries (prefix, tubelet) and of keys (prefix, ring).
    ring = jnp.repeat(kept, cells)
    ring_ids = jnp.maximum(ring, 0) * cells + jnp.tile(jnp.arange(cells), window)
    positions = Positions(config)
    q_rope, k_rope = (
        model.rope_with_prefix(positions.rotary(which)) for which in (ids, ring_ids[None])
    )
    ends = jnp.full(prefix, window)  # prefix tokens come after all tubelets, as in a clip
    q_times = jnp.concatenate([ends, jnp.full(cells, place)])[None]
    k_times = jnp.concatenate([ends, jnp.where(ring < 0, NEVER, ring)])[None]

    graph, layers = nnx.split(model.blocks.layers)

    def body(carry, inputs):
        x, keys, values = carry
        layer, number = inputs
        block = nnx.merge(graph, layer)
        q, k, v = block.attn.heads_of(block.norm1(x))
        start = (number, 0, slot * cells, 0, 0)
        keys = jax.lax.dynamic_update_slice(keys, k[None, :, prefix:], start)
        values = jax.lax.dynamic_update_slice(values, v[None, :, prefix:], start)
        k = jnp.concatenate([k[:, :prefix], keys[number]], 1)
        v = jnp.concatenate([v[:, :prefix], values[number]], 1)
        if q_rope is not None:
            q, k = rotate(q, *q_rope), rotate(k, *k_rope)
        out = attend(q, k, v, times=(q_times, k_times)).reshape(x.shape)
        return (block.after_attention(x, block.attn.proj(out)), keys, values), None

    carry = (x.astype(compute.dtype), memory.keys, memory.values)
    (x, keys, values), _ = jax.lax.scan(body, carry, (layers, jnp.arange(config.depth)))
    if config.final_norm == "tokens":
        x = model.norm(x)
    x = x.astype(jnp.float32)
    tokens = x[:, prefix:]
    means = jax.lax.dynamic_update_slice(memory.means, tokens.mean(1)[:, None], (0, slot, 0))
    if config.pooling == "cls":
        summary = x[:, 0]
    else:
        summary = jnp.where(kept[:, None] < 0, 0, means).sum(1) / (kept >= 0).sum()
    features = pool(config, compute, params, summary[:, None]).astype(jnp.float32)
    return Memory(keys, values, means, memory.count + 1), tokens, features


def _places(count: jax.Array, window: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The places of a window: int32 (), (), [window].

    They are the place of tubelet `count` in the window, the ring's slot that it takes, and the
    place of the tubelet that every slot then holds, -1 where there is none.
    """
    slot = count % window
    tubelet = count - (slot - jnp.arange(window)) % window  # held by every slot
    first = jnp.maximum(count - window + 1, 0)
    return count - first, slot, jnp.where(tubelet < 0, -1, tubelet - first)
