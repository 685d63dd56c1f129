"""Architectures as frozen values: the video ViT sizes and the settings of a forward pass."""

import dataclasses

import jax.numpy as jnp
from jax.typing import DTypeLike

from surgrec_jax.safety.errors import ConfigError

# ImageNet statistics of RGB in [0, 1]: the input normalisation of both reference recipes.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

POSITIONS = ("sincos_1d", "sincos_3d", "rope_3d", "rope_3d_tiled", "rope_2d", "learned_2d")
QKV_BIASES = ("qkv", "qv", "none")
INITS = ("xavier", "trunc_normal")
MLPS = ("gelu", "swiglu")
FINAL_NORMS = ("tokens", "pooled", "none")
ATTENTIONS = ("full", "block_causal")
POOLINGS = ("mean", "cls")
# 64 frames of 1024 x 1024 pixels have half as many. A typing error could ask for gigabytes of
# positions before the model is seen to fit nowhere.
MAX_TOKENS = 2**18


@dataclasses.dataclass(frozen=True)
class ViTConfig:
    """A video ViT encoder. Everything here belongs to the weights and is stored with them.

    Attributes:
        width, depth, heads, mlp_dim: transformer sizes.
        num_frames, image_size: the clip: T frames of (height, width) pixels.
        tubelet, patch: a token is `tubelet` frames x `patch` x `patch` pixels.
        position: "sincos_1d" (VideoMAE: a table over the flat token index), "sincos_3d" (V-JEPA 1),
            "rope_3d" (V-JEPA 2.1: frequencies interleaved as rotary embedding means it) or
            "rope_3d_tiled" (V-JEPA 2: frequencies tiled). They are not interchangeable. Image
            encoders: "rope_2d" (DINOv3) and "learned_2d" (DINOv2: a table, one row for CLS).
        qkv_bias: "qkv", "qv" (VideoMAE: learned biases for query and value, none for key), "none".
        norm_eps: epsilon of every LayerNorm.
        init: "xavier" (VideoMAE) or "trunc_normal" (V-JEPA, residual projections scaled by depth).
        mean, std: per-channel normalisation of RGB in [0, 1].
        position_grid: the (time, height, width) grid that positions are stretched from, 0 for an
            axis that is not stretched; None where they follow `grid` itself. Tables are resampled
            trilinearly, rotary coordinates run from 0 to position_grid - 1 (V-JEPA 2.1: 0, 16, 16).
        mlp: "gelu" (exact, erf), or "swiglu": fc2(silu(gate(x)) * fc1(x)).
        layer_scale: whether attention and MLP outputs have a learned scale per channel (DINO).
        prefix_tokens: learned tokens before the patches (CLS and registers); they have no position
            and are not among the tokens that `VideoViT` returns.
        frames_apart: attention stays within one tubelet layer (an image encoder applied per frame).
        modality_embedding: a learned vector added to every token (V-JEPA 2.1, its video one).
        final_norm: "tokens" are normalised, or the "pooled" mean of them (VideoMAE, fine-tuned), or
            "none" (transformers' VideoMAEModel).
        attention: "full", or "block_causal": a patch reads the patches of its own and of earlier
            tubelets; prefix tokens read all, and no patch reads them.
        pooling: what a clip's features are: the "mean" of its tokens, or "cls", the first of the
            prefix tokens.

    Raises:
        ConfigError: a value that is not possible, with the value in the message.
    """

    width: int
    depth: int
    heads: int
    mlp_dim: int
    num_frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    tubelet: int = 2
    patch: int = 16
    position: str = "sincos_1d"
    qkv_bias: str = "qkv"
    norm_eps: float = 1e-6
    init: str = "xavier"
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    position_grid: tuple[int, int, int] | None = None
    mlp: str = "gelu"
    layer_scale: bool = False
    prefix_tokens: int = 0
    frames_apart: bool = False
    modality_embedding: bool = False
    final_norm: str = "tokens"
    attention: str = "full"
    pooling: str = "mean"

    def __post_init__(self):
        for name, allowed in (
            ("position", POSITIONS),
            ("qkv_bias", QKV_BIASES),
            ("init", INITS),
            ("mlp", MLPS),
            ("final_norm", FINAL_NORMS),
            ("attention", ATTENTIONS),
            ("pooling", POOLINGS),
        ):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"model.{name}={getattr(self, name)!r}: choose from {allowed}")
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} does not divide into {self.heads} heads")
        if self.num_frames % self.tubelet:
            raise ConfigError(
                f"{self.num_frames} frames do not divide into tubelets of {self.tubelet}"
            )
        if any(side % self.patch for side in self.image_size):
            raise ConfigError(
                f"image size {self.image_size} does not divide into patches of {self.patch}"
            )
        if self.num_tokens > MAX_TOKENS:
            raise ConfigError(
                f"{self.num_frames} frames of {self.image_size} are {self.num_tokens} tokens; "
                f"at most {MAX_TOKENS} are supported"
            )
        if self.frames_apart and self.attention != "full":
            raise ConfigError(
                "an encoder that takes frames apart never looks at other tubelets; leave "
                "model.attention full"
            )
        if self.pooling == "cls" and (self.frames_apart or not self.prefix_tokens):
            raise ConfigError(
                "model.pooling='cls' takes an encoder with one CLS token for the whole clip: give "
                "model.prefix_tokens=1, and no frames apart"
            )
        if self.position == "rope_2d" and self.width // self.heads % 4:
            raise ConfigError(f"head size {self.width // self.heads} is no multiple of 4: 2-D RoPE")
        if self.position == "learned_2d" and self.position_grid:
            raise ConfigError(
                "a learned position table is resized itself; leave position_grid None"
            )
        if self.position.startswith("rope") and self.width // self.heads < 6:
            raise ConfigError(f"head size {self.width // self.heads} is too small for 3-D RoPE")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (time, height, width)."""
        height, width = self.image_size
        return self.num_frames // self.tubelet, height // self.patch, width // self.patch

    @property
    def num_tokens(self) -> int:
        """Tokens of a whole clip, N = t * h * w."""
        t, h, w = self.grid
        return t * h * w

    @property
    def patch_dim(self) -> int:
        """Values in one tubelet, in the order (frame, row, column, channel)."""
        return self.tubelet * self.patch * self.patch * 3


# width, depth, heads, mlp_dim. Ti to H after Dosovitskiy et al. 2021; g after VideoMAE v2 and
# V-JEPA 2 (mlp ratio 48/11; 16 heads of 88 in the former, 22 of 64 in the latter, taken here
# because 64 suits every attention kernel).
PRESETS: dict[str, tuple[int, int, int, int]] = {
    "Ti": (192, 12, 3, 768),
    "S": (384, 12, 6, 1536),
    "B": (768, 12, 12, 3072),
    "L": (1024, 24, 16, 4096),
    "H": (1280, 32, 16, 5120),
    "g": (1408, 40, 22, 6144),
}

# depth, width, heads of the VideoMAE v1 decoder per encoder size (v2 for g).
MAE_DECODERS: dict[str, tuple[int, int, int]] = {
    "Ti": (4, 96, 3),
    "S": (4, 192, 3),
    "B": (4, 384, 6),
    "L": (12, 512, 8),
    "H": (12, 640, 8),
    "g": (4, 512, 8),
}


def preset(name: str, **changes) -> ViTConfig:
    """The ViT of a size by name, with changes, e.g. `preset("B", num_frames=32, depth=6)`.

    Raises:
        ConfigError: an unknown size.
    """
    if name not in PRESETS:
        raise ConfigError(f"model.preset={name!r}: choose from {tuple(PRESETS)}")
    width, depth, heads, mlp_dim = PRESETS[name]
    sizes = {"width": width, "depth": depth, "heads": heads, "mlp_dim": mlp_dim}
    return ViTConfig(**(sizes | changes))


def beside(encoder: ViTConfig, depth: int, width: int, heads: int, mlp_dim: int) -> ViTConfig:
    """A transformer over the tokens of an encoder, of other sizes: a decoder or a predictor."""
    return dataclasses.replace(
        encoder,
        depth=depth,
        width=width,
        heads=heads,
        mlp_dim=mlp_dim,
        attention="full",  # also for a causal encoder: only its features are of use later
        # A learned table of the encoder's width is of no use here.
        position="sincos_3d" if encoder.position == "learned_2d" else encoder.position,
    )


@dataclasses.dataclass(frozen=True)
class Compute:
    """How a forward pass is computed. Nothing here changes what the weights mean.

    Attributes:
        dtype: of activations and matrix products; norms, softmax and losses are float32.
        attention: which implementation of it, "auto" or a name of `attention.IMPLEMENTATIONS`.
        remat: what is kept for the backward pass, see `remat.policy`.
        unroll: layers unrolled per scan iteration.
    """

    dtype: DTypeLike = jnp.float32
    attention: str = "auto"
    remat: str = "none"
    unroll: int = 1
