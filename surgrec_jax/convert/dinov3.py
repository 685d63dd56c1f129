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
from surgrec_jax.convert.hf_config import config_json
from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.convert.strict import SAME, Arrays, ConvertError, Ignored, Rule, Shape, Transform
from surgrec_jax.convert.tables import linear, norm
from surgrec_jax.models.position import ROPE_2D_BASE
from surgrec_jax.models.presets import ViTConfig

EPS = {"dinov2": 1e-6, "dinov3": 1e-5}
SIZE = {"dinov2": (518, 518), "dinov3": (224, 224)}
FPS = 4.0
FRAMES = 16
# After the image kernels: tubelets of two frames (see the module's text).
INFLATED = 2

HF_QKV = {
    "dinov2": tuple(f"attention.attention.{n}" for n in ("query", "key", "value")),
    "dinov3": tuple(f"attention.{n}_proj" for n in "qkv"),
}


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


def interleave(heads: int) -> Any:
    """Rows of a projection, pairs (j, j + d/2) of each head moved side by side, for `rope_2d`."""

    def move(x: np.ndarray) -> np.ndarray:
        halves = x.reshape(heads, 2, -1, *x.shape[1:])
        return halves.swapaxes(1, 2).reshape(x.shape)

    return move


def qkv_matrix(heads: int, rotary: bool, fused: bool) -> Transform:
    """Query, key and value, [3 D, D] or three of [D, D], as [D, 3 D] with rotary pairs in order."""

    def forward(x: Arrays) -> np.ndarray:
        q, k, v = np.split(x[0], 3) if fused else x
        move = interleave(heads) if rotary else (lambda part: part)
        return np.concatenate([move(q), move(k), v]).T

    return Transform(forward, None)


def qkv_vector(heads: int, rotary: bool, fused: bool, masked: bool) -> Transform:
    """Biases in the same order; DINOv3's own files multiply a mask onto theirs (keys have none)."""

    def forward(x: Arrays) -> np.ndarray:
        if masked:
            x = [np.where(x[1] == 0, np.float32(0), x[0])]
        q, k, v = np.split(x[0], 3) if fused else x
        move = interleave(heads) if rotary else (lambda part: part)
        return np.concatenate([move(q), move(k), v])

    return Transform(forward, None)


def image_kernel(tubelet: int) -> Transform:
    """A 2-D patch convolution [D, 3, p, p] as [P, D], the same for every frame of a tubelet."""

    def forward(x: Arrays) -> np.ndarray:
        frame = x[0].transpose(2, 3, 1, 0).reshape(-1, len(x[0]))  # [p p 3, D]
        return np.tile(frame / np.float32(tubelet), (tubelet, 1))

    return Transform(forward, None)


def _prefix(parts: int) -> Transform:
    def forward(x: Arrays) -> np.ndarray:
        return np.concatenate([token.reshape(-1, token.shape[-1]) for token in x])

    return Transform(forward, None)


def read(file: Any, options: ImportOptions, family: str) -> Plan:
    """Settles the import of a DINO file ("dinov2", "dinov3", or either with "hf_" before).

    Raises:
        ConvertError: what the file or the options lack.
    """
    version, hf = family.removeprefix("hf_"), family.startswith("hf_")
    c = config_json(file, file.config["model_type"]) if hf and file.config else {}
    shapes, notes = file.shapes(), []
    cls = plans.find_prefix(shapes, "cls_token")
    top = cls.removesuffix("embeddings.")
    if hf:
        kernel = f"{cls}patch_embeddings" + (".projection" if version == "dinov2" else "")
        layer = next(p for p in _LAYERS if plans.depth_of(shapes, f"{top}{p}"))
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
    native = _table_size(shapes[table], patch) if table else _size(c.get("image_size"))
    clip = plans.settle_clip(options, (None, native), (FRAMES, SIZE[version]), notes)
    heads = c.get("num_attention_heads") or plans.heads_of(width, options, {1280: 20})
    names = _names(version, hf, swiglu, shapes, first)
    config = ViTConfig(
        width=width,
        depth=plans.depth_of(shapes, f"{top}{layer}"),
        heads=heads,
        mlp_dim=_mlp_dim(shapes, first, names),
        tubelet=tubelet,
        patch=patch,
        position="learned_2d" if table else "rope_2d",
        qkv_bias=names["bias"],
        norm_eps=plans.settle_eps(c.get("layer_norm_eps"), EPS[version], options, version),
        init="trunc_normal",
        mlp="swiglu" if swiglu else "gelu",
        layer_scale=True,
        prefix_tokens=1 + registers,
        frames_apart=options.frames == "apart",
        **clip,
    )
    path, source = "params/encoder", f"{top}{layer}{{i}}."
    rules = [
        Rule(f"{kernel}.weight", f"{path}/patch_embed/kernel", image_kernel(tubelet)),
        Rule(f"{kernel}.bias", f"{path}/patch_embed/bias"),
        Rule((f"{cls}cls_token", *tokens), f"{path}/prefix", _prefix(1 + len(tokens))),
        *_block_rules(source, f"{path}/blocks/layers", config, names),
        *norm(f"{top}{'layernorm' if hf and version == 'dinov2' else 'norm'}", f"{path}/norm"),
    ]
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
    )


