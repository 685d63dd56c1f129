"""DINOv2 and DINOv3 ViTs as encoders of clips: each frame by itself, or inflated to tubelets.

    original      cls_token, storage_tokens or register_tokens, blocks.*.ls1.gamma, mlp.w1 or w12
    transformers  embeddings.*, layer.* or encoder.layer.*, layer_scale1.lambda1

Frames apart, a clip's tokens are its frames' patch tokens; CLS and registers take part in attention
but are not among them. Inflated, a tubelet is two frames whose patch kernel is half the image's,
and attention spans the clip: a start for video training rather than DINO itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.dino_blocks import (
    HALVES,
    block_rules,
    image_kernel,
    mlp_dim_of,
    names_of,
    prefix,
)
from surgrec_jax.convert.hf_config import (
    agree,
    config_json,
    number,
    ratio_agrees,
    sides,
    statistics,
)
from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, Transform
from surgrec_jax.convert.tables import norm
from surgrec_jax.models.position import ROPE_2D_BASE
from surgrec_jax.models.presets import ViTConfig

EPS = {"dinov2": 1e-6, "dinov3": 1e-5}
SIZE = {"dinov2": (518, 518), "dinov3": (224, 224)}
USUAL_HEADS = plans.HEADS | {1280: 20}
# config.json's key and default.
HEADS = {"dinov2": ("num_attention_heads", 12), "dinov3": ("num_attention_heads", 6)}
FPS = 4.0
FRAMES = 16
# After the image kernels: tubelets of two frames (see the module's text).
INFLATED = 2
_LAYERS = ("layer.", "encoder.layer.", "model.layer.")
TYPES = {"dinov2": ("dinov2", "dinov2_with_registers"), "dinov3": ("dinov3_vit",)}


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """ "dinov2", "dinov3", "hf_dinov2", "hf_dinov3", or None."""
    if not any(re.search(r"(^|[./])cls_token$", k) for k in shapes):
        return None
    flat = any(k.endswith("patch_embed.proj.weight") and len(s) == 4 for k, s in shapes.items())
    if flat:
        table = any(re.search(r"(^|[./])pos_embed$", k) for k in shapes)
        return "dinov2" if table else "dinov3"
    if any(k.endswith("embeddings.position_embeddings") for k in shapes):
        return "hf_dinov2" if any("layer_scale1" in k for k in shapes) else None
    return (
        "hf_dinov3"
        if any(k.endswith("embeddings.patch_embeddings.weight") for k in shapes)
        else None
    )


def read(file: Any, options: ImportOptions, family: str) -> Plan:
    """Settles the import of a DINO file ("dinov2", "dinov3", or either with "hf_" before).

    Raises:
        ConvertError: what the file or the options lack.
    """
    version, hf = family.removeprefix("hf_"), family.startswith("hf_")
    c = config_json(file, *TYPES[version]) if hf else {}
    shapes, notes = file.shapes(), []
    cls = plans.find_prefix(shapes, "cls_token")
    top = cls.removesuffix("embeddings.")
    if hf:
        kernel = f"{cls}patch_embeddings" + (".projection" if version == "dinov2" else "")
        layer = next((p for p in _LAYERS if plans.depth_of(shapes, f"{top}{p}")), _LAYERS[0])
    else:
        kernel, layer = f"{top}patch_embed.proj", "blocks."
    width, _, patch, _ = plans.shape_of(shapes, f"{kernel}.weight")
    first = f"{top}{layer}0."
    swiglu = any(
        f"{first}mlp.{n}.weight" in shapes for n in ("w1", "w12", "gate_proj", "weights_in")
    )
    tokens = [k for k in (f"{cls}storage_tokens", f"{cls}register_tokens") if k in shapes]
    registers = shapes[tokens[0]][1] if tokens else 0
    tubelet = INFLATED if options.frames == "inflated" else 1
    table = next((k for k in (f"{top}pos_embed", f"{cls}position_embeddings") if k in shapes), None)
    native = _table_size(shapes[table], patch) if table else None
    if hf:
        native = native or sides(c, "image_size", SIZE[version][0])
    depth = plans.depth_of(shapes, f"{top}{layer}")
    clip = plans.settle_clip(options, (None, native), (FRAMES, SIZE[version]), notes)
    heads = plans.heads_of(width, options, USUAL_HEADS) if not hf else number(c, *HEADS[version])
    names = names_of(version, hf, swiglu, shapes, first)
    mlp_dim = mlp_dim_of(shapes, first, names)
    eps = number(c, "layer_norm_eps", EPS[version], float)
    config = ViTConfig(
        width=width,
        depth=depth,
        heads=heads,
        mlp_dim=mlp_dim,
        tubelet=tubelet,
        patch=patch,
        position="learned_2d" if table else "rope_2d",
        qkv_bias=names["bias"],
        norm_eps=plans.settle_eps(eps, EPS[version], options, version),
        init="trunc_normal",
        mlp="swiglu" if swiglu else "gelu",
        layer_scale=True,
        prefix_tokens=1 + registers,
        frames_apart=options.frames == "apart",
        **clip,
        **(statistics(file) if hf else {}),
    )
    path, source = "params/encoder", f"{top}{layer}{{i}}."
    rules = [
        Rule(f"{kernel}.weight", f"{path}/patch_embed/kernel", image_kernel(tubelet)),
        Rule(f"{kernel}.bias", f"{path}/patch_embed/bias"),
        Rule((f"{cls}cls_token", *tokens), f"{path}/prefix", prefix(1 + len(tokens))),
        *block_rules(source, f"{path}/blocks/layers", config, names),
        *norm(f"{top}{'layernorm' if hf and version == 'dinov2' else 'norm'}", f"{path}/norm"),
    ]
    if hf:
        _agree(c, version, config, native)
    if table:
        rules.append(Rule(table, f"{path}/position", Transform(lambda x: x[0][0], None)))
    return Plan(
        family=family,
        objective=version,
        encoder=config,
        rules=rules,
        ignored=_ignored(width // heads),
        fps=options.fps or FPS,
        prefixes={"encoder": top},
        notes=notes,
        halves=HALVES if names["mlp"][2:] == (None,) else None,
        table_resize=_resize_of(hf, registers) if table else None,
    )


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


def _resize_of(hf: bool, registers: int) -> str:
    """How a position table is resized: as the code does that the file comes from."""
    return "antialiased" if registers else "plain" if hf else "offset"


def _ignored(head_dim: int) -> list[Ignored]:
    periods = ROPE_2D_BASE ** (np.arange(head_dim // 4) / (head_dim // 4))

    def same_periods(found: np.ndarray) -> str | None:
        if found.shape == periods.shape and np.allclose(found, periods, rtol=1e-2):
            return None
        return (
            f"is {found[:4]}..., and rotary periods of base {ROPE_2D_BASE:g} are {periods[:4]}..."
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
