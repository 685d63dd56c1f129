"""config.json and preprocessor_config.json of transformers, read and written."""

from __future__ import annotations

from typing import Any

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.plan import ImportOptions
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import IMAGENET_MEAN, IMAGENET_STD, ViTConfig

# Layers are counted out one by one before they are looked for in the file.
MAX_LAYERS, MAX_SIZE = 1000, 10**6


def config_json(file: Any, model_type: str) -> dict[str, Any]:
    """The config.json beside a file.

    Raises:
        ConvertError: none, one of another model, an activation that is neither the exact GELU nor,
            in a gated MLP, SiLU, or a size beyond MAX_LAYERS and MAX_SIZE.
    """
    config = file.config
    if config is None:
        raise ConvertError(f"{file.name} has no config.json beside it; give the whole folder")
    if config.get("model_type") != model_type:
        raise ConvertError(
            f"config.json is of {config.get('model_type')!r}, and the keys are of {model_type!r}"
        )
    for key, value in config.items():
        most = MAX_LAYERS if key.endswith("_layers") else MAX_SIZE
        if isinstance(value, int | float) and not -1 <= value <= most:
            raise ConvertError(f"config.json says {key}={value!r}; at most {most} is read")
    expected = "silu" if config.get("use_gated_mlp") else "gelu"
    if config.get("hidden_act", "gelu") != expected:
        raise ConvertError(
            f"config.json says hidden_act={config.get('hidden_act', 'gelu')!r}; these encoders are "
            f"trained with {expected!r} (gelu: the exact one, erf)"
        )
    return config


def clip_of(
    options: ImportOptions, frames: int, size: int | list[int], notes: list[str]
) -> dict[str, Any]:
    """num_frames and image_size as config.json states them."""
    size = (size, size) if isinstance(size, int) else (size[0], size[1])
    return plans.settle_clip(options, (frames, size), (frames, size), notes)


def statistics(file: Any) -> dict[str, Any]:
    """Mean and deviation of the preprocessor config beside a file, ImageNet's where it has none."""
    pre = file.preprocessor or {}
    if (
        not pre.get("do_normalize", True)
        or abs(pre.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6
    ):
        raise ConvertError(
            "preprocessor config: only x / 255, then (x - mean) / std, is known here"
        )
    return {
        "mean": tuple(pre.get("image_mean", IMAGENET_MEAN)),
        "std": tuple(pre.get("image_std", IMAGENET_STD)),
    }


def videomae_config(encoder: ViTConfig, decoder: dict[str, int] | None) -> dict[str, Any]:
    """config.json of an exported VideoMAE.

    Raises:
        ConvertError: an encoder that VideoMAE cannot describe.
    """
    expected = {"position": "sincos_1d", "qkv_bias": "qv"} | PLAIN
    _check("videomae", encoder, expected)
    config = {
        "architectures": ["VideoMAEForPreTraining" if decoder else "VideoMAEModel"],
        "model_type": "videomae",
        "hidden_act": "gelu",
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "intermediate_size": encoder.mlp_dim,
        "image_size": _square_or_list(encoder.image_size),
        "num_channels": 3,
        "num_frames": encoder.num_frames,
        "patch_size": encoder.patch,
        "tubelet_size": encoder.tubelet,
        "layer_norm_eps": encoder.norm_eps,
        "qv_bias": True,
        "use_mean_pooling": False,
        "norm_pix_loss": True,
        "dtype": "float32",
    }
    if decoder:
        config |= {
            "decoder_hidden_size": decoder["width"],
            "decoder_num_hidden_layers": decoder["depth"],
            "decoder_num_attention_heads": decoder["heads"],
            "decoder_intermediate_size": 4 * decoder["width"],
        }
    return config


def vjepa2_config(
    encoder: ViTConfig, predictor: dict[str, int] | None, head: HeadConfig | None
) -> dict[str, Any]:
    """config.json of an exported VJEPA2.

    Raises:
        ConvertError: an encoder that VJEPA2 cannot describe, above all one of other positions.
    """
    _check("vjepa2", encoder, {"position": "rope_3d_tiled", "qkv_bias": "qkv"} | PLAIN)
    if encoder.image_size[0] != encoder.image_size[1]:
        raise ConvertError(f"VJEPA2 takes square clips, this encoder {encoder.image_size}")
    config = {
        "architectures": ["VJEPA2ForVideoClassification" if head else "VJEPA2Model"],
        "model_type": "vjepa2",
        "hidden_act": "gelu",
        "hidden_size": encoder.width,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.heads,
        "mlp_ratio": mlp_ratio(encoder.width, encoder.mlp_dim),
        "crop_size": encoder.image_size[0],
        "frames_per_clip": encoder.num_frames,
        "in_chans": 3,
        "patch_size": encoder.patch,
        "tubelet_size": encoder.tubelet,
        "layer_norm_eps": encoder.norm_eps,
        "qkv_bias": True,
        "dtype": "float32",
    }
    if predictor:
        config |= {
            "pred_hidden_size": predictor["width"],
            "pred_num_hidden_layers": predictor["depth"],
            "pred_num_attention_heads": predictor["heads"],
            "pred_num_mask_tokens": predictor["num_masks"],
            "pred_mlp_ratio": 4.0,
        }
    if head:
        config |= {
            "num_pooler_layers": head.depth,
            "id2label": {str(n): f"LABEL_{n}" for n in range(head.classes)},
            "label2id": {f"LABEL_{n}": n for n in range(head.classes)},
        }
    return config


def preprocessor_config(encoder: ViTConfig, model: str) -> dict[str, Any]:
    """preprocessor_config.json that gives a clip as this encoder takes it."""
    height, width = encoder.image_size
    common = {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(encoder.mean),
        "image_std": list(encoder.std),
        "do_resize": True,
        "do_center_crop": True,
        "crop_size": {"height": height, "width": width},
        "size": {"shortest_edge": min(height, width)},
    }
    names = {
        "videomae": {
            "image_processor_type": "VideoMAEImageProcessor",
            "video_processor_type": "VideoMAEVideoProcessor",
        },
        "vjepa2": {"video_processor_type": "VJEPA2VideoProcessor"},
    }
    return common | names[model]


# What no encoder of transformers' two video models has.
PLAIN = {
    "mlp": "gelu",
    "layer_scale": False,
    "prefix_tokens": 0,
    "frames_apart": False,
    "modality_embedding": False,
    "position_grid": None,
    "final_norm": "tokens",
}


def _check(model: str, encoder: ViTConfig, expected: dict[str, Any]) -> None:
    wrong = [
        f"{name}={getattr(encoder, name)!r} (it has {value!r})"
        for name, value in expected.items()
        if getattr(encoder, name) != value
    ]
    if wrong:
        raise ConvertError(
            f"transformers' {model} cannot hold this encoder: {', '.join(wrong)}"
            f"{remedy(encoder.position)}"
        )


def remedy(position: str) -> str:
    """What to do about positions that no other project's format has, for the end of an error."""
    if position != "rope_3d":
        return ""
    return (
        "; no change of weights makes one kind of positions the other: an encoder that is to leave "
        "is trained with --config.model.position=rope_3d_tiled"
    )


def mlp_ratio(width: int, mlp_dim: int) -> float:
    """A ratio that gives back mlp_dim as int(width * ratio), which division alone may miss."""
    ratio = mlp_dim / width
    while int(width * ratio) < mlp_dim:
        ratio *= 1 + 1e-12
    return ratio


def _square_or_list(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
