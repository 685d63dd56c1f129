"""The same training step in PyTorch, with transformers' models: what `bench step` compares with.

Masks, sizes, optimizer and batch are those of the objective; weights are transformers' own random
ones. On a CPU it runs eagerly in float32; on a GPU compiled by `torch.compile`, with bfloat16
autocast, PyTorch's fused attention and fused AdamW.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import Objective
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.mae import MAE

# A learning rate and a momentum so that every step does all of a step's work.
LR, MOMENTUM = 1e-4, 0.999


def make_step(
    objective: Objective, video: np.ndarray, *, threads: int
) -> tuple[Callable[[], None], int]:
    """A function that makes one training step, and how many parameters it trains.

    Every call is a step on the same uint8 clips [B, T, H, W, 3], with fresh masks.

    Args:
        threads: of torch, on a CPU.

    Raises:
        ValueError: torch or transformers is not installed, or they have no such model.
    """
    # Threads that wait shall sleep: spinning would count as work. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import torch
        import transformers
    except ImportError as error:
        raise ValueError(
            f"--compare=torch needs torch and transformers: {error}; "
            "pip install -r requirements-dev.txt"
        ) from error
    transformers.logging.set_verbosity_error()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    makers = {MAE: _mae, JEPA: _jepa}
    if type(objective) not in makers:
        raise ValueError(f"--compare=torch has no counterpart of objective {objective.name!r}")
    loss_fn, trained, after = makers[type(objective)](torch, transformers, objective, device)
    mean, std = (
        torch.tensor(value, device=device)[:, None, None]
        for value in (objective.encoder.mean, objective.encoder.std)
    )
    if device == "cuda":
        loss_fn = torch.compile(loss_fn)
    groups = [
        {"params": [p for p in trained.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    clips = torch.from_numpy(video).to(device)

    def step() -> None:
        pixels = (clips.permute(0, 1, 4, 2, 3).float() / 255 - mean) / std  # [B, T, 3, H, W]
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_fn(pixels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        loss.item()  # waits for the device

    return step, sum(p.numel() for p in trained.parameters())


def _sizes(config: ViTConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "tubelet_size": config.tubelet,
        "patch_size": config.patch,
        "attn_implementation": "sdpa",
    }


def _mae(torch, transformers, objective: MAE, device: str):
    """VideoMAEForPreTraining, as its authors train it."""
    config, options = objective.encoder, objective.options
    if config.image_size[0] != config.image_size[1]:
        raise ValueError("transformers' VideoMAE takes square clips only")
    model = transformers.VideoMAEForPreTraining(
        transformers.VideoMAEConfig(
            **_sizes(config),
            intermediate_size=config.mlp_dim,
            num_frames=config.num_frames,
            image_size=config.image_size[0],
            use_mean_pooling=False,
            layer_norm_eps=1e-6,
            decoder_num_hidden_layers=options.decoder_depth,
            decoder_hidden_size=options.decoder_width,
            decoder_intermediate_size=4 * options.decoder_width,
            decoder_num_attention_heads=options.decoder_heads,
        )
    ).to(device)
    model.train()
    t, h, w = config.grid
    hidden = int(options.mask_ratio * h * w)

    def loss(pixels):
        order = torch.rand(len(pixels), h * w, device=device).argsort(1)
        mask = (order < hidden).repeat(1, t)  # [B, N], the same cells in every tubelet
        return model(pixels, bool_masked_pos=mask).loss

    return loss, model, lambda: None


def _jepa(torch, transformers, objective: JEPA, device: str):
    """VJEPA2Model's layers over visible tokens only: its own forward encodes all, then gathers."""
    config, options = objective.encoder, objective.options
    if not config.position.startswith("rope_3d"):
        raise ValueError(f"transformers' V-JEPA 2 has rotary positions, not {config.position}")
    model = transformers.VJEPA2Model(
        transformers.VJEPA2Config(
            **_sizes(config),
            mlp_ratio=config.mlp_dim / config.width,
            frames_per_clip=config.num_frames,
            crop_size=config.image_size[0],
            pred_num_mask_tokens=len(options.masks),
            pred_hidden_size=options.predictor_width,
            pred_num_hidden_layers=options.predictor_depth,
            pred_num_attention_heads=options.predictor_heads,
            drop_path_rate=0.0,
        )
    ).to(device)
    model.train()
    target = copy.deepcopy(model.encoder).requires_grad_(False)
    t, h, w = config.grid

    def gather(x, ids):
        return torch.gather(x, 1, ids[..., None].expand(-1, -1, x.shape[-1]))

    def loss(pixels):
        # A training step of V-JEPA embeds the clip, drops what a mask hides, and encodes the rest.
        with torch.no_grad():
            wanted = target(pixels).last_hidden_state
            wanted = torch.nn.functional.layer_norm(wanted, wanted.shape[-1:])
        tokens = model.encoder.embeddings(pixels)
        total = 0.0
        for number, mask in enumerate(options.masks):
            cells = torch.rand(len(pixels), h * w, device=device).argsort(1)
            layers = torch.arange(t, device=device)[:, None] * h * w
            seen, hidden = (
                (part[:, None] + layers).flatten(1)
                for part in (
                    cells[:, : mask.context],
                    cells[:, mask.context : mask.context + mask.target],
                )
            )
            x = gather(tokens, seen)
            for layer in model.encoder.layer:
                x = layer(x, seen)[0]
            x = model.encoder.layernorm(x)
            x, ids = model.predictor.embeddings(x, [seen], [hidden], mask_index=number)
            for layer in model.predictor.layer:
                x = layer(x, ids)[0]
            x = model.predictor.proj(model.predictor.layernorm(x)[:, seen.shape[1] :])
            total = total + (x - gather(wanted, hidden)).abs().mean()
        return total / len(options.masks)

    def after():
        with torch.no_grad():
            torch._foreach_lerp_(
                list(target.parameters()), list(model.encoder.parameters()), 1 - MOMENTUM
            )

    return loss, model, after
