"""The loss of LeVJEPA in PyTorch, written from its formulas (arXiv 2608.27395), for `bench step`.

The encoder is a plain pre-norm ViT over the tokens that a view keeps: no published code under a
free licence has its layers.
"""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from surgrec_jax.bench import torch_views
from surgrec_jax.models import projector
from surgrec_jax.models.position import rope_3d
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import sigreg
from surgrec_jax.objectives.levjepa import LeVJEPA
from surgrec_jax.safety.errors import ConfigError

# What of an encoder is followed; every other field must be as ViTConfig has it.
FOLLOWED = (
    *("width", "depth", "heads", "mlp_dim", "num_frames", "image_size", "tubelet", "patch"),
    *("position", "norm_eps", "init", "mean", "std", "prefix_tokens", "attention", "pooling"),
)
# With this momentum the average of the encoder does all of its work.
MOMENTUM = 0.999


def levjepa(objective: LeVJEPA, device: str) -> tuple[Callable, Any, Callable[[], None]]:
    """As `torch_step.make_loss`; every call of the loss draws views and lines anew."""
    import torch

    config, options = objective.encoder, objective.options
    model, loss_of = make(objective, device)
    average = copy.deepcopy(model["encoder"]).requires_grad_(False) if options.ema else None

    def draw(batch: int, local: bool) -> torch_views.Drawn:
        crop = objective.crops[local]
        tokens, kept = config.grid[0] * (crop.side // config.patch) ** 2, objective.kept[local]
        of_view = (crop, options.colours, options.flip, tokens, kept)
        return torch_views.draw(batch, config.image_size, *of_view, device)

    def loss(clips):
        drawn = [draw(len(clips), k > 0) for k in range(1 + options.local_views)]
        lines = torch.randn(options.outputs, options.lines, device=device)
        return loss_of(clips, drawn, lines / lines.norm(dim=0))

    def after():
        if average is not None:
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(average.parameters()), list(model["encoder"].parameters()), 1 - MOMENTUM
                )

    return loss, model, after


def make(objective: LeVJEPA, device: str) -> tuple[Any, Callable]:
    """Makes the model, {"encoder", "projector"}, and its loss of clips, draws and lines.

    The loss takes uint8 clips [B, T, H, W, 3], a `torch_views.Drawn` of the large view and of each
    small one, and lines [K, R] of length one.

    Raises:
        ConfigError: an encoder of another kind.
    """
    import torch

    config, options = objective.encoder, objective.options
    model = torch.nn.ModuleDict(
        {
            "encoder": _encoder(config),
            "projector": torch.nn.Sequential(
                torch.nn.Linear(config.width, options.hidden),
                torch.nn.BatchNorm1d(options.hidden, projector.EPS, track_running_stats=False),
                torch.nn.GELU(),
                torch.nn.Linear(options.hidden, options.outputs),
            ),
        }
    ).to(device)
    encode = _make_encode(config, model["encoder"], device)
    views_of, spread = torch_views.maker(device), _make_sigreg(device)

    def tokens_of(clips, drawn: torch_views.Drawn, side: int):
        """Tubelets [B, n, P] that a view keeps, and their ids [B, n] in the encoder's grid."""
        (t, height, width), p, s = config.grid, config.patch, side // config.patch
        x = views_of(clips, drawn, side)
        x = x.unflatten(1, (t, config.tubelet)).unflatten(4, (s, p)).unflatten(6, (s, p))
        x = x.permute(0, 1, 4, 6, 2, 5, 7, 3).reshape(len(clips), t * s * s, -1)
        ids = drawn["ids"]
        x = x.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))
        place = ids % (s * s)
        return x, ids // (s * s) * height * width + place // s * width + place % s

    def loss_of(clips, drawn: list[torch_views.Drawn], lines):
        with torch.no_grad():
            pixels = clips.permute(0, 1, 4, 2, 3).float().contiguous()
            large, *small = (
                tokens_of(pixels, of_view, objective.crops[k > 0].side)
                for k, of_view in enumerate(drawn)
            )
            small = [torch.stack(parts, 1).flatten(0, 1) for parts in zip(*small, strict=True)]
        features = encode(*small).unflatten(0, (len(clips), -1))
        features = torch.cat([encode(*large)[:, None], features], 1).float()
        z = model["projector"](features.flatten(0, 1)).float().unflatten(0, (len(clips), -1))
        invariance = (z[:, :1] - z).square().mean()
        return invariance + options.sigreg_weight * spread(z, lines)

    return model, loss_of


