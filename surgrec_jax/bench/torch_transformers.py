"""The losses of MAE and JEPA in PyTorch, with the layers of transformers' models.

The models' own forward passes index with masks and ask the device for sizes, which breaks graphs
and waits for the device. Here their layers are called with `gather` instead: the same losses and
gradients (tests/bench/test_step.py), and as on our side only the visible tubelets are
embedded, and tokens keep the dtype of the layers.

Every call of a loss draws a mask per clip: `torch.rand(B, cells).argsort(1)`, the first of it
hidden (MAE) or seen (JEPA), the same in every tubelet.
"""

import copy
from collections.abc import Callable
from typing import Any

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.mae import MAE, TARGET_EPS
from surgrec_jax.safety.errors import ConfigError

# With this momentum a target's average does all of its work.
MOMENTUM = 0.999


def _check(config: ViTConfig) -> None:
    """Raises ConfigError for an encoder that transformers' models cannot be."""
    if config.attention != "full":
        raise ConfigError(
            f"--compare=torch: transformers' models have no {config.attention} attention; set "
            "model.attention=full"
        )
    if config.image_size[0] != config.image_size[1]:
        raise ConfigError("--compare=torch: transformers' models take square clips only")


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


def gather(x, ids):
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


def mae(objective: MAE, device: str) -> tuple[Callable, Any, Callable[[], None]]:
    """VideoMAEForPreTraining, as its authors train it; as `torch_step.make_loss`."""
    import torch
    import transformers

    config, options = objective.encoder, objective.options
    _check(config)
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
        x = embed(encoder.embeddings.patch_embeddings.projection, gather(tubelets, seen))
        x = x + gather(position, seen).to(x.dtype)
        for layer in encoder.encoder.layer:
            x = layer(x)
        x = model.encoder_to_decoder(encoder.layernorm(x))
        masked = (model.mask_token + gather(decoder_position, hidden)).to(x.dtype)
        x = torch.cat([x + gather(decoder_position, seen).to(x.dtype), masked], 1)
        predicted = model.decoder(x, hidden.shape[1]).logits
        with torch.no_grad():
            y = gather(tubelets, hidden).unflatten(-1, (-1, 3)).float() / 255
            y = (y - y.mean(-2, keepdim=True)) / (y.std(-2, keepdim=True) + TARGET_EPS)
        return torch.nn.functional.mse_loss(predicted.float(), y.flatten(-2))

    return loss, model, lambda: None


def jepa(objective: JEPA, device: str) -> tuple[Callable, Any, Callable[[], None]]:
    """VJEPA2Model's layers over visible tokens only, where its own forward encodes all.

    As `torch_step.make_loss`.
    """
    import torch
    import transformers

    config, options = objective.encoder, objective.options
    _check(config)
    if options.more:
        raise ConfigError(
            "--compare=torch has no counterpart of a frozen target, several levels or added terms"
        )
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
            x = encode(model.encoder, gather(tubelets, seen), seen)
            x = predict(x, seen, hidden, number).float()
            total = total + (x - gather(targets, hidden)).abs().mean()
        return total / len(options.masks)

    def after():
        with torch.no_grad():
            torch._foreach_lerp_(
                list(target.parameters()), list(model.encoder.parameters()), 1 - MOMENTUM
            )

    return loss, model, after
