"""The JEPA predictor: a narrow transformer from context tokens to the target's tokens."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from surgrec_jax.models.elementwise import add_bias, gelu, spread
from surgrec_jax.models.layers import LayerNorm, Linear, Stack, kernel_init
from surgrec_jax.models.position import Positions
from surgrec_jax.models.presets import Compute, ViTConfig, beside


class JEPAPredictor(nnx.Module):
    """V-JEPA's predictor (Bardes et al. 2024, section 3.2), one mask token per kind of mask.

    Args:
        encoder: the encoder's configuration.
        depth, width, heads: of the predictor; its MLP ratio is 4.
        num_masks: kinds of masks.
        target_width: numbers of a target token; None for the encoder's width times `levels`.
        levels: layers of the encoder whose tokens come side by side, fused by two layers where
            there are several (V-JEPA 2.1).
        visible: whether a second output matrix tells the targets of visible tokens (V-JEPA 2.1).
        modality: whether a learned vector is added to every token (V-JEPA 2.1, its video one).
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
        target_width: int | None = None,
        levels: int = 1,
        visible: bool = False,
        modality: bool = False,
        rngs: nnx.Rngs,
    ):
        self.config = config = beside(encoder, depth, width, heads, 4 * width)
        init = kernel_init(config.init)
        if levels > 1:
            self.fuse = Linear(levels * encoder.width, encoder.width, compute, init=init, rngs=rngs)
        self.embed = Linear(encoder.width, width, compute, init=init, rngs=rngs)
        if modality:
            self.modality = nnx.Param(jnp.zeros(width))
        self.mask_tokens = nnx.Param(jnp.zeros((num_masks, width)))
        self.blocks = Stack(config, compute, rngs=rngs)
        self.norm = LayerNorm(width, config.norm_eps, compute, rngs=rngs)
        outputs = target_width or levels * encoder.width
        self.proj = Linear(width, outputs, compute, init=init, rngs=rngs)
        if visible:
            self.proj_visible = Linear(width, outputs, compute, init=init, rngs=rngs)

    def __call__(
        self,
        context: jax.Array,
        context_ids: Sequence[jax.Array],
        target_ids: Sequence[jax.Array],
        mask_indices: Sequence[int],
    ) -> tuple[list[jax.Array], list[jax.Array]]:
        """Predictions under several masks, whose tokens do not see each other, in one pass.

        Args:
            context: [B, C1 + C2 + ..., levels * D] encoder tokens, one mask after the other.
            context_ids, target_ids: [B, Ci] and [B, Mi] of each mask.
            mask_indices: which kinds of masks these are.

        Returns:
            [B, Mi, target_width] predictions of the targets under each mask, and
            [B, Ci, target_width] of the visible tokens; [] without `visible`.
        """
        config, positions = self.config, Positions(self.config)
        if hasattr(self, "fuse"):
            context = gelu(self.fuse(context))
        contexts = _split(self.embed(context), context_ids)
        parts = []  # [B, Ci, Dp], [B, Mi, Dp] of one mask after the other
        for seen, targets, index in zip(contexts, target_ids, mask_indices, strict=True):
            shape = (*targets.shape, config.width)
            parts += [seen, spread(self.mask_tokens[...][index], shape, context.dtype)]
        pairs = zip(context_ids, target_ids, strict=True)
        ids = jnp.concatenate([ids for pair in pairs for ids in pair], 1)
        segments = tuple(
            seen.shape[1] + targets.shape[1]
            for seen, targets in zip(context_ids, target_ids, strict=True)
        )
        x = jnp.concatenate(parts, 1)
        if hasattr(self, "modality"):
            x = add_bias(x, self.modality[...])
        x = positions.add(x, ids)
        x = _split(self.blocks(x, positions.rotary(ids), segments), parts)
        hidden = _split(self.proj(self.norm(jnp.concatenate(x[1::2], 1))), target_ids)
        if not hasattr(self, "proj_visible"):
            return hidden, []
        seen = self.proj_visible(self.norm(jnp.concatenate(x[::2], 1)))
        return hidden, _split(seen, context_ids)


def _split(x: jax.Array, like: Sequence[jax.Array]) -> list[jax.Array]:
    """Parts of x, cut along its token axis, as long as others' are."""
    return jnp.split(x, np.cumsum([part.shape[1] for part in like])[:-1], axis=1)
