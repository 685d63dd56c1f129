"""Imports of transformers' VideoMAE and VJEPA2: tensors and config.json, which must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert.architecture import (
    depth_of,
    find_prefix,
    heads_of,
    settle_clip,
    settle_eps,
    shape_of,
)
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
    prefix = find_prefix(shapes, "embeddings.patch_embeddings.projection.weight")
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
        plan.head = HeadConfig("linear", shape_of(shapes, "classifier.weight")[0])
        plan.rules += linear("classifier", "params/head/linear")
        notes.append("transformers gives fc_norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    else:
        plan.ignored.append(Ignored(r"classifier\..*", FIRST_TOKEN))
    return plan


def _videomae_encoder(
    file: Any, stated: dict[str, Any], prefix: str, options: ImportOptions, notes: list[str]
) -> ViTConfig:
    """The encoder of VideoMAEModel."""
    shapes = file.shapes()
    kernel = shapes[f"{prefix}embeddings.patch_embeddings.projection.weight"]
    width, _, tubelet, patch, _ = kernel
    depth = depth_of(shapes, f"{prefix}encoder.layer.")
    mlp = shape_of(shapes, f"{prefix}encoder.layer.0.intermediate.dense.weight")[0]
    agree(
        stated,
        qv_bias=True,
        hidden_size=width,
        num_hidden_layers=depth,
        intermediate_size=mlp,
        tubelet_size=tubelet,
        patch_size=patch,
    )
    eps = number(stated, "layer_norm_eps", 1e-12, float)
    clip = number(stated, "num_frames", 16), sides(stated, "image_size", 224)
    final = "pooled" if "fc_norm.weight" in shapes else "tokens"
    # VideoMAEModel has a last norm of its own only where use_mean_pooling is false.
    if f"{prefix}layernorm.weight" not in shapes and final == "tokens":
        final = "none" if stated.get("use_mean_pooling", True) is True else final
    return ViTConfig(
        width=width,
        depth=depth,
        heads=number(stated, "num_attention_heads", 12),
        mlp_dim=mlp,
        tubelet=tubelet,
        patch=patch,
        qkv_bias="qv",
        norm_eps=settle_eps(eps, EPS, options, "VideoMAE"),
        final_norm=final,
        **settle_clip(options, clip, clip, notes),
        **statistics(file),
    )


def _decoder(shapes: Mapping[str, Shape], stated: dict[str, Any]) -> dict[str, int]:
    """Sizes of the decoder beside VideoMAEModel."""
    first = "decoder.decoder_layers."
    depth = depth_of(shapes, first)
    width = shapes["encoder_to_decoder.weight"][0]
    mlp = shape_of(shapes, f"{first}0.intermediate.dense.weight")[0]
    agree(
        stated,
        norm_pix_loss=True,
        decoder_hidden_size=width,
        decoder_num_hidden_layers=depth,
        decoder_intermediate_size=mlp,
    )
    heads = number(stated, "decoder_num_attention_heads", 6)
    heads = heads_of("a decoder", width, heads, "config.json states them")
    return {"depth": depth, "width": width, "heads": heads, "mlp_dim": mlp}


def read_vjepa2(file: Any, options: ImportOptions) -> Plan:
    """Plans the import of VJEPA2Model or VJEPA2ForVideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, stated, notes = file.shapes(), config_json(file, "vjepa2"), []
    prefix = find_prefix(shapes, "encoder.embeddings.patch_embeddings.proj.weight")
    config = _vjepa2_encoder(file, stated, prefix, options, notes)
    predictor, tokens = None, options.mask_tokens
    if f"{prefix}predictor.embeddings.mask_tokens" in shapes:
        predictor = _predictor(shapes, stated, f"{prefix}predictor.")
        if tokens:
            tokens = take_tokens(list(range(predictor["num_masks"])), options)
            predictor["num_masks"] = len(tokens)
    head = None
    if "classifier.weight" in shapes:
        layers = depth_of(shapes, "pooler.self_attention_layers.")
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
    shapes = file.shapes()
    kernel = shapes[f"{prefix}encoder.embeddings.patch_embeddings.proj.weight"]
    width, _, tubelet, patch, _ = kernel
    depth = depth_of(shapes, f"{prefix}encoder.layer.")
    mlp = shape_of(shapes, f"{prefix}encoder.layer.0.mlp.fc1.weight")[0]
    agree(
        stated,
        qkv_bias=True,
        hidden_size=width,
        num_hidden_layers=depth,
        tubelet_size=tubelet,
        patch_size=patch,
    )
    ratio_agrees(stated, "mlp_ratio", width, mlp)
    eps = number(stated, "layer_norm_eps", EPS, float)
    clip = number(stated, "frames_per_clip", 64), sides(stated, "crop_size", 256)
    return ViTConfig(
        width=width,
        depth=depth,
        heads=number(stated, "num_attention_heads", 16),
        mlp_dim=mlp,
        tubelet=tubelet,
        patch=patch,
        position="rope_3d_tiled",
        norm_eps=settle_eps(eps, EPS, options, "V-JEPA 2"),
        init="trunc_normal",
        **settle_clip(options, clip, clip, notes),
        **statistics(file),
    )


def _predictor(shapes: Mapping[str, Shape], stated: dict[str, Any], prefix: str) -> dict[str, int]:
    """Sizes of the predictor of VJEPA2Model."""
    count, _, _, width = shape_of(shapes, f"{prefix}embeddings.mask_tokens")
    depth = depth_of(shapes, f"{prefix}layer.")
    agree(
        stated,
        pred_hidden_size=width,
        pred_num_hidden_layers=depth,
        pred_num_mask_tokens=count,
        pred_mlp_ratio=4,
    )
    heads = number(stated, "pred_num_attention_heads", 12)
    heads = heads_of("a predictor", width, heads, "config.json states them")
    return {"depth": depth, "width": width, "heads": heads, "num_masks": count}
