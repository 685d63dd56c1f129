"""Imports of transformers' VideoMAE and VJEPA2: tensors and config.json, which must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.hf_config import (
    agree,
    config_json,
    number,
    ratio_agrees,
    sides,
    statistics,
)
from surgrec_jax.convert.huggingface import videomae_rules, vjepa2_rules
from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Shape
from surgrec_jax.convert.tables import linear
from surgrec_jax.convert.videomae import FIRST_TOKEN
from surgrec_jax.convert.vjepa import take_tokens
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6


def read_videomae(file: Any, options: ImportOptions) -> Plan:
    """Settles the import of VideoMAEModel, VideoMAEForPreTraining or ...VideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, c = file.shapes(), config_json(file, "videomae")
    prefix = plans.find_prefix(shapes, "embeddings.patch_embeddings.projection.weight")
    kernel = shapes[f"{prefix}embeddings.patch_embeddings.projection.weight"]
    style = "v5" if any(k.endswith("query.bias") for k in shapes) else "v4"
    pooled, decoding = "fc_norm.weight" in shapes, "encoder_to_decoder.weight" in shapes
    notes: list[str] = []
    width, _, tubelet, patch, _ = kernel
    depth = plans.depth_of(shapes, f"{prefix}encoder.layer.")
    mlp = plans.shape_of(shapes, f"{prefix}encoder.layer.0.intermediate.dense.weight")[0]
    agree(
        c,
        qv_bias=True,
        hidden_size=width,
        num_hidden_layers=depth,
        intermediate_size=mlp,
        tubelet_size=tubelet,
        patch_size=patch,
    )
    eps = number(c, "layer_norm_eps", 1e-12, float)
    clip = number(c, "num_frames", 16), sides(c, "image_size", 224)
    config = ViTConfig(
        width=width,
        depth=depth,
        heads=number(c, "num_attention_heads", 12),
        mlp_dim=mlp,
        tubelet=tubelet,
        patch=patch,
        qkv_bias="qv",
        norm_eps=plans.settle_eps(eps, EPS, options, "VideoMAE"),
        final_norm="pooled" if pooled else "tokens",
        **plans.settle_clip(options, clip, clip, notes),
        **statistics(file),
    )
    plan = Plan(
        family="hf_videomae",
        objective="mae",
        encoder=config,
        rules=[],
        ignored=[],
        fps=options.fps or 7.5,
        prefixes={"encoder": prefix, "style": style},
        notes=notes,
    )
    if decoding:
        plan.decoder = _decoder(shapes, c)
        notes.append("transformers gives decoder.norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    depth = plan.decoder["depth"] if plan.decoder else 0
    final = "fc_norm" if pooled else "layernorm"
    plan.rules = videomae_rules(prefix, config, style, depth, final)
    if pooled:
        plan.head = HeadConfig("linear", plans.shape_of(shapes, "classifier.weight")[0])
        plan.rules += linear("classifier", "params/head/linear")
        notes.append("transformers gives fc_norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    else:
        plan.ignored.append(Ignored(r"classifier\..*", FIRST_TOKEN))
    return plan


def _decoder(shapes: Mapping[str, Shape], c: dict[str, Any]) -> dict[str, int]:
    """Sizes of the decoder beside VideoMAEModel."""
    first = "decoder.decoder_layers."
    depth = plans.depth_of(shapes, first)
    width = shapes["encoder_to_decoder.weight"][0]
    mlp = plans.shape_of(shapes, f"{first}0.intermediate.dense.weight")[0]
    agree(
        c,
        norm_pix_loss=True,
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        decoder_intermediate_size=mlp,
    )
    heads = number(c, "decoder_num_attention_heads", 6)
    if width % heads:
        raise ConvertError(f"config.json: {heads} heads do not divide a decoder of {width}")
    return {"depth": depth, "width": width, "heads": heads, "mlp_dim": mlp}


def read_vjepa2(file: Any, options: ImportOptions) -> Plan:
    """Settles the import of VJEPA2Model or VJEPA2ForVideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, c = file.shapes(), config_json(file, "vjepa2")
    prefix = plans.find_prefix(shapes, "encoder.embeddings.patch_embeddings.proj.weight")
    kernel = shapes[f"{prefix}encoder.embeddings.patch_embeddings.proj.weight"]
    notes: list[str] = []
    width, _, tubelet, patch, _ = kernel
    depth = plans.depth_of(shapes, f"{prefix}encoder.layer.")
    mlp = plans.shape_of(shapes, f"{prefix}encoder.layer.0.mlp.fc1.weight")[0]
    agree(
        c,
        qkv_bias=True,
        hidden_size=width,
        num_hidden_layers=depth,
        tubelet_size=tubelet,
        patch_size=patch,
    )
    ratio_agrees(c, "mlp_ratio", width, mlp)
    eps = number(c, "layer_norm_eps", EPS, float)
    clip = number(c, "frames_per_clip", 64), sides(c, "crop_size", 256)
    config = ViTConfig(
        width=width,
        depth=depth,
        heads=number(c, "num_attention_heads", 16),
        mlp_dim=mlp,
        tubelet=tubelet,
        patch=patch,
        position="rope_3d_tiled",
        norm_eps=plans.settle_eps(eps, EPS, options, "V-JEPA 2"),
        init="trunc_normal",
        **plans.settle_clip(options, clip, clip, notes),
        **statistics(file),
    )
    plan = Plan(
        family="hf_vjepa2",
        objective="jepa",
        encoder=config,
        rules=[],
        ignored=[],
        fps=options.fps or 4.0,
        prefixes={"encoder": prefix},
        notes=notes,
    )
    if f"{prefix}predictor.embeddings.mask_tokens" in shapes:
        plan.predictor = _predictor(shapes, c, f"{prefix}predictor.")
    if "classifier.weight" in shapes:
        layers = plans.depth_of(shapes, "pooler.self_attention_layers.")
        agree(c, num_pooler_layers=layers)
        plan.head = HeadConfig(
            "attentive",
            shapes["classifier.weight"][0],
            depth=layers,
            heads=config.heads,
            mlp_dim=4 * width,
            norm_eps=config.norm_eps,
        )
    tokens = options.mask_tokens
    if plan.predictor and tokens:
        tokens = take_tokens(list(range(plan.predictor["num_masks"])), options)
        plan.predictor["num_masks"] = len(tokens)
    plan.rules = vjepa2_rules(prefix, config, plan.predictor, plan.head, tokens)
    return plan


def _predictor(shapes: Mapping[str, Shape], c: dict[str, Any], prefix: str) -> dict[str, int]:
    """Sizes of the predictor of VJEPA2Model."""
    count, _, _, width = plans.shape_of(shapes, f"{prefix}embeddings.mask_tokens")
    depth = plans.depth_of(shapes, f"{prefix}layer.")
    agree(
        c,
        pred_hidden_size=width,
        pred_num_hidden_layers=depth,
        pred_num_mask_tokens=count,
        pred_mlp_ratio=4,
    )
    heads = number(c, "pred_num_attention_heads", 12)
    if width % heads:
        raise ConvertError(f"config.json: {heads} heads do not divide a predictor of {width}")
    return {"depth": depth, "width": width, "heads": heads, "num_masks": count}
