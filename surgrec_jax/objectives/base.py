"""The interface of every objective to the one trainer."""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import nnx

from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import encode, extract_features
from surgrec_jax.safety.errors import ConfigError

Params = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Question:
    """A question of the labels.

    Attributes:
        tracks: names of the label tracks: one, or several binary ones (multi-label).
        classes: names of the logits.
        frame: of a clip, whose label is asked for: "centre" or "last".
    """

    tracks: tuple[str, ...]
    classes: tuple[str, ...]
    frame: str = "centre"

    @property
    def multi_label(self) -> bool:
        """Whether classes do not exclude each other."""
        return len(self.tracks) > 1

    def describe(self) -> str:
        """The labels for a line of text."""
        what = "several labels" if self.multi_label else self.tracks[0]
        shown = ", ".join(self.classes[:12]) + ", ..." * (len(self.classes) > 12)
        return f"{what} ({len(self.classes)} classes: {shown}) at the {self.frame} frame of a clip"


class Objective(abc.ABC):
    """A loss over a batch, as pure functions of a pure dict of parameters.

    The module is built once, abstractly, and split into a graph definition and parameters; the
    methods merge them again inside whatever JAX transformation calls them.

    Attributes:
        name: of the objective, of its config section and of its entry in `OBJECTIVES`.
        uses_target: whether `loss` wants an exponential moving average of `target_of(params)`.
        teacher: architecture of a frozen encoder that `loss` wants instead; its parameters are
            never trained, and no checkpoint of the run holds them (`surgrec_jax.teacher`).
        needs_labels: whether it is trained on labels. Its section then has `track` and `frame`,
            which become a `Question`; its batches have "label", int [B, tracks], -1 = unlabelled;
            a run that starts from a checkpoint takes the encoder alone; and `watched` gives the
            probabilities [B, C] that are scored on validation clips.
        decayed: names of the parameters that weight decay applies to.
        rows: what each row of `images` shows, for captions.
        encoder: the encoder's configuration.
    """

    name: str
    uses_target: bool = False
    teacher: ViTConfig | None = None
    needs_labels: bool = False
    decayed: tuple[str, ...] = ("kernel",)
    rows: tuple[str, ...]

    @classmethod
    @abc.abstractmethod
    def from_config(
        cls,
        encoder: ViTConfig,
        section: Mapping[str, Any],
        compute: Compute,
        *,
        preset: str | None = None,
        question: Question | None = None,
        teacher: ViTConfig | None = None,
    ) -> "Objective":
        """The objective that a config describes.

        Args:
            section: the config's section of this name, without the values that are left open.
            preset: `model.preset`, for sizes that go with an encoder's.
            question: what is asked, where `needs_labels`.
            teacher: architecture of the encoder that the section's `teacher` names.

        Raises:
            ConfigError: values that are not possible.
        """

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

    def target_momentum(self, optim: Mapping[str, Any], steps: int) -> optax.Schedule | None:
        """The EMA target's momentum as a function of the step; None without a target.

        Linear from `optim.momentum` to `optim.end_momentum` over the run (V-JEPA, Bardes et al.
        2024, section 3).

        Raises:
            ConfigError: a config section `optim` without them.
        """
        if not self.uses_target:
            return None
        if "momentum" not in optim:
            raise ConfigError(
                f"objective={self.name!r} has an EMA target and needs its momentum: give "
                "optim.momentum and optim.end_momentum"
            )
        return optax.linear_schedule(optim["momentum"], optim["end_momentum"], steps)

    @abc.abstractmethod
    def parts(self) -> dict[str, dict[str, Any]]:
        """Sizes of each module besides the encoder, JSON values that checkpoints keep."""

    @abc.abstractmethod
    def flops(self) -> float:
        """FLOPs of one clip through one training step, of the formulas in `models.flops`."""

    def meta(self) -> dict[str, Any]:
        """Facts for checkpoints besides the encoder and its parts, JSON values."""
        return {}

    def prepare(
        self, batch: dict[str, jax.Array], keys: jax.Array, step: jax.Array
    ) -> dict[str, jax.Array]:
        """The batch that `loss` takes, made of the whole global batch, in which clips may meet.

        Args:
            step: number of steps before this one; what changes in the course of a run, the loss
                gets by an entry of the batch, [B] like all others.
        """
        del keys, step
        return batch

    def watched(self, params: Params, video: jax.Array) -> jax.Array:
        """Features [B, D] float32 that online probes look at: here pooled ones.

        Args:
            params: those that would be exported.
            video: uint8 [B, T, H, W, 3].
        """
        return self.features(params["encoder"], video)

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
            target_params: the EMA of `target_of(params)`, where `uses_target`, or the frozen
                {"encoder": ...} of the `teacher`.
        """

    @abc.abstractmethod
    def images(
        self,
        params: Params,
        batch: dict[str, jax.Array],
        key: jax.Array,
        target_params: Params | None = None,
    ) -> jax.Array:
        """Pictures of the model's work on a few clips: [B, rows, T, H, W, 3] uint8."""

    def encode(self, encoder_params: Params, video: jax.Array) -> jax.Array:
        """Tokens [B, N, D] of whole clips, uint8 [B, T, H, W, 3]."""
        return encode(self.encoder, self.compute, encoder_params, video)

    def features(self, encoder_params: Params, video: jax.Array) -> jax.Array:
        """float32 features [B, D] of whole clips, uint8 [B, T, H, W, 3]."""
        return extract_features(self.encoder, self.compute, encoder_params, video)


class WholeBatchObjective(Objective):
    """An objective whose loss compares the clips of a batch, so that it is no mean over clips.

    Its loss is that of the whole global batch at any number of microbatches: the trainer embeds a
    microbatch after the other, then calls `compare` once (`train_state`).
    """

    @abc.abstractmethod
    def embed(self, params: Params, batch: dict[str, jax.Array], keys: jax.Array) -> jax.Array:
        """Embeddings [B, ...] that the loss compares, of each clip by itself."""

    @abc.abstractmethod
    def compare(
        self, params: Params, embeddings: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Scalar float32 loss and scalar metrics of the whole batch's embeddings."""

    def loss(self, params, batch, keys, target_params=None):
        """See `Objective.loss`."""
        del target_params
        return self.compare(params, self.embed(params, batch, keys), keys)


def streams(keys: jax.Array, number: int) -> jax.Array:
    """Keys [B] of a stream of randomness of their own, one for each of the clips' keys [B]."""
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)


def check_sizes(section: str, options: Any, *names: str) -> None:
    """Raises ConfigError where one of these fields of a config section's options is below 1."""
    for name in names:
        if getattr(options, name) < 1:
            raise ConfigError(f"{section}.{name}={getattr(options, name)}: give at least 1")
