"""Imports of transformers' VideoMAE and VJEPA2: tensors and config.json, which must agree."""

from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.hf_config import (
    agree,
    config_json,
    number,
    ratio_agrees,
    sides,
    statistics,
)
from surgrec_jax.convert.huggingface import videomae_rules, vjepa2_rules
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import Ignored, Shape
from surgrec_jax.convert.tables import linear
from surgrec_jax.convert.videomae import FIRST_TOKEN
from surgrec_jax.convert.vjepa import take_tokens
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6
VIDEOMAE_KERNEL = "embeddings.patch_embeddings.projection.weight"
VJEPA2_KERNEL = "encoder.embeddings.patch_embeddings.proj.weight"
NO_NORM = (
    "the folder has no last norm, as transformers saves VideoMAEModel where use_mean_pooling is "
    "true; tokens are what its last block gives"
)


def read_videomae(file: Any, options: ImportOptions) -> Plan:
    """Plans the import of VideoMAEModel, VideoMAEForPreTraining or ...VideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, stated, notes = file.shapes(), config_json(file, "videomae"), []
    prefix = arch.find_prefix(shapes, VIDEOMAE_KERNEL)
    config = _videomae_encoder(file, stated, prefix, options, notes)
    decoder = _decoder(shapes, stated) if "encoder_to_decoder.weight" in shapes else None
    style = "v5" if any(k.endswith("query.bias") for k in shapes) else "v4"
    plan = Plan(
        family="hf_videomae",
        objective="mae",
        encoder=config,
        rules=videomae_rules(prefix, config, style, decoder["depth"] if decoder else 0),
        ignored=[],
        fps=options.fps or 7.5,
        decoder=decoder,
        prefixes={"encoder": prefix, "style": style},
        notes=notes,
    )
    if decoder:
        notes.append("transformers gives decoder.norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    if config.final_norm == "none":
        notes.append(NO_NORM)
    if config.final_norm == "pooled":
        plan.head = HeadConfig("linear", arch.shape_of(shapes, "classifier.weight")[0])
        plan.rules += linear("classifier", "params/head/linear")
        notes.append("transformers gives fc_norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    else:
        plan.ignored.append(Ignored(r"classifier\..*", FIRST_TOKEN))
    return plan


def _videomae_encoder(
    file: Any, stated: dict[str, Any], prefix: str, options: ImportOptions, notes: list[str]
) -> ViTConfig:
    """The encoder of VideoMAEModel."""
    shapes, kernel = file.shapes(), f"{prefix}{VIDEOMAE_KERNEL}"
    sizes = arch.sizes_of(shapes, kernel, f"{prefix}encoder.layer.", "intermediate.dense")
    agree(stated, qv_bias=True, intermediate_size=sizes["mlp_dim"], **_stated_sizes(sizes))
    eps = number(stated, "layer_norm_eps", 1e-12, float)
    clip = number(stated, "num_frames", 16), sides(stated, "image_size", 224)
    final = "pooled" if "fc_norm.weight" in shapes else "tokens"
    # VideoMAEModel has a last norm of its own only where use_mean_pooling is false.
    if f"{prefix}layernorm.weight" not in shapes and final == "tokens":
        final = "none" if stated.get("use_mean_pooling", True) is True else final
    return ViTConfig(
        **sizes,
        heads=number(stated, "num_attention_heads", 12),
        qkv_bias="qv",
        norm_eps=arch.settle_eps(eps, EPS, options, "VideoMAE"),
        final_norm=final,
        **arch.settle_clip(options, clip, clip, notes),
        **statistics(file),
    )


def _stated_sizes(sizes: Mapping[str, int]) -> dict[str, int]:
    """Sizes by the names that both config.json have for them."""
    names = {"width": "hidden_size", "depth": "num_hidden_layers"}
    names |= {"tubelet": "tubelet_size", "patch": "patch_size"}
    return {name: sizes[ours] for ours, name in names.items()}


def _decoder(shapes: Mapping[str, Shape], stated: dict[str, Any]) -> dict[str, int]:
    """Sizes of the decoder beside VideoMAEModel."""
    first = "decoder.decoder_layers."
    depth = arch.depth_of(shapes, first)
    width = shapes["encoder_to_decoder.weight"][0]
    mlp = arch.shape_of(shapes, f"{first}0.intermediate.dense.weight")[0]
    agree(
        stated,
        norm_pix_loss=True,
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        decoder_intermediate_size=mlp,
    )
    heads = number(stated, "decoder_num_attention_heads", 6)
    heads = arch.heads_of("a decoder", width, heads, "config.json states them")
    return {"depth": depth, "width": width, "heads": heads, "mlp_dim": mlp}


def read_vjepa2(file: Any, options: ImportOptions) -> Plan:
    """Plans the import of VJEPA2Model or VJEPA2ForVideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, stated, notes = file.shapes(), config_json(file, "vjepa2"), []
    prefix = arch.find_prefix(shapes, VJEPA2_KERNEL)
    config = _vjepa2_encoder(file, stated, prefix, options, notes)
    predictor, tokens = None, options.mask_tokens
    if f"{prefix}predictor.embeddings.mask_tokens" in shapes:
        predictor = _predictor(shapes, stated, f"{prefix}predictor.")
        if tokens:
            tokens = take_tokens(list(range(predictor["num_masks"])), options)
            predictor["num_masks"] = len(tokens)
    head = None
    if "classifier.weight" in shapes:
        layers = arch.depth_of(shapes, "pooler.self_attention_layers.")
        agree(stated, num_pooler_layers=layers)
        head = HeadConfig(
            "attentive",
            shapes["classifier.weight"][0],
            depth=layers,
            heads=config.heads,
            mlp_dim=4 * config.width,
            norm_eps=config.norm_eps,
        )
    return Plan(
        family="hf_vjepa2",
        objective="jepa",
        encoder=config,
        rules=vjepa2_rules(prefix, config, predictor, head, tokens),
        ignored=[],
        fps=options.fps or 4.0,
        predictor=predictor,
        head=head,
        prefixes={"encoder": prefix},
        notes=notes,
    )