_LAYERS = ("layer.", "encoder.layer.", "model.layer.")


def _names(version: str, hf: bool, swiglu: bool, shapes: Mapping[str, Shape], first: str) -> dict:
    """What this file calls the parts of a block."""
    if hf:
        qkv = HF_QKV[version]
        if f"{first}attention.q_proj.weight" in shapes:
            qkv = HF_QKV["dinov3"]
        names = {
            "qkv": qkv,
            "proj": "attention.o_proj" if qkv == HF_QKV["dinov3"] else "attention.output.dense",
            "scale": "layer_scale{n}.lambda1",
            "bias": "qkv" if f"{first}{qkv[1]}.bias" in shapes else "qv",
        }
        if f"{first}{qkv[0]}.bias" not in shapes:
            names["bias"] = "none"
        names["mlp"] = (
            ("mlp.fc1", "mlp.fc2") if version == "dinov2" else ("mlp.up_proj", "mlp.down_proj")
        )
        if swiglu:
            names["mlp"] = ("mlp.up_proj", "mlp.down_proj", "mlp.gate_proj")
            if f"{first}mlp.weights_in.weight" in shapes:
                names["mlp"] = ("mlp.weights_in", "mlp.weights_out", None)
        return names
    mlp: tuple = ("mlp.fc1", "mlp.fc2")
    if swiglu:
        fused = f"{first}mlp.w12.weight" in shapes
        mlp = ("mlp.w12", "mlp.w3", None) if fused else ("mlp.w2", "mlp.w3", "mlp.w1")
    return {
        "qkv": "attn.qkv",
        "proj": "attn.proj",
        "scale": "ls{n}.gamma",
        "bias": "qkv" if f"{first}attn.qkv.bias" in shapes else "none",
        "masked": f"{first}attn.qkv.bias_mask" in shapes,
        "mlp": mlp,
    }


def _mlp_dim(shapes: Mapping[str, Shape], first: str, names: dict) -> int:
    rows = plans.shape_of(shapes, f"{first}{names['mlp'][0]}.weight")[0]
    return rows // 2 if len(names["mlp"]) == 3 and names["mlp"][2] is None else rows


def _block_rules(source: str, path: str, config: ViTConfig, names: dict) -> list[Rule]:
    depth, rotary = config.depth, config.position == "rope_2d"
    fused = isinstance(names["qkv"], str)
    qkv = (names["qkv"],) if fused else names["qkv"]
    rules = [
        *norm(f"{source}norm1", f"{path}/norm1", depth),
        *norm(f"{source}norm2", f"{path}/norm2", depth),
        *linear(f"{source}{names['proj']}", f"{path}/attn/proj", depth),
        Rule(
            tuple(f"{source}{n}.weight" for n in qkv),
            f"{path}/attn/qkv/kernel",
            qkv_matrix(config.heads, rotary, fused),
            depth,
        ),
    ]
    if config.qkv_bias == "qkv":
        keys = tuple(f"{source}{n}.bias" for n in qkv)
        masked = names.get("masked", False)
        if masked:
            keys = (*keys, f"{source}{qkv[0]}.bias_mask")
        vector = qkv_vector(config.heads, rotary, fused, masked)
        rules.append(Rule(keys, f"{path}/attn/qkv/bias", vector, depth))
    elif config.qkv_bias == "qv":
        move = interleave(config.heads) if rotary else (lambda part: part)
        turned = Transform(lambda x: move(x[0]), None)
        rules.append(Rule(f"{source}{qkv[0]}.bias", f"{path}/attn/q_bias", turned, depth))
        rules.append(Rule(f"{source}{qkv[2]}.bias", f"{path}/attn/v_bias", SAME, depth))
    for n in (1, 2):
        rules.append(Rule(source + names["scale"].format(n=n), f"{path}/scale{n}", SAME, depth))
    up, down, *gate = names["mlp"]
    rules += linear(f"{source}{down}", f"{path}/mlp/fc2", depth)
    if gate == [None]:  # gate and up in one matrix, the gate first
        return rules + _split_gate(f"{source}{up}", path, depth)
    rules += linear(f"{source}{up}", f"{path}/mlp/fc1", depth)
    return rules + (linear(f"{source}{gate[0]}", f"{path}/mlp/gate", depth) if gate else [])


def _split_gate(source: str, path: str, depth: int) -> list[Rule]:
    raise ConvertError(
        f"{source}: a SwiGLU with gate and value in one matrix (DINOv2 g) is not converted yet; "
        "the S, B and L encoders are"
    )


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


def _size(value: Any) -> tuple[int, int] | None:
    return (value, value) if isinstance(value, int) else (tuple(value) if value else None)
