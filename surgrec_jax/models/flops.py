"""Analytic cost of a training step, 2 FLOPs per multiply-add.

XLA's own cost analysis counts the body of a scan once, whatever its length, so model FLOP
utilisation is computed from these formulas: matrix products only, the backward pass as twice the
forward pass, nothing for rematerialisation.
"""

from __future__ import annotations

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import Objective
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.mae import MAE


def block_flops(tokens: int, width: int, mlp_dim: int) -> float:
    """Forward pass of one transformer block: projections, MLP, and the two attention products."""
    return tokens * width * (8 * width + 4 * mlp_dim) + 4 * tokens**2 * width


def encoder_flops(config: ViTConfig, tokens: int) -> float:
    """Forward pass of the encoder's blocks over some of a clip's tokens."""
    return config.depth * block_flops(tokens, config.width, config.mlp_dim)


def patch_flops(config: ViTConfig, tokens: int) -> float:
    """Forward pass of the patch embedding."""
    return 2 * tokens * config.width * config.patch_dim


def mae_step_flops(objective: MAE) -> float:
    """One clip through one MAE step.

    2 patch + 3 [L block(visible) + 2 visible D Dd + Ld block(decoded) + 2 out Dd P]: the patch
    embedding's input needs no gradient.
    """
    config, options = objective.encoder, objective.options
    t, h, w = config.grid
    hidden = t * int(options.mask_ratio * h * w)
    visible = config.num_tokens - hidden
    out = round((1 - options.decoder_mask_ratio) * hidden)
    width = options.decoder_width
    mlp_dim = options.decoder_mlp_dim or 4 * width
    decoder = options.decoder_depth * block_flops(visible + out, width, mlp_dim)
    return 2 * patch_flops(config, visible) + 3 * (
        encoder_flops(config, visible)
        + 2 * visible * config.width * width
        + decoder
        + 2 * out * width * config.patch_dim
    )


def jepa_step_flops(objective: JEPA) -> float:
    """One clip through one JEPA step.

    patch + L block(N) for the target, and per mask 2 patch(ctx) + 3 [L block(ctx) + 2 ctx D Dp +
    Lp block(ctx + tgt) + 2 tgt Dp D].
    """
    config, options = objective.encoder, objective.options
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


def step_flops(objective: Objective) -> float:
    """FLOPs of one clip through one training step of an objective.

    Raises:
        TypeError: an objective without a formula.
    """
    if isinstance(objective, MAE):
        return mae_step_flops(objective)
    if isinstance(objective, JEPA):
        return jepa_step_flops(objective)
    raise TypeError(f"no cost formula for {type(objective).__name__}")