def _vjepa2_encoder(
    file: Any, stated: dict[str, Any], prefix: str, options: ImportOptions, notes: list[str]
) -> ViTConfig:
    """The encoder of VJEPA2Model."""
    kernel = f"{prefix}{VJEPA2_KERNEL}"
    sizes = arch.sizes_of(file.shapes(), kernel, f"{prefix}encoder.layer.", "mlp.fc1")
    agree(stated, qkv_bias=True, **_stated_sizes(sizes))
    ratio_agrees(stated, "mlp_ratio", sizes["width"], sizes["mlp_dim"])
    eps = number(stated, "layer_norm_eps", EPS, float)
    clip = number(stated, "frames_per_clip", 64), sides(stated, "crop_size", 256)
    return ViTConfig(
        **sizes,
        heads=number(stated, "num_attention_heads", 16),
        position="rope_3d_tiled",
        norm_eps=arch.settle_eps(eps, EPS, options, "V-JEPA 2"),
        init="trunc_normal",
        **arch.settle_clip(options, clip, clip, notes),
        **statistics(file),
    )


def _predictor(shapes: Mapping[str, Shape], stated: dict[str, Any], prefix: str) -> dict[str, int]:
    """Sizes of the predictor of VJEPA2Model."""
    count, _, _, width = arch.shape_of(shapes, f"{prefix}embeddings.mask_tokens")
    depth = arch.depth_of(shapes, f"{prefix}layer.")
    agree(
        stated,
        pred_hidden_size=width,
        pred_num_hidden_layers=depth,
        pred_num_mask_tokens=count,
        pred_mlp_ratio=4,
    )
    heads = number(stated, "pred_num_attention_heads", 12)
    heads = arch.heads_of("a predictor", width, heads, "config.json states them")
    return {"depth": depth, "width": width, "heads": heads, "num_masks": count}
