"""Joint-embedding prediction on video (V-JEPA, Bardes et al. 2024; 2, Assran et al. 2025).

The target is an average of the encoder, or a frozen encoder (SALT, arXiv 2509.24317).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.flops import block_flops, encoder_flops, patch_flops
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, encoder_graph, patchify, take_tokens
from surgrec_jax.objectives import base, masking
from surgrec_jax.objectives.masking import BlockMask
from surgrec_jax.safety.errors import ConfigError

# The epsilon of the affine-free LayerNorm over the target's tokens (the reference's, torch's).
TARGET_EPS = 1e-5


def layer_norm(x: jax.Array) -> jax.Array:
    """Tokens [..., D] with zero mean and unit variance over D, float32, no affine part."""
    x = x.astype(jnp.float32)
    return (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + TARGET_EPS)


def within_clip_r2(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """The share of the differences among a clip's tokens that a prediction tells, at most 1.

    One minus the ratio of two sums of squares over clips, tokens and features: of the errors, and
    of the targets, each about its mean over the clip's tokens. A prediction that is the same for
    all tokens of a clip has 0, however good that one is.

    Args:
        predicted, target: [B, M, D].
    """

    def about_mean(x):
        return x - x.mean(1, keepdims=True)

    errors = jnp.square(about_mean(predicted.astype(jnp.float32) - target)).sum()
    return 1 - errors / jnp.maximum(jnp.square(about_mean(target)).sum(), 1e-12)


TARGETS = ("ema", "frozen")


@dataclasses.dataclass(frozen=True)
class JEPAOptions:
    """Sizes of the predictor, the kinds of masks a clip is seen under, and whose tokens are told.

    Attributes:
        target: "ema", an average of the encoder, or "frozen", another encoder.
        teacher: architecture of the frozen encoder.
    """

    masks: tuple[BlockMask, ...]
    predictor_depth: int = 12
    predictor_width: int = 384
    predictor_heads: int = 12
    target: str = "ema"
    teacher: ViTConfig | None = None

    def __post_init__(self):
        base.check_sizes("jepa", self, "predictor_depth", "predictor_width", "predictor_heads")
        if self.target not in TARGETS:
            raise ConfigError(f"jepa.target={self.target!r}: choose from {TARGETS}")
        if (self.target == "frozen") != (self.teacher is not None):
            raise ConfigError(
                f"jepa.target={self.target!r} and jepa.teacher do not fit: a frozen target takes "
                "the workdir or checkpoint of an encoder in --config.jepa.teacher, an average none"
            )

    def predictor(self, encoder: ViTConfig) -> dict[str, int]:
        """The sizes that `JEPAPredictor` takes beside this encoder."""
        sizes = {name: getattr(self, f"predictor_{name}") for name in ("depth", "width", "heads")}
        sizes |= {"num_masks": len(self.masks)}
        width = (self.teacher or encoder).width
        return sizes if width == encoder.width else sizes | {"target_width": width}


class JEPAModel(nnx.Module):
    """Context encoder and predictor."""

    def __init__(
        self, encoder: ViTConfig, options: JEPAOptions, compute: Compute, *, rngs: nnx.Rngs
    ):
        self.encoder = VideoViT(encoder, compute, rngs=rngs)
        self.predictor = JEPAPredictor(encoder, compute, **options.predictor(encoder), rngs=rngs)


class JEPA(base.Objective):
    """Predict another encoder's tokens of hidden regions from the tokens of the visible ones.

    Raises:
        ConfigError: a mask that hardly ever fits the grid, or a teacher of other clips.
    """

    name = "jepa"
    uses_target = True
    # The reference excludes 1-D parameters and biases, so its [1, 1, D] mask tokens decay.
    decayed = ("kernel", "mask_tokens")
    rows = ("the clip", "its features (three principal components as red, green, blue)")

    @classmethod
    def from_config(cls, encoder, section, compute, *, teacher=None, **_):
        """The objective of a section of `JEPAOptions` fields; see `base.Objective.from_config`.

        `masks` is a sequence of dicts of the arguments of `BlockMask.on` and the other `BlockMask`
        fields.
        """
        masks = section["masks"]
        if not masks or not all(hasattr(mask, "keys") for mask in masks):
            raise ConfigError(f"jepa.masks={masks!r}: give a tuple of dicts, see configs/jepa.py")
        masks = tuple(BlockMask.on(encoder.grid, **mask) for mask in masks)
        options = {**section, "masks": masks, "teacher": teacher}
        options.pop("teacher_fingerprint", None)  # of weights, which are not looked at here
        return cls(encoder, JEPAOptions(**options), compute)

    def __init__(self, encoder: ViTConfig, options: JEPAOptions, compute: Compute):
        for mask in options.masks:
            masking.check_block_mask(encoder.grid, mask)
        self.options, self.teacher = options, options.teacher
        self.uses_target = options.target == "ema"
        if self.teacher is not None:
            _check_teacher(encoder, self.teacher)
        super().__init__(
            encoder, compute, lambda rngs: JEPAModel(encoder, options, compute, rngs=rngs)
        )

    def parts(self):
        """Sizes of the predictor."""
        return {"predictor": self.options.predictor(self.encoder)}

    def flops(self):
        """One clip through one JEPA step.

        patch + L block(N) for the target, and per mask 2 patch(ctx) + 3 [L block(ctx) + 2 ctx D Dp
        + Lp block(ctx + tgt) + 2 tgt Dp Dt], Dt the width of the target.
        """
        config, options = self.encoder, self.options
        width, layers, target_config = options.predictor_width, config.grid[0], self._target_config
        tokens = config.num_tokens
        total = patch_flops(target_config, tokens) + encoder_flops(target_config, tokens)
        for mask in options.masks:
            context, target = layers * mask.context, layers * mask.target
            predictor = options.predictor_depth * block_flops(context + target, width, 4 * width)
            total += 2 * patch_flops(config, context) + 3 * (
                encoder_flops(config, context)
                + 2 * context * config.width * width
                + predictor
                + 2 * target * width * target_config.width
            )
        return total

    @property
    def _target_config(self) -> ViTConfig:
        return self.teacher or self.encoder

    def loss(self, params, batch, keys, target_params=None):
        """Mean absolute error against layer-normed target tokens, averaged over the masks.

        Metrics: `target_std`, the deviation over clips and positions of the target's normalised
        features, averaged over features (0 = collapsed), and the loss and the `within_clip_r2`
        under each mask. See `base.Objective.loss`.
        """
        tubelets = patchify(batch["video"], self.encoder)  # [B, N, P] uint8
        target_encoder = nnx.merge(
            encoder_graph(self._target_config, self.compute), target_params["encoder"]
        )
        # Nothing is differentiated up to here, so this pass keeps no activations.
        target = jax.lax.stop_gradient(layer_norm(target_encoder(tubelets)))  # [B, N, D]
        model, masks = self.module(params), self.options.masks
        mask_keys = jax.vmap(lambda key: jax.random.split(key, len(masks)))(keys)
        ids = [
            masking.multi_block_mask(mask_keys[:, index], self.encoder.grid, mask)
            for index, mask in enumerate(masks)
        ]
        context_ids, target_ids = zip(*ids, strict=True)
        # All masks in one pass: their tokens side by side, each mask's attending to its own.
        seen_ids = jnp.concatenate(context_ids, 1)
        segments = tuple(i.shape[1] for i in context_ids)
        context = model.encoder(take_tokens(tubelets, seen_ids), seen_ids, segments=segments)
        predicted = model.predictor.packed(context, context_ids, target_ids, range(len(masks)))
        losses, metrics = [], {"target_std": target.std((0, 1)).mean()}
        for i, (guess, wanted) in enumerate(zip(predicted, target_ids, strict=True)):
            told = take_tokens(target, wanted)
            losses.append(jnp.mean(jnp.abs(guess.astype(jnp.float32) - told)))
            metrics[f"loss_mask{i}"] = losses[-1]
            metrics[f"predictor_r2_mask{i}"] = within_clip_r2(guess, told)
        return sum(losses) / len(losses), metrics

    def images(self, params, batch, key, target_params=None):
        """Rows of frames [B, 2, T, H, W, 3] uint8: the clip, and the feature map of an encoder.

        It is the EMA target where there is one. The three leading principal components of all
        tokens shown, each stretched between its 2nd and 98th percentile, are red, green and blue.
        """
        video = batch["video"]
        tokens = self.encode((target_params or params)["encoder"], video).astype(jnp.float32)
        flat = tokens.reshape(-1, tokens.shape[-1])
        flat = flat - flat.mean(0)
        _, vectors = jnp.linalg.eigh(flat.T @ flat)  # ascending eigenvalues
        colours = flat @ vectors[:, :-4:-1]  # [B N, 3]
        low, high = jnp.quantile(colours, jnp.array([0.02, 0.98]), axis=0)
        colours = jnp.clip((colours - low) / jnp.maximum(high - low, 1e-12), 0, 1)
        t, h, w = self.encoder.grid
        colours = jnp.round(colours * 255).astype(jnp.uint8).reshape(-1, t, h, w, 3)
        for axis, times in (
            (1, self.encoder.tubelet),
            (2, self.encoder.patch),
            (3, self.encoder.patch),
        ):
            colours = jnp.repeat(colours, times, axis=axis)
        return jnp.stack([video, colours], 1)


def _check_teacher(encoder: ViTConfig, teacher: ViTConfig) -> None:
    """Raises ConfigError where a teacher's tokens are not of the same pixels as the encoder's."""
    fields = ("num_frames", "image_size", "tubelet", "patch", "mean", "std")
    different = [
        f"{name}={getattr(teacher, name)!r} (here {getattr(encoder, name)!r})"
        for name in fields
        if getattr(teacher, name) != getattr(encoder, name)
    ]
    if different:
        raise ConfigError(
            f"jepa.teacher is an encoder of other clips, tokens or normalisation: "
            f"{', '.join(different)}; give config.model its values, or another teacher"
        )
