"""Joint-embedding prediction on video (V-JEPA, Bardes et al. 2024; 2, Assran et al. 2025)."""

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


@dataclasses.dataclass(frozen=True)
class JEPAOptions:
    """Sizes of the predictor, and the kinds of masks a clip is seen under."""

    masks: tuple[BlockMask, ...]
    predictor_depth: int = 12
    predictor_width: int = 384
    predictor_heads: int = 12

    def __post_init__(self):
        base.check_sizes("jepa", self, "predictor_depth", "predictor_width", "predictor_heads")

    @property
    def predictor(self) -> dict[str, int]:
        """The sizes that `JEPAPredictor` takes."""
        sizes = {name: getattr(self, f"predictor_{name}") for name in ("depth", "width", "heads")}
        return sizes | {"num_masks": len(self.masks)}


class JEPAModel(nnx.Module):
    """Context encoder and predictor."""

    def __init__(
        self, encoder: ViTConfig, options: JEPAOptions, compute: Compute, *, rngs: nnx.Rngs
    ):
        self.encoder = VideoViT(encoder, compute, rngs=rngs)
        self.predictor = JEPAPredictor(encoder, compute, **options.predictor, rngs=rngs)


class JEPA(base.Objective):
    """Predict an EMA encoder's tokens of hidden regions from the tokens of the visible ones.

    Raises:
        ConfigError: a mask that hardly ever fits the grid.
    """

    name = "jepa"
    uses_target = True
    # The reference excludes 1-D parameters and biases, so its [1, 1, D] mask tokens decay.
    decayed = ("kernel", "mask_tokens")
    rows = ("the clip", "its features (three principal components as red, green, blue)")

    @classmethod
    def from_config(cls, encoder, section, compute, **_):
        """The objective of a section of `JEPAOptions` fields; see `base.Objective.from_config`.

        `masks` is a sequence of dicts of the arguments of `BlockMask.on` and the other `BlockMask`
        fields.
        """
        masks = section["masks"]
        if not masks or not all(hasattr(mask, "keys") for mask in masks):
            raise ConfigError(f"jepa.masks={masks!r}: give a tuple of dicts, see configs/jepa.py")
        masks = tuple(BlockMask.on(encoder.grid, **mask) for mask in masks)
        return cls(encoder, JEPAOptions(**{**section, "masks": masks}), compute)

    def __init__(self, encoder: ViTConfig, options: JEPAOptions, compute: Compute):
        for mask in options.masks:
            masking.check_block_mask(encoder.grid, mask)
        self.options = options
        super().__init__(
            encoder, compute, lambda rngs: JEPAModel(encoder, options, compute, rngs=rngs)
        )

    def parts(self):
        """Sizes of the predictor."""
        return {"predictor": self.options.predictor}

    def flops(self):
        """One clip through one JEPA step.

        patch + L block(N) for the target, and per mask 2 patch(ctx) + 3 [L block(ctx) + 2 ctx D Dp
        + Lp block(ctx + tgt) + 2 tgt Dp D].
        """
        config, options = self.encoder, self.options
        width, layers = options.predictor_width, config.grid[0]
        total = patch_flops(config, config.num_tokens) + encoder_flops(config, config.num_tokens)
        for mask in options.masks:
            context, target = layers * mask.context, layers * mask.target
            predictor = options.predictor_depth * block_flops(context + target, width, 4 * width)
            total += 2 * patch_flops(config, context) + 3 * (
                encoder_flops(config, context)
                + 2 * context * config.width * width
                + predictor
                + 2 * target * width * config.width
            )
        return total

    def loss(self, params, batch, keys, target_params=None):
        """Mean absolute error against layer-normed target tokens, averaged over the masks.

        Metrics: `target_std`, the deviation over clips and positions of the target's normalised
        features, averaged over features (0 = collapsed), and the loss under each mask.
        See `base.Objective.loss`.
        """
        tubelets = patchify(batch["video"], self.encoder)  # [B, N, P] uint8
        target_encoder = nnx.merge(
            encoder_graph(self.encoder, self.compute), target_params["encoder"]
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
        losses = [
            jnp.mean(jnp.abs(guess.astype(jnp.float32) - take_tokens(target, wanted)))
            for guess, wanted in zip(predicted, target_ids, strict=True)
        ]
        metrics = {f"loss_mask{i}": loss for i, loss in enumerate(losses)}
        metrics["target_std"] = target.std((0, 1)).mean()
        return sum(losses) / len(losses), metrics

    def images(self, params, batch, key, target_params=None):
        """Rows of frames [B, 2, T, H, W, 3] uint8: the clip, and the EMA encoder's feature map.

        The three leading principal components of all tokens shown, each stretched between its
        2nd and 98th percentile, are red, green and blue.
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
