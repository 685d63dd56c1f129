"""config.json and preprocessor_config.json of transformers, written for an export."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from surgrec_jax.convert.hf_config import mlp_ratio
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig


def videomae_config(
    encoder: ViTConfig,
    decoder: dict[str, int] | None,
    head: HeadConfig | None = None,
    labels: Sequence[str] = (),
    multi_label: bool | None = None,
) -> dict[str, Any]:
    """The config.json of an exported VideoMAE.

    Args:
        labels: names of a head's classes, () for numbers.
        multi_label: whether the classes do not exclude each other, None where nobody recorded it.

    Raises:
        ConvertError: an encoder or head that VideoMAE cannot describe.
    """
    expected = {"position": "sincos_1d", "qkv_bias": "qv"}
    if head:  # VideoMAEForVideoClassification norms the mean of the tokens
        if head.kind != "linear":
            raise ConvertError(f"transformers' videomae has no {head.kind} head, only a linear one")
        expected["final_norm"] = "pooled"
    elif encoder.final_norm == "none":
        expected["final_norm"] = "none"
    check("transformers' videomae", encoder, expected, has_head=head is not None)
    kind = "ForPreTraining" if decoder else "ForVideoClassification" if head else "Model"
    config = {
        "architectures": [f"VideoMAE{kind}"],
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
        "use_mean_pooling": encoder.final_norm != "tokens",
        "norm_pix_loss": True,
        "dtype": "float32",
    }
    if decoder:
        config |= {
            "decoder_hidden_size": decoder["width"],
            "decoder_num_hidden_layers": decoder["depth"],
            "decoder_num_attention_heads": decoder["heads"],
            "decoder_intermediate_size": decoder.get("mlp_dim") or 4 * decoder["width"],
        }
    return config | (_labels(head, labels, multi_label) if head else {})


def vjepa2_config(
    encoder: ViTConfig,
    predictor: dict[str, int] | None,
    head: HeadConfig | None,
    labels: Sequence[str] = (),
    multi_label: bool | None = None,
) -> dict[str, Any]:
    """The config.json of an exported VJEPA2.

    Args:
        labels, multi_label: see `videomae_config`.

    Raises:
        ConvertError: an encoder that VJEPA2 cannot describe, above all one of other positions, or
            a head of other sizes than those that VJEPA2 takes from its encoder.
    """
    check("transformers' vjepa2", encoder, {"position": "rope_3d_tiled", "qkv_bias": "qkv"})
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
    return config | (_pooler(encoder, head, labels, multi_label) if head else {})


def _pooler(
    encoder: ViTConfig, head: HeadConfig, labels: Sequence[str], multi_label: bool | None
) -> dict[str, Any]:
    """The part of a VJEPA2's config.json about its attentive classifier.

    Raises:
        ConvertError: a head that is none, or of other sizes than its encoder's.
    """
    if head.kind != "attentive":
        raise ConvertError(f"transformers' vjepa2 has no {head.kind} head, only an attentive one")
    fixed = {"heads": encoder.heads, "mlp_dim": 4 * encoder.width, "norm_eps": encoder.norm_eps}
    wrong = [
        f"{name}={getattr(head, name)} (it takes {value})"
        for name, value in fixed.items()
        if getattr(head, name) != value
    ]
    if wrong:
        raise ConvertError(
            f"transformers' vjepa2 cannot hold this attentive head: {', '.join(wrong)}; leave "
            "out --whole to export the encoder alone"
        )
    return {"num_pooler_layers": head.depth} | _labels(head, labels, multi_label)


def _labels(head: HeadConfig, labels: Sequence[str], multi_label: bool | None) -> dict[str, Any]:
    names = list(labels) or [f"LABEL_{n}" for n in range(head.classes)]
    kind = "multi_label_classification" if multi_label else "single_label_classification"
    return ({} if multi_label is None else {"problem_type": kind}) | {
        "id2label": {str(n): name for n, name in enumerate(names)},
        "label2id": {name: n for n, name in enumerate(names)},
    }


def preprocessor_config(encoder: ViTConfig, model: str) -> dict[str, Any]:
    """The preprocessor_config.json by which transformers makes the clips that an encoder takes.

    Args:
        model: "videomae" or "vjepa2".
    """
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


# Fields of an encoder that every format here holds, whatever their values.
HELD = ("width", "depth", "heads", "mlp_dim", "num_frames", "image_size", "tubelet", "patch")
HELD += ("norm_eps", "init", "mean", "std")


def check(
    format: str, encoder: ViTConfig, expected: dict[str, Any], *, has_head: bool = False
) -> None:
    """Refuses an encoder that a format cannot hold.

    Args:
        format: its name in the error.
        expected: fields that all encoders of the format have, where they differ from ViTConfig's
            defaults, which hold for every field that is not in HELD.
        has_head: whether a classifier goes with the encoder.

    Raises:
        ConvertError: the fields that differ.
    """
    fields = dataclasses.fields(ViTConfig)
    usual = {field.name: field.default for field in fields if field.name not in HELD}
    wrong = {k: v for k, v in (usual | expected).items() if getattr(encoder, k) != v}
    if wrong:
        differences = (f"{k}={getattr(encoder, k)!r} (it has {v!r})" for k, v in wrong.items())
        raise ConvertError(
            f"{format} cannot hold this encoder: {', '.join(differences)}"
            f"{_remedy(encoder, list(wrong), has_head)}"
        )


def _remedy(encoder: ViTConfig, wrong: list[str], has_head: bool) -> str:
    """The end of an error about these fields: the way out, where there is one."""
    if encoder.position == "rope_3d":
        return (
            "; no change of weights makes one kind of positions the other: an encoder that is to "
            "leave is trained with --config.model.position=rope_3d_tiled"
        )
    if wrong != ["final_norm"]:
        return ""
    if has_head:
        return "; leave out --whole to export the encoder alone"
    if encoder.position != "sincos_1d":  # VideoMAE alone is exported with such a norm
        return ""
    return (
        "; its last norm goes with a linear classifier only: give --whole where the checkpoint has "
        "one"
    )


def _square_or_list(size: tuple[int, int]) -> int | list[int]:
    return size[0] if size[0] == size[1] else list(size)
