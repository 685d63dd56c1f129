"""The same training step in PyTorch, with transformers' models, for `bench step`.

Masks, sizes, optimizer and batch are those of the objective; weights are transformers' own random
ones. On a CPU it runs eagerly in float32; on a GPU as one graph of `torch.compile`, with bfloat16
autocast, PyTorch's fused attention and fused AdamW.

The models' own forward passes index with masks and ask the device for sizes, which breaks graphs
and waits for the device. Here their layers are called with `gather` instead: the same losses and
gradients (tests/bench/test_step.py), and as on our side only the visible tubelets are
embedded, and tokens keep the dtype of the layers.
"""

import copy
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives import Objective
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.mae import MAE, TARGET_EPS
from surgrec_jax.safety.errors import ConfigError

# With this learning rate and momentum every step does all of its work.
LR, MOMENTUM = 1e-4, 0.999


def pick_device(platform: str, count: int) -> str:
    """The name in torch of the device on which jax's step runs.

    Args:
        platform, count: `jax.default_backend()`, and the number of its devices.

    Raises:
        ConfigError: torch or transformers is not installed, torch cannot run on such a device, or
            it would run on one GPU and jax on several.
    """
    # Waiting threads shall sleep, as spinning would count as work; torch reads this when it loads.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--compare=torch needs torch and transformers: {error}; "
            "pip install -r requirements-dev.txt"
        ) from error
    if platform == "cpu":
        return "cpu"
    if platform == "gpu" and count > 1:
        raise ConfigError(
            f"--compare=torch: jax takes all {count} GPUs and torch one; show both one "
            "(CUDA_VISIBLE_DEVICES=0)"
        )
    if platform != "gpu" or not torch.cuda.is_available():
        raise ConfigError(
            f"--compare=torch: jax runs on a {platform} and torch {torch.__version__} has none; "
            "install a torch that has, or compare CPUs (JAX_PLATFORMS=cpu)"
        )
    return "cuda"


