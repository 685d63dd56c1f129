"""transformers' VideoMAE and VJEPA2: their keys as tables, for both directions.

VideoMAE has two key styles for the biases: q_bias and v_bias (version 4 in memory, and what
both versions save), and query.bias and value.bias (version 5 in memory).
"""

from collections.abc import Mapping

from surgrec_jax.convert.strict import (
    Rule,
    Shape,
    Transform,
    fused_bias,
    fused_linear,
    squeeze,
)
from surgrec_jax.convert.tables import BlockNames, blocks, linear, norm, patch_embed
from surgrec_jax.convert.videomae import decoder_rules
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig

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
    """The family of a file: "hf_videomae", "hf_vjepa2", or None."""
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
    prefix: str, config: ViTConfig, style: str, decoder_depth: int = 0
) -> list[Rule]:
    """The table of VideoMAEModel under a prefix, and of the decoder beside it."""
    final = {"tokens": f"{prefix}layernorm", "pooled": "fc_norm"}.get(config.final_norm)
    path, names = "params/encoder", videomae_names(style)
    source = f"{prefix}encoder.layer.{{i}}."
    kernel = f"{prefix}embeddings.patch_embeddings.projection"
    decoder = decoder_rules("", decoder_depth, "decoder_layers", names) if decoder_depth else []
    return [
        *patch_embed(kernel, f"{path}/patch_embed", config),
        *blocks(source, f"{path}/blocks", config.depth, "qv", names),
        *(norm(final, f"{path}/norm") if final else ()),
        *decoder,
    ]


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


def mask_tokens(chosen: tuple[int, ...] | None) -> Transform:
    """All mask tokens [n, 1, 1, D] as [n, D], or some of them, which cannot be undone."""
    if chosen is None:
        return Transform(lambda x: x[0].reshape(len(x[0]), -1), lambda y: [y[:, None, None, :]])
    return Transform(lambda x: x[0].reshape(len(x[0]), -1)[list(chosen)], None)
