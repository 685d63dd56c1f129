"""The JEPA predictor: a narrow transformer from context tokens to the target's tokens."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.layers import LayerNorm, Linear, Stack, kernel_init
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig


class JEPAPredictor(nnx.Module):
    """V-JEPA's predictor (Bardes et al. 2024, section 3.2), one mask token per kind of mask.

    Args:
        encoder: the encoder's configuration.
        depth, width, heads: of the predictor; its MLP ratio is 4.
        num_masks: kinds of masks.
    """

    def __init__(
        self,
        encoder: ViTConfig,
        compute: Compute,
        *,
        depth: int,
        width: int,
        heads: int,
        num_masks: int,
        rngs: nnx.Rngs,
    ):
        config = dataclasses.replace(
            encoder,
            depth=depth,
            width=width,
            heads=heads,
            mlp_dim=4 * width,
            # A learned table of the encoder's width is of no use here.
            position="sincos_3d" if encoder.position == "learned_2d" else encoder.position,
        )
        self.config = config
        init = kernel_init(config.init)
        self.embed = Linear(encoder.width, width, compute, init=init, rngs=rngs)
        self.mask_tokens = nnx.Param(jnp.zeros((num_masks, width)))
        self.blocks = Stack(config, compute, rngs=rngs)
        self.norm = LayerNorm(width, config.norm_eps, compute, rngs=rngs)
        self.proj = Linear(width, encoder.width, compute, init=init, rngs=rngs)

    def __call__(
        self, context: jax.Array, context_ids: jax.Array, target_ids: jax.Array, mask_index: int
    ) -> jax.Array:
        """Predicts the target encoder's tokens.

        Args:
            context: [B, C, D] encoder tokens; context_ids [B, C] where they are.
            target_ids: [B, M] the tokens to predict.
            mask_index: which kind of mask these ids come from.

        Returns:
            [B, M, D] predictions.
        """
        config = self.config
        positions = Positions(
            config.position, config.grid, config.width, config.heads, config.position_grid
        )
        x = self.embed(context)
        mask = self.mask_tokens[...][mask_index].astype(x.dtype)
        mask = jnp.broadcast_to(mask, (*target_ids.shape, config.width))
        ids = jnp.concatenate([context_ids, target_ids], 1)
        x = positions.add(jnp.concatenate([x, mask], 1), ids)
        x = self.blocks(x, positions.rotary(ids))
        return self.proj(self.norm(x[:, context.shape[1] :]))
