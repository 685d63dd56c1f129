"""Masked autoencoding of video (VideoMAE v1, Tong et al. 2022; v2's dual masking as an option)."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.decoder import MAEDecoder
from surgrec_jax.models.flops import block_flops, encoder_flops, patch_flops
from surgrec_jax.models.presets import MAE_DECODERS, Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, patchify, take_tokens, unpatchify
from surgrec_jax.objectives import base, masking
from surgrec_jax.safety.errors import ConfigError

# Added to the standard deviation of a patch before dividing by it.
TARGET_EPS = 1e-6
# Options that are the sizes of `MAE_DECODERS`, in their order.
SIZES = ("decoder_depth", "decoder_width", "decoder_heads")


def pixel_targets(tubelets: jax.Array) -> jax.Array:
    """Pixels of every tubelet, standardised per tubelet and channel.

    (x - mean) / (sqrt(unbiased variance) + 1e-6) of x in [0, 1], as VideoMAE has it (Tong et al.
    2022; engine_for_pretraining.py of its code).

    Args:
        tubelets: [..., P] uint8, channel last within P.

    Returns:
        [..., P] float32.
    """
    x = tubelets.reshape(*tubelets.shape[:-1], -1, 3).astype(jnp.float32) / 255
    mean = x.mean(-2, keepdims=True)
    std = jnp.sqrt(x.var(-2, keepdims=True, ddof=1))
    return ((x - mean) / (std + TARGET_EPS)).reshape(tubelets.shape)


@dataclasses.dataclass(frozen=True)
class MAEOptions:
    """Sizes of the decoder and shares of the masks."""

    decoder_depth: int
    decoder_width: int
    decoder_heads: int
    decoder_mlp_dim: int | None = None
    mask_ratio: float = 0.9
    decoder_mask_ratio: float = 0.0

    def __post_init__(self):
        base.check_sizes("mae", self, *SIZES)

    @property
    def decoder(self) -> dict[str, Any]:
        """The sizes that `MAEDecoder` takes."""
        names = ("depth", "width", "heads", "mlp_dim")
        return {name: getattr(self, f"decoder_{name}") for name in names}


class MAE(base.Objective):
    """Hide tubes of tokens, encode the rest, predict the hidden pixels."""

    name = "mae"
    rows = ("the clip", "what the encoder sees of it", "the reconstruction")

    @classmethod
    def from_config(cls, encoder, section, compute, *, preset=None, **_):
        """The fields of `MAEOptions`; sizes of the decoder that are left open go with the preset.

        See `base.Objective.from_config`.
        """
        options = dict(zip(SIZES, MAE_DECODERS.get(preset, ()), strict=False)) | dict(section)
        missing = [f"mae.{name}" for name in SIZES if name not in options]
        if missing:
            raise ConfigError(
                f"model.preset={preset!r} says nothing of the decoder: give {', '.join(missing)}"
            )
        return cls(encoder, MAEOptions(**options), compute)

    def __init__(self, encoder: ViTConfig, options: MAEOptions, compute: Compute):
        _, h, w = encoder.grid
        hidden = int(options.mask_ratio * h * w)
        if not 0 < hidden < h * w:
            raise ConfigError(
                f"mae.mask_ratio={options.mask_ratio} hides {hidden} of {h * w} positions; "
                "at least one must be hidden and one visible"
            )
        if options.decoder_mask_ratio:
            masking.running_cells(encoder.grid, options.decoder_mask_ratio)
        self.options = options

        def build(rngs: nnx.Rngs) -> nnx.Dict:
            return nnx.Dict(
                encoder=VideoViT(encoder, compute, rngs=rngs),
                decoder=MAEDecoder(encoder, compute, **options.decoder, rngs=rngs),
            )

        super().__init__(encoder, compute, build)

    def parts(self):
        """Sizes of the decoder."""
        return {"decoder": self.options.decoder}

    def flops(self):
        """One clip through one MAE step.

        2 patch + 3 [L block(visible) + 2 visible D Dd + Ld block(decoded) + 2 out Dd P]: the patch
        embedding's input needs no gradient.
        """
        config, options = self.encoder, self.options
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

    def loss(self, params, batch, keys, target_params=None):
        """Mean squared error over the decoded hidden tokens (see `base.Objective.loss`)."""
        predicted, target, _ = self._predict(params, batch["video"], keys)
        loss = jnp.mean(jnp.square(predicted.astype(jnp.float32) - target))
        return loss, {"target_std": target.std()}

    def _predict(self, params: Any, video: jax.Array, keys: jax.Array):
        """Predictions and targets [B, M, P] of hidden tokens, and their ids [B, M]."""
        options, grid = self.options, self.encoder.grid
        model = self.module(params)
        mask_keys = jax.vmap(jax.random.split)(keys)  # [B, 2] keys
        visible_ids, hidden_ids = masking.tube_mask(mask_keys[:, 0], grid, options.mask_ratio)
        if options.decoder_mask_ratio:
            hidden_ids = masking.decoded_ids(
                mask_keys[:, 1], hidden_ids, grid, options.decoder_mask_ratio
            )
        tubelets = patchify(video, self.encoder)
        visible = model.encoder(take_tokens(tubelets, visible_ids), visible_ids)
        predicted = model.decoder(visible, visible_ids, hidden_ids)
        return predicted, pixel_targets(take_tokens(tubelets, hidden_ids)), hidden_ids

    def images(self, params, batch, key, target_params=None):
        """Rows of frames [B, 3, T, H, W, 3] uint8: the clip, the visible part, the reconstruction.

        A predicted tubelet gets the mean and deviation of the true one back, which the target
        took away; visible tubelets are copied.
        """
        video = jnp.asarray(batch["video"])
        keys = jax.random.split(key, len(video))
        predicted, _, ids = self._predict(params, video, keys)
        tubelets = patchify(video, self.encoder)
        true = take_tokens(tubelets, ids).astype(jnp.float32) / 255
        true = true.reshape(*true.shape[:-1], -1, 3)
        mean, std = true.mean(-2, keepdims=True), true.std(-2, keepdims=True, ddof=1)
        pixels = predicted.astype(jnp.float32).reshape(true.shape) * (std + TARGET_EPS) + mean
        pixels = jnp.round(jnp.clip(pixels, 0, 1) * 255).astype(jnp.uint8)
        pixels = pixels.reshape(*ids.shape, -1)
        rows = jnp.arange(len(video))[:, None]
        grey = jnp.full_like(pixels, 128)
        shown = [
            unpatchify(tubelets.at[rows, ids].set(fill), self.encoder) for fill in (grey, pixels)
        ]
        return jnp.stack([video, *shown], 1)
