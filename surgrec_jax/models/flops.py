"""Analytic cost of a model's parts, 2 FLOPs per multiply-add; an objective adds them up to a step.

XLA's own cost analysis counts the body of a scan once, whatever its length, so model FLOP
utilisation is computed from these formulas: matrix products only, the backward pass as twice the
forward pass, nothing for rematerialisation.
"""

from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig


def block_flops(tokens: int, width: int, mlp_dim: int) -> float:
    """Forward pass of one transformer block: projections, MLP, and the two attention products."""
    return tokens * width * (8 * width + 4 * mlp_dim) + 4 * tokens**2 * width


def encoder_flops(config: ViTConfig, tokens: int) -> float:
    """Forward pass of the encoder's blocks over some of a clip's tokens."""
    return config.depth * block_flops(tokens, config.width, config.mlp_dim)


def patch_flops(config: ViTConfig, tokens: int) -> float:
    """Forward pass of the patch embedding."""
    return 2 * tokens * config.width * config.patch_dim


def head_flops(head: HeadConfig, width: int, tokens: int) -> float:
    """The operations of a head's forward pass over a clip's tokens.

    They are the blocks of an attentive one, its query's weights and mean per attention head, the
    mean's values, MLP and linear layer.
    """
    linear = 2 * width * head.classes
    if head.kind == "linear":
        return linear
    blocks = head.depth * block_flops(tokens, width, head.mlp_dim)
    pooling = 4 * tokens * width * head.heads + 2 * width**2
    return blocks + pooling + 4 * width * head.mlp_dim + linear
