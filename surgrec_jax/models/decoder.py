"""The MAE decoder: a narrow transformer from visible tokens to the pixels of hidden ones."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers

from surgrec_jax.models.elementwise import spread
from surgrec_jax.models.layers import LayerNorm, Linear, Stack, kernel_init
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig, beside


class MAEDecoder(nnx.Module):
    """VideoMAE's decoder (Tong et al. 2022, section 3.2).

    Args:
        encoder: the encoder's configuration.
        depth, width, heads: of the decoder.
        mlp_dim: of its blocks; None for 4 width (VideoMAE v2 g: 48 / 11 width).
    """

    def __init__(
        self,
        encoder: ViTConfig,
        compute: Compute,
        *,
        depth: int,
        width: int,
        heads: int,
        mlp_dim: int | None = None,
        rngs: nnx.Rngs,
    ):
        self.config = config = beside(encoder, depth, width, heads, mlp_dim or 4 * width)
        init = kernel_init(config.init)
        self.embed = Linear(encoder.width, width, compute, init=init, use_bias=False, rngs=rngs)
        self.mask_token = nnx.Param(initializers.truncated_normal(0.02)(rngs.params(), (width,)))
        self.blocks = Stack(config, compute, rngs=rngs)
        self.norm = LayerNorm(width, config.norm_eps, compute, rngs=rngs)
        self.head = Linear(width, config.patch_dim, compute, init=init, rngs=rngs)

    def __call__(
        self, visible: jax.Array, visible_ids: jax.Array, hidden_ids: jax.Array
    ) -> jax.Array:
        """Predicts hidden tubelets.

        Args:
            visible: [B, V, D] encoder tokens; visible_ids [B, V] where they are.
            hidden_ids: [B, M] the tokens to predict.

        Returns:
            [B, M, P] predicted (normalised) pixel values.
        """
        config, positions = self.config, Positions(self.config)
        x = self.embed(visible)
        shape = (*hidden_ids.shape, config.width)
        mask = spread(self.mask_token[...], shape, x.dtype)
        ids = jnp.concatenate([visible_ids, hidden_ids], 1)
        x = positions.add(jnp.concatenate([x, mask], 1), ids)
        x = self.blocks(x, positions.rotary(ids))
        return self.head(self.norm(x[:, visible.shape[1] :]))