def _encoder(config: ViTConfig):
    """The modules of an encoder: "patch", "blocks", "norm", and parameters "prefix".

    Raises:
        ConfigError: an encoder of another kind than LeVJEPA's.
    """
    import torch
    from torch import nn

    other = [
        field.name
        for field in dataclasses.fields(config)
        if field.name not in FOLLOWED and getattr(config, field.name) != field.default
    ]
    if other or not config.position.startswith("rope_3d"):
        raise ConfigError(
            "--compare=torch has LeVJEPA for its own encoder: rotary positions, all biases, GELU, "
            "a norm of the tokens and nothing else"
        )

    def norm():
        return nn.LayerNorm(config.width, config.norm_eps)

    def block():
        return nn.ModuleDict(
            {
                "norm1": norm(),
                "qkv": nn.Linear(config.width, 3 * config.width),
                "proj": nn.Linear(config.width, config.width),
                "norm2": norm(),
                "mlp": nn.Sequential(
                    nn.Linear(config.width, config.mlp_dim),
                    nn.GELU(),
                    nn.Linear(config.mlp_dim, config.width),
                ),
            }
        )

    encoder = nn.ModuleDict(
        {
            "patch": nn.Linear(config.patch_dim, config.width),
            "blocks": nn.ModuleList(block() for _ in range(config.depth)),
            "norm": norm(),
        }
    )
    if config.prefix_tokens:
        prefix = nn.Parameter(0.02 * torch.randn(config.prefix_tokens, config.width))
        encoder["prefix"] = nn.ParameterList([prefix])
    return encoder


def _make_encode(config: ViTConfig, encoder, device: str) -> Callable:
    """Makes the map of tubelets [R, n, P] (0 to 255) and ids [R, n] to features [R, D]."""
    import torch

    tiled = config.position == "rope_3d_tiled"
    tables = rope_3d(config.grid, config.width // config.heads, tiled=tiled)
    cos_table, sin_table = (torch.from_numpy(table).to(device) for table in tables)
    mean, std = (torch.tensor(value, device=device) for value in (config.mean, config.std))
    (t, h, w), prefix = config.grid, config.prefix_tokens
    pad = torch.nn.functional.pad

    def turn(x, cos, sin):
        pairs = x.unflatten(-1, (-1, 2))
        swapped = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
        return (x * cos + swapped * sin).to(x.dtype)

    def attend(block, x, cos, sin, mask):
        q, k, v = (
            part.unflatten(-1, (config.heads, -1)).transpose(1, 2)
            for part in block["qkv"](x).chunk(3, -1)
        )
        x = torch.nn.functional.scaled_dot_product_attention(
            turn(q, cos, sin), turn(k, cos, sin), v, attn_mask=mask
        )
        return block["proj"](x.transpose(1, 2).flatten(2))

    def encode(tubelets, ids):
        pixels = (tubelets.unflatten(-1, (-1, 3)) / 255 - mean) / std
        x = encoder["patch"](pixels.flatten(-2))
        # Prefix tokens are not turned, and come after the last tubelet.
        rows = (0, 0, prefix, 0)
        cos, sin = pad(cos_table[ids], rows, value=1.0), pad(sin_table[ids], rows)
        mask = None
        if config.attention != "full":
            time = pad(ids // (h * w), (prefix, 0), value=t)
            mask = (time[:, None, :] <= time[:, :, None])[:, None]
        if prefix:
            x = torch.cat([encoder["prefix"][0].to(x.dtype).expand(len(x), -1, -1), x], 1)
        for block in encoder["blocks"]:
            x = x + attend(block, block["norm1"](x), cos[:, None], sin[:, None], mask)
            x = x + block["mlp"](block["norm2"](x))
        x = encoder["norm"](x)
        return x[:, 0] if config.pooling == "cls" else x[:, prefix:].mean(1)

    return encode


def _make_sigreg(device: str) -> Callable:
    """Makes `sigreg.sigreg` of [B, V, K] and lines [K, R]."""
    import torch

    t = np.linspace(0, sigreg.LIMIT, sigreg.KNOTS)
    normal = np.exp(-(t**2) / 2)
    weight = 2 * t[1] * np.where((t == 0) | (t == sigreg.LIMIT), 0.5, 1.0) * normal
    t, normal, weight = (torch.from_numpy(x).float().to(device) for x in (t, normal, weight))

    def statistic(z, lines):
        with torch.autocast("cuda" if z.is_cuda else "cpu", enabled=False):
            angle = (z @ lines)[..., None] * t
        error = (angle.cos().mean(0) - normal).square() + angle.sin().mean(0).square()
        return (error @ weight).mean()

    return statistic
