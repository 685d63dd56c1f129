"""DINOv2 and DINOv3 ViTs as encoders of clips: each frame by itself, or inflated to tubelets.

    original      cls_token, storage_tokens or register_tokens, blocks.*.ls1.gamma, mlp.w1 or w12
    transformers  embeddings.*, layer.* or encoder.layer.*, layer_scale1.lambda1

Frames apart, a clip's tokens are its frames' patch tokens; CLS and registers take part in attention
but are not among them. Inflated, a tubelet is two frames whose patch kernel is half the image's,
and attention spans the clip: a start for video training rather than DINO itself.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.dino_blocks import (
    JOINED,
    PREFIX,
    BlockStyle,
    block_rules,
    image_kernel,
    mlp_dim_of,
    style_of,
)
from surgrec_jax.convert.hf_config import (
    agree,
    config_json,
    number,
    ratio_agrees,
    sides,
    statistics,
)
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, Transform
from surgrec_jax.convert.tables import norm
from surgrec_jax.models.position import ROPE_2D_BASE
from surgrec_jax.models.presets import ViTConfig

EPS = {"dinov2": 1e-6, "dinov3": 1e-5}
SIZE = {"dinov2": (518, 518), "dinov3": (224, 224)}
USUAL_HEADS = arch.HEADS | {1280: 20}
# Heads of an encoder whose config.json does not say them: transformers' defaults.
CONFIG_HEADS = {"dinov2": 12, "dinov3": 6}
FPS = 4.0
FRAMES = 16
# Frames of a tubelet of an inflated encoder (see the module's text).
INFLATED = 2
# Names before the blocks' numbers, by whether transformers wrote the file.
LAYERS = {False: ("blocks.",), True: ("layer.", "encoder.layer.", "model.layer.")}
# Names of the patch embedding, after the prefix of the CLS token.
KERNEL = {
    "dinov2": "patch_embed.proj",
    "dinov3": "patch_embed.proj",
    "hf_dinov2": "patch_embeddings.projection",
    "hf_dinov3": "patch_embeddings",
}
TYPES = {"dinov2": ("dinov2", "dinov2_with_registers"), "dinov3": ("dinov3_vit",)}


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """The family of a file: "dinov2", "dinov3", "hf_dinov2", "hf_dinov3", or None."""
    if not any(re.search(r"(^|[./])cls_token$", k) for k in shapes):
        return None
    flat = any(k.endswith("patch_embed.proj.weight") and len(s) == 4 for k, s in shapes.items())
    if flat:
        table = any(re.search(r"(^|[./])pos_embed$", k) for k in shapes)
        return "dinov2" if table else "dinov3"
    if any(k.endswith("embeddings.position_embeddings") for k in shapes):
        return "hf_dinov2" if any("layer_scale1" in k for k in shapes) else None
    kernel = "embeddings.patch_embeddings.weight"
    return "hf_dinov3" if any(k.endswith(kernel) for k in shapes) else None


class Keys(NamedTuple):
    """The keys of a file's tensors outside the blocks, and the prefixes of its blocks."""

    top: str  # prefix of the whole model
    kernel: str  # patch embedding, without ".weight"
    prefix: tuple[str, ...]  # CLS and, where there are any, register tokens
    table: str | None  # the learned position table, None where positions are rotary
    layer: str  # prefix of the blocks, before their number
    norm: str  # the last LayerNorm, without ".weight"


def _keys(shapes: Mapping[str, Shape], family: str) -> Keys:
    """The keys of a file of the family."""
    before = arch.find_prefix(shapes, "cls_token")
    top = before.removesuffix("embeddings.")
    layers = [f"{top}{name}" for name in LAYERS[family.startswith("hf_")]]
    registers = (f"{before}storage_tokens", f"{before}register_tokens")
    tables = (f"{top}pos_embed", f"{before}position_embeddings")
    return Keys(
        top=top,
        kernel=before + KERNEL[family],
        prefix=(f"{before}cls_token", *(key for key in registers if key in shapes)),
        table=next((key for key in tables if key in shapes), None),
        layer=next((name for name in layers if arch.depth_of(shapes, name)), layers[0]),
        norm=f"{top}{'layernorm' if family == 'hf_dinov2' else 'norm'}",
    )


