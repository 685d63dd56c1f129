"""What every objective offers to the one trainer."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode

Params = dict[str, Any]


class Objective(abc.ABC):
    """A loss over a batch, as pure functions of a pure dict of parameters.

    The module is built once, abstractly, and split into a graph definition and parameters; the
    methods merge them again inside whatever JAX transformation calls them.

    Attributes:
        name: of the objective.
        uses_target: whether `loss` wants an exponential moving average of `target_of(params)`.
        decayed: names of the parameters that weight decay applies to.
        encoder: the encoder's configuration.
    """

    name: str
    uses_target: bool
    decayed: tuple[str, ...] = ("kernel",)

    def __init__(
        self, encoder: ViTConfig, compute: Compute, build: Callable[[nnx.Rngs], nnx.Module]
    ):
        self.encoder, self.compute, self._build = encoder, compute, build
        self._graph = nnx.graphdef(nnx.eval_shape(lambda: build(nnx.Rngs(0))))

    def init(self, key: jax.Array) -> Params:
        """Fresh float32 parameters, {"encoder": ..., and the objective's own parts}."""
        return nnx.to_pure_dict(nnx.state(self._build(nnx.Rngs(key)), nnx.Param))

    def module(self, params: Params) -> Any:
        """The module around given parameters."""
        return nnx.merge(self._graph, params)

    def target_of(self, params: Params) -> Params:
        """The part of the parameters that an EMA target follows."""
        return {"encoder": params["encoder"]}

    def meta(self) -> dict[str, Any]:
        """What checkpoints say besides the encoder, JSON values."""
        return {}

    def prepare(self, batch: dict[str, jax.Array], keys: jax.Array) -> dict[str, jax.Array]:
        """The batch that `loss` takes, made once from the whole global batch (before it is cut
        into microbatches): here clips may meet each other."""
        del keys
        return batch

    def watched(self, params: Params, video: jax.Array) -> jax.Array:
        """What online probes look at, [B, D] float32: here pooled features.

        Args:
            params: those that would be exported.
            video: uint8 [B, T, H, W, 3].
        """
        tokens = self.encode(params["encoder"], video)
        return tokens.astype(jnp.float32).mean(1)

    @abc.abstractmethod
    def loss(
        self,
        params: Params,
        batch: dict[str, jax.Array],
        keys: jax.Array,
        target_params: Params | None = None,
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Scalar float32 loss and scalar metrics.

        Args:
            params: of `init`.
            batch: {"video": uint8 [B, T, H, W, 3], ...}.
            keys: [B] random keys, one per clip, so that a microbatch sees the masks its clips
                would have in the whole batch.
            target_params: the EMA of `target_of(params)`, where `uses_target`.
        """

    @abc.abstractmethod
    def images(
        self,
        params: Params,
        batch: dict[str, jax.Array],
        key: jax.Array,
        target_params: Params | None = None,
    ) -> jax.Array:
        """What the model does with a few clips: [B, rows, T, H, W, 3] uint8."""

    def encode(self, encoder_params: Params, video: jax.Array) -> jax.Array:
        """Tokens [B, N, D] of whole clips, uint8 [B, T, H, W, 3]."""
        return encode(self.encoder, self.compute, encoder_params, video)