def make_step(
    objective: Objective, video: np.ndarray, *, device: str, threads: int
) -> tuple[Callable[[], None], dict[str, Any]]:
    """Makes a function that takes a training step, and figures: device, millions of parameters.

    Every call is a step on the same uint8 clips [B, T, H, W, 3], with fresh masks.

    Args:
        device: device of `pick_device`.
        threads: number of torch's threads, on a CPU.

    Raises:
        ConfigError: transformers has no such model.
    """
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    loss_fn, trained, after = make_loss(objective, device)
    if device == "cuda":
        loss_fn = torch.compile(loss_fn, fullgraph=True)
    groups = [
        {"params": [p for p in trained.parameters() if p.ndim > 1], "weight_decay": 0.05},
        {"params": [p for p in trained.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, fused=True)
    clips = torch.from_numpy(video).to(device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = loss_fn(clips)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        after()
        loss.item()  # waits for the device

    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {threads} threads"
    parameters = sum(p.numel() for p in trained.parameters())
    return step, {"device": name, "parameters_m": parameters / 1e6}


def make_loss(objective: Objective, device: str) -> tuple[Callable, Any, Callable[[], None]]:
    """Makes the loss of uint8 clips [B, T, H, W, 3], its model, and the end of a step.

    Every call draws a mask per clip: `torch.rand(B, cells).argsort(1)`, the first of it hidden
    (MAE) or seen (JEPA), the same in every tubelet.

    Raises:
        ConfigError: transformers has no such model.
    """
    config = objective.encoder
    makers = {MAE: _mae, JEPA: _jepa}
    if type(objective) not in makers:
        raise ConfigError(f"--compare=torch has no counterpart of objective {objective.name!r}")
    if isinstance(objective, JEPA) and objective.options.more:
        raise ConfigError(
            "--compare=torch has no counterpart of a frozen target, several levels or added terms"
        )
    if config.attention != "full":
        raise ConfigError(
            f"--compare=torch: transformers' models have no {config.attention} attention; set "
            "model.attention=full"
        )
    if config.image_size[0] != config.image_size[1]:
        raise ConfigError("--compare=torch: transformers' models take square clips only")
    return makers[type(objective)](config, objective.options, device)


def _sizes(config: ViTConfig) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "tubelet_size": config.tubelet,
        "patch_size": config.patch,
        "attn_implementation": "sdpa",
    }


def _patchify(clips, config: ViTConfig):
    """Cuts clips [B, T, H, W, 3] into tubelets [B, N, P], channels last within P."""
    (t, h, w), p = config.grid, config.patch
    x = clips.unflatten(1, (t, config.tubelet)).unflatten(3, (h, p)).unflatten(5, (w, p))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(clips), t * h * w, -1)


def _gather(x, ids):
    """Gathers rows [B, n, D] of x [B or 1, N, D]."""
    x = x.expand(len(ids), -1, -1)
    return x.gather(1, ids[..., None].expand(-1, -1, x.shape[-1]))


def _in_every_tubelet(cells, config: ViTConfig):
    """The ids of tokens [B, t n] of cells [B, n] of a frame's grid."""
    import torch

    t, h, w = config.grid
    first = torch.arange(t, device=cells.device)[:, None] * (h * w)
    return (cells[:, None] + first).flatten(1)


def _make_embed(config: ViTConfig, device: str) -> Callable:
    """Makes the map of a convolution and uint8 tubelets [B, n, P] to tokens [B, n, D]."""
    import torch

    mean, std = (torch.tensor(value, device=device) for value in (config.mean, config.std))

    def embed(convolution, tubelets):
        # The kernel is as large as the stride: a product costs less than Conv3d.
        x = ((tubelets.unflatten(-1, (-1, 3)).float() / 255 - mean) / std).flatten(-2)
        weight = convolution.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return torch.nn.functional.linear(x, weight, convolution.bias)

    return embed


def _mae(config: ViTConfig, options, device: str):
    """VideoMAEForPreTraining, as its authors train it."""
    import torch
    import transformers

    if options.decoder_mask_ratio:
        raise ConfigError("--compare=torch: transformers' VideoMAE has no mae.decoder_mask_ratio")
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
    encoder, embed = model.videomae, _make_embed(config, device)
    # In transformers these are neither parameters nor buffers, which `to` would move.
    position = encoder.embeddings.position_embeddings.to(device)
    decoder_position = model.position_embeddings.to(device)
    _, h, w = config.grid

    def loss(clips):
        cells = torch.rand(len(clips), h * w, device=device).argsort(1)
        cells = cells.tensor_split([int(options.mask_ratio * h * w)], 1)
        hidden, seen = (_in_every_tubelet(part, config) for part in cells)
        tubelets = _patchify(clips, config)
        x = embed(encoder.embeddings.patch_embeddings.projection, _gather(tubelets, seen))
        x = x + _gather(position, seen).to(x.dtype)
        for layer in encoder.encoder.layer:
            x = layer(x)
        x = model.encoder_to_decoder(encoder.layernorm(x))
        masked = (model.mask_token + _gather(decoder_position, hidden)).to(x.dtype)
        x = torch.cat([x + _gather(decoder_position, seen).to(x.dtype), masked], 1)
        predicted = model.decoder(x, hidden.shape[1]).logits
        with torch.no_grad():
            y = _gather(tubelets, hidden).unflatten(-1, (-1, 3)).float() / 255
            y = (y - y.mean(-2, keepdim=True)) / (y.std(-2, keepdim=True) + TARGET_EPS)
        return torch.nn.functional.mse_loss(predicted.float(), y.flatten(-2))

    return loss, model, lambda: None


def _jepa(config: ViTConfig, options, device: str):
    """VJEPA2Model's layers over visible tokens only, where its own forward encodes all."""
    import torch
    import transformers

    if not config.position.startswith("rope_3d"):
        raise ConfigError(f"transformers' V-JEPA 2 has rotary positions, not {config.position}")
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
    embed = _make_embed(config, device)
    _, h, w = config.grid

    def encode(encoder, tubelets, ids=None):
        x = embed(encoder.embeddings.patch_embeddings.proj, tubelets)
        for layer in encoder.layer:
            x = layer(x, ids)[0]
        return encoder.layernorm(x)

    def predict(x, seen, hidden, number):
        embeddings = model.predictor.embeddings
        x, ids = embeddings.predictor_embeddings(x), torch.cat([seen, hidden], 1)
        guess = embeddings.mask_tokens[number].expand(len(x), hidden.shape[1], -1)
        x = torch.cat([x, guess.to(x.dtype)], 1)
        for layer in model.predictor.layer:
            x = layer(x, ids)[0]
        return model.predictor.proj(model.predictor.layernorm(x)[:, seen.shape[1] :])

    def loss(clips):
        tubelets = _patchify(clips, config)
        with torch.no_grad():
            targets = encode(target, tubelets).float()
            targets = torch.nn.functional.layer_norm(targets, targets.shape[-1:])
        total = 0.0
        for number, mask in enumerate(options.masks):
            cells = torch.rand(len(clips), h * w, device=device).argsort(1)
            cells = cells[:, : mask.context + mask.target].tensor_split([mask.context], 1)
            seen, hidden = (_in_every_tubelet(part, config) for part in cells)
            x = encode(model.encoder, _gather(tubelets, seen), seen)
            x = predict(x, seen, hidden, number).float()
            total = total + (x - _gather(targets, hidden)).abs().mean()
        return total / len(options.masks)

    def after():
        with torch.no_grad():
            torch._foreach_lerp_(
                list(target.parameters()), list(model.encoder.parameters()), 1 - MOMENTUM
            )

    return loss, model, after
