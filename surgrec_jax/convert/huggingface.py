"""transformers' VideoMAE and VJEPA2: their keys and config.json, in both directions.

VideoMAE has two key styles for the biases: q_bias and v_bias (version 4 in memory, and what
both versions save), and query.bias and value.bias (version 5 in memory).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.hf_config import clip_of, config_json, statistics
from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.convert.strict import (
    ConvertError,
    Rule,
    Shape,
    Transform,
    fused_bias,
    fused_linear,
    squeeze,
)
from surgrec_jax.convert.tables import BlockNames, blocks, linear, norm, patch_embed
from surgrec_jax.convert.vjepa import take_tokens
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6
VIDEOMAE_BLOCK = {
    "norm1": "layernorm_before",
    "qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
    "proj": "attention.output.dense",
    "norm2": "layernorm_after",
    "fc1": "intermediate.dense",
    "fc2": "output.dense",
}
BIASES = {"v4": ("q_bias", "v_bias"), "v5": ("query.bias", "value.bias")}
VJEPA2_BLOCK = BlockNames(
    qkv=tuple(f"attention.{name}" for name in ("query", "key", "value")), proj="attention.proj"
)
POOLER_BLOCK = BlockNames(
    norm1="layer_norm1",
    qkv=tuple(f"self_attn.{name}_proj" for name in "qkv"),
    proj="self_attn.out_proj",
    norm2="layer_norm2",
)


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """ "hf_videomae", "hf_vjepa2", or None."""
    for anchor, family in (
        ("embeddings.patch_embeddings.projection.weight", "hf_videomae"),
        ("embeddings.patch_embeddings.proj.weight", "hf_vjepa2"),
    ):
        if any(k.endswith(anchor) and len(s) == 5 for k, s in shapes.items()):
            return family
    return None


def videomae_names(style: str) -> BlockNames:
    """Block names in the style "v4" or "v5"."""
    q, v = (f"attention.attention.{name}" for name in BIASES[style])
    return BlockNames(**VIDEOMAE_BLOCK, q_bias=q, v_bias=v)


def videomae_rules(
    prefix: str, config: ViTConfig, style: str, decoder_depth: int = 0, final: str = "layernorm"
) -> list[Rule]:
    """The table of VideoMAEModel under a prefix, and of the decoder beside it."""
    path, names = "params/encoder", videomae_names(style)
    source = f"{prefix}encoder.layer.{{i}}."
    kernel = f"{prefix}embeddings.patch_embeddings.projection"
    rules = [
        *patch_embed(kernel, f"{path}/patch_embed", config),
        *blocks(source, f"{path}/blocks", config.depth, "qv", names),
        *norm(final if final == "fc_norm" else f"{prefix}{final}", f"{path}/norm"),
    ]
    if decoder_depth:
        path, source = "params/decoder", "decoder.decoder_layers.{i}."
        rules += [
            *linear("encoder_to_decoder", f"{path}/embed", bias=False),
            Rule("mask_token", f"{path}/mask_token", squeeze(1, 1)),
            *blocks(source, f"{path}/blocks", decoder_depth, "qv", names),
            *norm("decoder.norm", f"{path}/norm"),
            *linear("decoder.head", f"{path}/head"),
        ]
    return rules


def read_videomae(file: Any, options: ImportOptions) -> Plan:
    """Settles the import of VideoMAEModel, VideoMAEForPreTraining or ...VideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, c = file.shapes(), config_json(file, "videomae")
    prefix = plans.find_prefix(shapes, "embeddings.patch_embeddings.projection.weight")
    style = "v5" if any(k.endswith("query.bias") for k in shapes) else "v4"
    if not c.get("qv_bias", c.get("qkv_bias", True)):
        raise ConvertError("config.json says qv_bias=false, which no VideoMAE has")
    pooled, decoding = "fc_norm.weight" in shapes, "encoder_to_decoder.weight" in shapes
    notes: list[str] = []
    config = ViTConfig(
        width=c.get("hidden_size", 768),
        depth=c.get("num_hidden_layers", 12),
        heads=c.get("num_attention_heads", 12),
        mlp_dim=c.get("intermediate_size", 3072),
        tubelet=c.get("tubelet_size", 2),
        patch=c.get("patch_size", 16),
        qkv_bias="qv",
        norm_eps=plans.settle_eps(c.get("layer_norm_eps", 1e-12), EPS, options, "VideoMAE"),
        final_norm="pooled" if pooled else "tokens",
        **clip_of(options, c.get("num_frames", 16), c.get("image_size", 224), notes),
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
        plan.decoder = {
            "depth": c.get("decoder_num_hidden_layers", 4),
            "width": c.get("decoder_hidden_size", 384),
            "heads": c.get("decoder_num_attention_heads", 6),
        }
        if c.get("decoder_intermediate_size", 1536) != 4 * plan.decoder["width"]:
            raise ConvertError(
                "config.json: decoder_intermediate_size is not 4 decoder_hidden_size"
            )
        notes.append("transformers gives decoder.norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    depth = plan.decoder["depth"] if plan.decoder else 0
    final = "fc_norm" if pooled else "layernorm"
    plan.rules = videomae_rules(prefix, config, style, depth, final)
    if "classifier.weight" in shapes:
        plan.head = HeadConfig("linear", shapes["classifier.weight"][0])
        plan.rules += linear("classifier", "params/head/linear")
    if pooled:
        notes.append("transformers gives fc_norm eps 1e-5; VideoMAE trains it with 1e-6, kept")
    return plan


def vjepa2_rules(
    prefix: str,
    config: ViTConfig,
    predictor: Mapping[str, int] | None = None,
    head: HeadConfig | None = None,
    tokens: tuple[int, ...] | None = None,
) -> list[Rule]:
    """The table of VJEPA2Model under a prefix, and of the classifier beside it."""
    path = "params/encoder"
    kernel = f"{prefix}encoder.embeddings.patch_embeddings.proj"
    source = f"{prefix}encoder.layer.{{i}}."
    rules = [
        *patch_embed(kernel, f"{path}/patch_embed", config),
        *blocks(source, f"{path}/blocks", config.depth, "qkv", VJEPA2_BLOCK),
        *norm(f"{prefix}encoder.layernorm", f"{path}/norm"),
    ]
    if predictor:
        path, at = "params/predictor", f"{prefix}predictor."
        source, depth = f"{at}layer.{{i}}.", predictor["depth"]
        rules += [
            *linear(f"{at}embeddings.predictor_embeddings", f"{path}/embed"),
            Rule(f"{at}embeddings.mask_tokens", f"{path}/mask_tokens", mask_tokens(tokens)),
            *blocks(source, f"{path}/blocks", depth, "qkv", VJEPA2_BLOCK),
            *norm(f"{at}layernorm", f"{path}/norm"),
            *linear(f"{at}proj", f"{path}/proj"),
        ]
    return rules + (_pooler_rules(head) if head else [])


def _pooler_rules(head: HeadConfig) -> list[Rule]:
    path, cross = "params/head", "pooler.cross_attention_layer."
    kv = [f"{cross}cross_attn.{name}_proj" for name in "kv"]
    source = "pooler.self_attention_layers.{i}."
    rules = [
        Rule("pooler.query_tokens", f"{path}/query", squeeze(1)),
        *norm(f"{cross}layer_norm1", f"{path}/norm1"),
        *linear(f"{cross}cross_attn.q_proj", f"{path}/cross/q"),
        Rule(tuple(f"{k}.weight" for k in kv), f"{path}/cross/kv/kernel", fused_linear(2)),
        Rule(tuple(f"{k}.bias" for k in kv), f"{path}/cross/kv/bias", fused_bias(2)),
        *norm(f"{cross}layer_norm2", f"{path}/norm2"),
        *linear(f"{cross}mlp.fc1", f"{path}/mlp/fc1"),
        *linear(f"{cross}mlp.fc2", f"{path}/mlp/fc2"),
        *linear("classifier", f"{path}/linear"),
    ]
    if head.depth:
        rules += blocks(source, f"{path}/blocks", head.depth, "qkv", POOLER_BLOCK)
    return rules


def mask_tokens(taken: tuple[int, ...] | None) -> Transform:
    """All mask tokens [n, 1, 1, D] as [n, D], or some of them, which cannot be undone."""
    if taken is None:
        return Transform(lambda x: x[0].reshape(len(x[0]), -1), lambda y: [y[:, None, None, :]])
    return Transform(lambda x: x[0].reshape(len(x[0]), -1)[list(taken)], None)


def read_vjepa2(file: Any, options: ImportOptions) -> Plan:
    """Settles the import of VJEPA2Model or VJEPA2ForVideoClassification.

    Raises:
        ConvertError: no config.json, an architecture it does not describe, or unusual constants.
    """
    shapes, c = file.shapes(), config_json(file, "vjepa2")
    prefix = plans.find_prefix(shapes, "encoder.embeddings.patch_embeddings.proj.weight")
    notes: list[str] = []
    if not c.get("qkv_bias", True):
        raise ConvertError("config.json says qkv_bias=false, which no V-JEPA 2 has")
    width, eps = c.get("hidden_size", 1024), c.get("layer_norm_eps", EPS)
    config = ViTConfig(
        width=width,
        depth=c.get("num_hidden_layers", 24),
        heads=c.get("num_attention_heads", 16),
        mlp_dim=int(width * c.get("mlp_ratio", 4.0)),
        tubelet=c.get("tubelet_size", 2),
        patch=c.get("patch_size", 16),
        position="rope_3d_tiled",
        norm_eps=plans.settle_eps(eps, EPS, options, "V-JEPA 2"),
        init="trunc_normal",
        **clip_of(options, c.get("frames_per_clip", 64), c.get("crop_size", 256), notes),
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
        plan.predictor = {
            "depth": c.get("pred_num_hidden_layers", 12),
            "width": c.get("pred_hidden_size", 384),
            "heads": c.get("pred_num_attention_heads", 12),
            "num_masks": c.get("pred_num_mask_tokens", 10),
        }
        if c.get("pred_mlp_ratio", 4.0) != 4:
            raise ConvertError(f"config.json: pred_mlp_ratio={c['pred_mlp_ratio']}, expected 4")
    if "classifier.weight" in shapes:
        plan.head = HeadConfig(
            "attentive",
            shapes["classifier.weight"][0],
            depth=c.get("num_pooler_layers", 3),
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
