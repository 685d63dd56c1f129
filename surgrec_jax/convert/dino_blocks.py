"""The blocks of DINOv2 and DINOv3 as tables: names in four styles, rotary pairs, gated MLPs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.strict import (
    LINEAR,
    SAME,
    Arrays,
    ConvertError,
    Rule,
    Shape,
    Transform,
)
from surgrec_jax.convert.tables import linear, norm
from surgrec_jax.models.presets import ViTConfig

# Tensors that hold the gate and the value of a SwiGLU one after another (DINOv2 g).
HALVES = r".*mlp\.(w12|weights_in)\.(weight|bias)"

HF_QKV = {
    "dinov2": tuple(f"attention.attention.{n}" for n in ("query", "key", "value")),
    "dinov3": tuple(f"attention.{n}_proj" for n in "qkv"),
}


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
            if not np.isin(x[1], (0, 1)).all():
                raise ConvertError("a bias_mask has other numbers than 0 and 1")
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


def prefix(parts: int) -> Transform:
    """CLS and register tokens one after another, [1, n, D] or [1, 1, D] each, as [N, D]."""

    def forward(x: Arrays) -> np.ndarray:
        return np.concatenate([token.reshape(-1, token.shape[-1]) for token in x])

    return Transform(forward, None)


def names_of(version: str, hf: bool, swiglu: bool, shapes: Mapping[str, Shape], first: str) -> dict:
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


def mlp_dim_of(shapes: Mapping[str, Shape], first: str, names: dict) -> int:
    """Width of a block's MLP."""
    rows = plans.shape_of(shapes, f"{first}{names['mlp'][0]}.weight")[0]
    return rows // 2 if len(names["mlp"]) == 3 and names["mlp"][2] is None else rows


def block_rules(source: str, path: str, config: ViTConfig, names: dict) -> list[Rule]:
    """The table of the stacked blocks.

    Args:
        source: prefix of a block with "{i}" for the layer.
        path: of our layers, e.g. "params/encoder/blocks/layers".
        names: of `names_of`.
    """
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
    if gate == [None]:  # both in one matrix, the gate first: see `HALVES`
        for half, name in enumerate(("gate", "fc1")):
            rules.append(
                Rule(f"{source}{up}.weight/{half}", f"{path}/mlp/{name}/kernel", LINEAR, depth)
            )
            rules.append(Rule(f"{source}{up}.bias/{half}", f"{path}/mlp/{name}/bias", SAME, depth))
        return rules
    rules += linear(f"{source}{up}", f"{path}/mlp/fc1", depth)
    return rules + (linear(f"{source}{gate[0]}", f"{path}/mlp/gate", depth) if gate else [])
