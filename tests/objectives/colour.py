"""An objective from outside of the package, whole: the example of docs/extending.md."""

import dataclasses

import jax.numpy as jnp
from flax import nnx

from surgrec_jax.models.flops import encoder_flops, patch_flops
from surgrec_jax.models.layers import Linear, kernel_init
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.models.vit import VideoViT, patchify
from surgrec_jax.objectives.base import Objective, check_sizes


@dataclasses.dataclass(frozen=True)
class ColourOptions:
    """The fields of the config's section `colour`."""

    width: int = 16

    def __post_init__(self):
        check_sizes("colour", self, "width")


class Projector(nnx.Module):
    """From tokens' mean [B, D] to a colour [B, 3]."""

    def __init__(self, encoder: ViTConfig, width: int, compute: Compute, *, rngs: nnx.Rngs):
        init = kernel_init(encoder.init)
        self.hidden = Linear(encoder.width, width, compute, init=init, rngs=rngs)
        self.out = Linear(width, 3, compute, init=init, rngs=rngs)

    def __call__(self, x):
        return self.out(nnx.gelu(self.hidden(x)))


class ColourModel(nnx.Module):
    """Encoder and projector."""

    def __init__(self, encoder: ViTConfig, width: int, compute: Compute, *, rngs: nnx.Rngs):
        self.encoder = VideoViT(encoder, compute, rngs=rngs)
        self.projector = Projector(encoder, width, compute, rngs=rngs)


class Colour(Objective):
    """Tell the mean colour of a clip from its tokens."""

    name = "colour"
    rows = ("the clip", "the colour that is told")

    @classmethod
    def from_config(cls, encoder, section, compute, **_):
        """See `Objective.from_config`."""
        return cls(encoder, ColourOptions(**section), compute)

    def __init__(self, encoder: ViTConfig, options: ColourOptions, compute: Compute):
        self.options = options
        super().__init__(
            encoder, compute, lambda rngs: ColourModel(encoder, options.width, compute, rngs=rngs)
        )

    def parts(self):
        """The projector's width."""
        return {"projector": {"width": self.options.width}}

    def flops(self):
        """2 patch + 3 [L block(N) + 2 D W + 2 W 3]."""
        config, width = self.encoder, self.options.width
        projector = 2 * config.width * width + 6 * width
        blocks = encoder_flops(config, config.num_tokens)
        return 2 * patch_flops(config, config.num_tokens) + 3 * (blocks + projector)

    def loss(self, params, batch, keys, target_params=None):
        """Mean squared error of the colour in [0, 1]."""
        colour = batch["video"].astype(jnp.float32).mean((1, 2, 3)) / 255
        return jnp.mean(jnp.square(self._told(params, batch["video"]) - colour)), {}

    def images(self, params, batch, key, target_params=None):
        """Rows of frames [B, 2, T, H, W, 3] uint8."""
        video = jnp.asarray(batch["video"])
        told = jnp.clip(self._told(params, video) * 255, 0, 255).astype(jnp.uint8)
        told = jnp.broadcast_to(told[:, None, None, None], video.shape)
        return jnp.stack([video, told], 1)

    def _told(self, params, video):
        model = self.module(params)
        mean = model.encoder(patchify(video, self.encoder)).mean(1)
        return model.projector(mean).astype(jnp.float32)
