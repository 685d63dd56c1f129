"""Joint-embedding prediction on video (V-JEPA, Bardes et al. 2024; 2, Assran et al. 2025).

The target is an average of the encoder, or a frozen encoder (SALT, arXiv 2509.24317).
"""

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models import levels
from surgrec_jax.models.flops import block_flops, encoder_flops, patch_flops
from surgrec_jax.models.predictor import JEPAPredictor
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, encoder_graph, patchify, take_tokens
from surgrec_jax.objectives import base, masking
from surgrec_jax.objectives.jepa_options import JEPAOptions, check_levels, check_teacher
from surgrec_jax.objectives.masking import BlockMask
from surgrec_jax.objectives.surgmotion import diversity, motion_weights
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
            check_teacher(encoder, self.teacher)
        for config in (encoder, self.teacher or encoder) if options.levels > 1 else ():
            check_levels(config)

        def build(rngs: nnx.Rngs) -> nnx.Dict:
            norms = {"levels": levels.LevelNorms(encoder)} if options.levels > 1 else {}
            return nnx.Dict(
                encoder=VideoViT(encoder, compute, rngs=rngs),
                predictor=JEPAPredictor(encoder, compute, **options.predictor(encoder), rngs=rngs),
                **norms,
            )

        super().__init__(encoder, compute, build)

    def target_of(self, params):
        """The encoder, and the norms of its earlier levels where they are learnt from."""
        return {name: part for name, part in params.items() if name != "predictor"}

    def prepare(self, batch, keys, step):
        """Adds the weight of the loss on visible tokens at this step, float32 [B]."""
        del keys
        if not self.options.visible_weight:
            return batch
        start, end = self.options.visible_warmup
        risen = jnp.where(step >= end, 1, jnp.clip((step - start) / max(end - start, 1), 0, 1))
        weight = jnp.full(len(batch["video"]), self.options.visible_weight * risen, jnp.float32)
        return {**batch, "visible_weight": weight}

    def parts(self):
        """Sizes of the predictor, and how many levels there are where there are several."""
        several = {"levels": {"count": self.options.levels}} if self.options.levels > 1 else {}
        return {"predictor": self.options.predictor(self.encoder)} | several

    def flops(self):
        """One clip through one JEPA step.

        patch + L block(N) for the target, and per mask 2 patch(ctx) + 3 [L block(ctx) + 2 ctx D Dp
        + Lp block(ctx + tgt) + 2 tgt Dp Dt], Dt the numbers of a target token. Several levels add
        2 ctx levels D D for fusing them, and a loss on visible tokens 2 ctx Dp Dt.
        """
        config, options = self.encoder, self.options
        width, layers, target_config = options.predictor_width, config.grid[0], self._target_config
        tokens, wide = config.num_tokens, options.levels * target_config.width
        fused = options.levels * config.width if options.levels > 1 else 0
        total = patch_flops(target_config, tokens) + encoder_flops(target_config, tokens)
        for mask in options.masks:
            context, target = layers * mask.context, layers * mask.target
            predictor = options.predictor_depth * block_flops(context + target, width, 4 * width)
            total += 2 * patch_flops(config, context) + 3 * (
                encoder_flops(config, context)
                + 2 * context * config.width * (width + fused)
                + predictor
                + 2 * (target + (context if options.visible_weight else 0)) * width * wide
            )
        return total

    @property
    def _target_config(self) -> ViTConfig:
        return self.teacher or self.encoder

    def loss(self, params, batch, keys, target_params=None):
        """Mean absolute error against layer-normed target tokens, averaged over the masks.

        To it come, where the options ask for them, the error on visible tokens over the square root
        of their distance to the nearest hidden one (V-JEPA 2.1), and SurgMotion's terms.

        Metrics: `target_std`, the deviation over clips and positions of the target's normalised
        features, averaged over features (0 = collapsed), the loss and the `within_clip_r2` under
        each mask, and the added terms. See `base.Objective.loss`.
        """
        tubelets = patchify(batch["video"], self.encoder)  # [B, N, P] uint8
        # Nothing is differentiated up to here, so this pass keeps no activations.
        target = jax.lax.stop_gradient(self._target(target_params, tubelets))  # [B, N, levels Dt]
        model, masks, o = self.module(params), self.options.masks, self.options
        mask_keys = jax.vmap(lambda key: jax.random.split(key, len(masks)))(keys)
        ids = [
            masking.multi_block_mask(mask_keys[:, index], self.encoder.grid, mask)
            for index, mask in enumerate(masks)
        ]
        context_ids, target_ids = zip(*ids, strict=True)
        # All masks in one pass: their tokens side by side, each mask's attending to its own.
        seen_ids = jnp.concatenate(context_ids, 1)
        segments = tuple(i.shape[1] for i in context_ids)
        seen = take_tokens(tubelets, seen_ids), seen_ids
        if o.levels > 1:
            context = levels.side_by_side(model.levels(model.encoder, *seen, segments))
        else:
            context = model.encoder(*seen, segments=segments)
        hidden, visible = model.predictor(context, context_ids, target_ids, range(len(masks)))
        losses, metrics = [], {"target_std": target.std((0, 1)).mean()}
        weights = None
        if o.motion_weight:
            weights = motion_weights(batch["video"], self.encoder, o.motion_weight)[..., None]
        for i, (guess, wanted) in enumerate(zip(hidden, target_ids, strict=True)):
            told = take_tokens(target, wanted)
            error = _absolute(guess, told)
            if weights is not None:
                error = error * take_tokens(weights, wanted)
            losses.append(error.mean())
            metrics[f"loss_mask{i}"] = losses[-1]
            metrics[f"predictor_r2_mask{i}"] = within_clip_r2(guess, told)
        loss = sum(losses) / len(losses)
        if o.diversity_weight:
            metrics["diversity"] = diversity(context, base.streams(keys, _LINES))
            loss = loss + o.diversity_weight * metrics["diversity"]
        if visible:
            near = self._visible_errors(visible, ids, target)
            metrics["loss_visible"] = near.mean()
            loss = loss + (batch["visible_weight"] * near).mean()
        return loss, metrics

    def _visible_errors(self, guesses, ids, target: jax.Array) -> jax.Array:
        """Errors [B] on visible tokens over the root of their distances, averaged over the masks.

        Args:
            guesses: [B, Ci, levels Dt] of each mask.
            ids: of visible and of hidden tokens of each mask.
        """
        errors = []
        for guess, (seen, hidden) in zip(guesses, ids, strict=True):
            distance = masking.nearest_hidden(seen, hidden, self.encoder.grid)
            error = _absolute(guess, take_tokens(target, seen))
            errors.append((error / jnp.sqrt(distance)[..., None]).mean((1, 2)))
        return sum(errors) / len(errors)

    def _target(self, target_params: base.Params, tubelets: jax.Array) -> jax.Array:
        """Layer-normed tokens of whole clips, float32 [B, N, levels * D], levels side by side.

        Earlier levels of an average have norms of their own before that; a teacher's have none.
        """
        graph = encoder_graph(self._target_config, self.compute)
        encoder = nnx.merge(graph, target_params["encoder"])
        if self.options.levels == 1:
            return layer_norm(encoder(tubelets))
        if self.teacher is None:
            norms = nnx.merge(levels.norms_graph(self.encoder), target_params["levels"])
            given = norms(encoder, tubelets)
        else:
            depth = self.teacher.depth
            given = encoder.layers(tubelets, layers=levels.level_layers(depth))
        return levels.side_by_side([layer_norm(x) for x in given])

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


# A stream of a clip's key beside those that its masks are split from.
_LINES = 2**31 - 1


def _absolute(guess: jax.Array, told: jax.Array) -> jax.Array:
    """float32 absolute errors."""
    return jnp.abs(guess.astype(jnp.float32) - told)
