"""A frozen encoder with its preprocessing: uint8 clips in, features out."""

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from surgrec_jax import checkpoint, sharding
from surgrec_jax.frozen.architecture import config_from_meta
from surgrec_jax.models import inside, resize
from surgrec_jax.models.levels import encode_levels
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.streaming import Stream
from surgrec_jax.models.vit import encode, extract_features, init_encoder
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError

Params = dict[str, Any]


def default_compute() -> Compute:
    """The default precision: bfloat16, but float32 on the CPU, where bfloat16 is slower."""
    return Compute(dtype=jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16)


class Encoder:
    """Features of video clips.

    Attributes:
        name: its name in reports.
        config: its architecture; `config.num_frames` frames of `config.image_size`.
        fps: frames per second of the clips it was trained on.
        meta: the JSON values of its checkpoint, {} for a random one.
        params: its parameters, a pure dict.
    """

    def __init__(
        self,
        config: ViTConfig,
        params: Params,
        *,
        fps: float,
        name: str,
        meta: dict[str, Any] | None = None,
        compute: Compute | None = None,
        batch_size: int = 32,
    ):
        self.config, self.params, self.fps, self.name = config, params, fps, name
        self.meta, self.batch_size = meta or {}, batch_size
        self.compute = compute or default_compute()

    @property
    def width(self) -> int:
        """The size D of a feature vector."""
        return self.config.width

    @property
    def clip(self) -> tuple[int, int, float]:
        """The (frames, side in pixels, frames per second) of its clips.

        Raises:
            ValueError: they are not square; `config.image_size` has both sides.
        """
        height, width = self.config.image_size
        if height != width:
            raise ConfigError(
                f"{self.name} takes clips of {height} x {width} pixels, where square ones are "
                "wanted; import it with --resize_to=FRAMESxSIDExSIDE"
            )
        return self.config.num_frames, height, self.fps

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of architecture and weights: equal exactly where the features are."""
        digest = hashlib.sha256(repr((self.config, self.fps)).encode())
        for path, leaf in jax.tree_util.tree_leaves_with_path(self.params):
            digest.update(jax.tree_util.keystr(path).encode())
            digest.update(np.ascontiguousarray(leaf).tobytes())
        return digest.hexdigest()[:16]

    def tokens(self, video: np.ndarray, layers: Sequence[int] | None = None) -> np.ndarray:
        """Tokens after the final norm, float32 [B, N, D], of uint8 clips [B, T, H, W, 3].

        Args:
            layers: numbers from 0, or from the end as in a list: theirs, [B, layers, N, D], normed
                as `models.inside.encode_layers` says.

        Raises:
            ValueError: no array, or clips of another shape or dtype than the encoder takes.
            ConfigError: a layer that there is not.
        """
        if layers is None:
            return self.batched(_tokens, video)
        numbers = inside.numbered(layers, self.config.depth)
        return self.batched(functools.partial(_layer_tokens, layers=numbers), video)

    def levels(self, video: np.ndarray) -> np.ndarray:
        """Tokens of four layers side by side, normed, float32 [B, N, 4 D], of clips as `tokens`.

        Raises:
            ConfigError: an encoder of fewer layers.
            ValueError: as `tokens`.
        """
        return self.batched(_levels, video)

    def features(self, video: np.ndarray, layers: Sequence[int] | None = None) -> np.ndarray:
        """Features of uint8 clips [B, T, H, W, 3]: float32 [B, D].

        They are the mean over tokens, or the CLS token where `ViTConfig.pooling` says so.

        Args:
            layers: as of `tokens`: the features of each, [B, layers, D].

        Raises:
            ValueError, ConfigError: as `tokens`.
        """
        if layers is None:
            return self.batched(_features, video)
        numbers = inside.numbered(layers, self.config.depth)
        return self.batched(functools.partial(_layer_features, layers=numbers), video)

    def attention(
        self, video: np.ndarray, layer: int = -1, queries: Sequence[int] | None = None
    ) -> np.ndarray:
        """Where a layer looks: softmax weights, float32 [B, heads, Q, n], of clips as `tokens`.

        n are the prefix tokens (CLS, registers), then the N patches in raster order (time, row,
        column). An encoder that takes frames apart has [B, frames, heads, Q, n]. All of n x n are
        4 heads n^2 bytes a clip: 157 MB for a ViT-L of 16 x 224, 4.3 GB of 64 x 256.

        Args:
            queries: numbers of the tokens that look; None for all.

        Raises:
            ValueError: as `tokens`. ConfigError: a layer or token that there is not.
        """
        (number,) = inside.numbered((layer,), self.config.depth)
        rows = None if queries is None else inside.rows(queries, self.config)
        return self.batched(functools.partial(_attention, layer=number, queries=rows), video)

    def resized(self, frames: int, side: int, fps: float, method: str) -> "Encoder":
        """The same weights for another clip; `meta["resized"]` records from which, and how.

        Raises:
            ConfigError: "extend" where positions cannot go on, or a clip that is no whole number of
                tubelets and patches.
        """
        old, family = self.config, (self.meta.get("import") or {}).get("family")
        new, how = resize.resized(old, (frames, side, side), method, family)
        record = {"from": [old.num_frames, *old.image_size], "method": how}
        return Encoder(
            new,
            resize.resize_params(self.params, old, new, family),
            fps=fps,
            name=self.name,
            meta=self.meta | {"resized": record},
            compute=self.compute,
            batch_size=self.batch_size,
        )

    def stream(self, window: int | None = None, batch: int = 1) -> Stream:
        """Features of videos without an end, one tubelet after another (see `Stream`).

        Args:
            window: how many frames back a tubelet looks; None for a clip's.
            batch: how many videos run side by side.

        Raises:
            ValueError: an encoder that is not block-causal, or a window that it cannot have.
        """
        return Stream(self.config, self.compute, self.params, window=window, batch=batch)

    def batched(self, function, video: np.ndarray) -> np.ndarray:
        """Applies function(config, compute, params, video [batch, ...]) to clips, batch by batch.

        This process's devices share every batch. Raises ValueError as `tokens`.
        """
        expected = (self.config.num_frames, *self.config.image_size, 3)
        takes = f"{self.name} takes uint8 clips [B, {', '.join(map(str, expected))}]"
        if not isinstance(video, (np.ndarray, jax.Array)):
            raise ValueError(f"{takes} as a NumPy array, not a {type(video).__name__}")
        if video.shape[1:] != expected or video.dtype != np.uint8:
            raise ValueError(f"{takes}, not {video.dtype} {list(video.shape)}")
        parts = []
        mesh, params = self._placed
        size = -(-self.batch_size // mesh.size) * mesh.size
        with jax.set_mesh(mesh):
            for start in range(0, max(len(video), 1), size):
                part = video[start : start + size]
                # A short batch is filled up and cut again, so that few shapes are compiled.
                padding = [(0, sharding.filled(len(part), size, mesh.size) - len(part))]
                padding += [(0, 0)] * (video.ndim - 1)
                whole = jax.device_put(np.pad(part, padding), sharding.batch_sharding(mesh))
                out = function(self.config, self.compute, params, whole)
                parts.append(np.asarray(out)[: len(part)])
        return np.concatenate(parts)

    @functools.cached_property
    def _placed(self) -> tuple[Mesh, Params]:
        """A mesh over this process's devices, which share every batch, and the parameters there."""
        mesh = sharding.make_mesh(devices=jax.local_devices())
        return mesh, jax.device_put(self.params, sharding.replicated(mesh))