def read(file: Any, options: ImportOptions, family: str) -> Plan:
    """Plans the import of a DINO file ("dinov2", "dinov3", or either with "hf_" before).

    Raises:
        ConvertError: the file or the options lack something, or contradict each other.
    """
    shapes, notes = file.shapes(), []
    keys = _keys(shapes, family)
    style = style_of(shapes, f"{keys.layer}0.")
    config = _encoder(file, keys, style, options, family, notes)
    path = "params/encoder"
    rules = [
        Rule(f"{keys.kernel}.weight", f"{path}/patch_embed/kernel", image_kernel(config.tubelet)),
        Rule(f"{keys.kernel}.bias", f"{path}/patch_embed/bias"),
        Rule(keys.prefix, f"{path}/prefix", PREFIX),
        *block_rules(f"{keys.layer}{{i}}.", f"{path}/blocks/layers", config, style),
        *norm(keys.norm, f"{path}/norm"),
    ]
    if keys.table:
        rules.append(Rule(keys.table, f"{path}/position", Transform(lambda x: x[0][0], None)))
    return Plan(
        family=family,
        objective=family.removeprefix("hf_"),
        encoder=config,
        rules=rules,
        ignored=_ignored(config.width // config.heads),
        fps=options.fps or FPS,
        prefixes={"encoder": keys.top},
        notes=notes,
        split=JOINED if style.up == style.gate else None,
    )


def _encoder(
    file: Any,
    keys: Keys,
    style: BlockStyle,
    options: ImportOptions,
    family: str,
    notes: list[str],
) -> ViTConfig:
    """The encoder of a file; transformers' config.json must fit it."""
    version, hf, shapes = family.removeprefix("hf_"), family.startswith("hf_"), file.shapes()
    width, _, patch, _ = arch.shape_of(shapes, f"{keys.kernel}.weight")
    size = _table_size(shapes[keys.table], patch) if keys.table else None
    heads, eps, fields = options.heads or USUAL_HEADS.get(width), None, {}
    if hf:
        stated = config_json(file, *TYPES[version])
        size = size or sides(stated, "image_size", SIZE[version][0])
        heads = number(stated, "num_attention_heads", CONFIG_HEADS[version])
        eps = number(stated, "layer_norm_eps", EPS[version], float)
        fields = statistics(file)
    config = ViTConfig(
        width=width,
        depth=arch.depth_of(shapes, keys.layer),
        heads=arch.heads_of("an encoder", width, heads, "give --heads"),
        mlp_dim=mlp_dim_of(shapes, f"{keys.layer}0.", style),
        tubelet=INFLATED if options.frames == "inflated" else 1,
        patch=patch,
        position="learned_2d" if keys.table else "rope_2d",
        qkv_bias=style.qkv_bias,
        norm_eps=arch.settle_eps(eps, EPS[version], options, version),
        init="trunc_normal",
        mlp="swiglu" if style.gate else "gelu",
        layer_scale=True,
        prefix_tokens=1 + sum(shapes[key][1] for key in keys.prefix[1:]),
        frames_apart=options.frames == "apart",
        **arch.settle_clip(options, (None, size), (FRAMES, SIZE[version]), notes),
        **fields,
    )
    if hf:
        _agree(stated, version, config, size)
    return config


def _agree(
    c: dict[str, Any], version: str, config: ViTConfig, native: tuple[int, int] | None
) -> None:
    """Compares a config.json with the tensors, and with what is the same in all DINO encoders."""
    common = {
        "apply_layernorm": True,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "patch_size": config.patch,
        "num_register_tokens": config.prefix_tokens - 1,
    }
    if version == "dinov3":
        agree(c, **common, rope_theta=ROPE_2D_BASE, intermediate_size=config.mlp_dim)
        return
    agree(c, **common, image_size=native[0], use_swiglu_ffn=config.mlp == "swiglu")
    if config.mlp != "swiglu":
        ratio_agrees(c, "mlp_ratio", config.width, config.mlp_dim)


def _ignored(head_dim: int) -> list[Ignored]:
    periods = ROPE_2D_BASE ** (np.arange(head_dim // 4) / (head_dim // 4))

    def same_periods(saved: np.ndarray) -> str | None:
        if saved.shape == periods.shape and np.allclose(saved, periods, rtol=1e-2):
            return None
        return (
            f"is {saved[:4]}..., and rotary periods of base {ROPE_2D_BASE:g} are {periods[:4]}..."
        )

    before = r"(.*[./])?"
    return [
        Ignored(rf"{before}mask_token", "stands for masked patches in DINO's training only"),
        Ignored(rf"{before}rope_embed\.periods", "compared with the formula", same_periods),
        Ignored(rf"{before}local_cls_norm\..*", "norm of small crops, used in training only"),
    ]


def _table_size(shape: Shape, patch: int) -> tuple[int, int]:
    side = round((shape[1] - 1) ** 0.5)
    if side * side + 1 != shape[1]:
        raise ConvertError(f"a position table of {shape[1]} rows is no square and a CLS row")
    return side * patch, side * patch