# These are compiled per architecture, not per encoder: a probe has several of the same shape.
@functools.partial(jax.jit, static_argnums=(0, 1))
def _tokens(config: ViTConfig, compute: Compute, params: Params, video: jax.Array) -> jax.Array:
    return encode(config, compute, params, video).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _levels(config: ViTConfig, compute: Compute, params: Params, video: jax.Array) -> jax.Array:
    return encode_levels(config, compute, params, video).astype(jnp.float32)


_features = jax.jit(extract_features, static_argnums=(0, 1))
_layer_tokens = jax.jit(inside.encode_layers, static_argnums=(0, 1), static_argnames="layers")
_layer_features = jax.jit(inside.layer_features, static_argnums=(0, 1), static_argnames="layers")
_attention = jax.jit(
    inside.attention_weights, static_argnums=(0, 1), static_argnames=("layer", "queries")
)
_init = jax.jit(init_encoder, static_argnums=0)


def load_encoder(
    path: str | Path,
    *,
    batch_size: int = 32,
    dtype: Any = None,
    compute: Compute | None = None,
) -> Encoder:
    """Loads the encoder of a checkpoint: the EMA target where the objective has one.

    Args:
        path: a workdir, or one step's folder in its checkpoints.
        batch_size: clips that are encoded at once, at most.
        dtype: of activations and products, such as "bfloat16"; None for `default_compute`.
        compute: all options of computing, instead of dtype.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one of another format.
        ConfigError: a batch size below 1, an unknown dtype, or both dtype and compute.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size={batch_size!r}: give at least 1")
    if dtype is not None:
        if compute is not None:
            raise ConfigError("give dtype or compute, not both: compute has a dtype")
        if dtype not in ("float32", "bfloat16", jnp.float32, jnp.bfloat16):
            raise ConfigError(f"dtype={dtype!r}: choose from ('float32', 'bfloat16')")
        compute = Compute(dtype=jnp.dtype(dtype))
    location = checkpoint.find(path)
    meta = checkpoint.read_meta(location)
    config = config_from_meta(meta)
    shapes = jax.eval_shape(lambda: init_encoder(config, jax.random.key(0)))
    with untrusted.interpreting(location.path / "meta.json", error_type=checkpoint.CheckpointError):
        name, fps = f"{meta['objective']} {meta['name']} step {location.step}", meta["fps"]
        if not 0 < fps < math.inf:
            raise ValueError(f"fps={fps!r}")
    params = restore_part(location, meta, "encoder", shapes)
    options = {"compute": compute, "batch_size": batch_size}
    return Encoder(config, params, fps=fps, name=name, meta=meta, **options)


def restore_part(
    location: checkpoint.Location, meta: dict[str, Any], part: str, shapes: Any
) -> Params:
    """Restores a part of the parameters, of the EMA target if there is one, on the first device."""
    with untrusted.interpreting(location.path / "meta.json", error_type=checkpoint.CheckpointError):
        tree = "target_params" if meta["uses_target"] else "params"
    return checkpoint.restore_state(location, {tree: {part: shapes}})[tree][part]


def random_encoder(like: Encoder, seed: int = 0) -> Encoder:
    """Makes an encoder of the same shape with fresh weights, the baseline of probes."""
    params = _init(like.config, jax.random.key(seed))
    name = f"random init, seed {seed}"
    options = {"compute": like.compute, "batch_size": like.batch_size}
    return Encoder(like.config, params, fps=like.fps, name=name, **options)
