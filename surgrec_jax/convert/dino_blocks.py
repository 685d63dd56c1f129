"""The blocks of DINOv2 and DINOv3 as tables: names in four styles, rotary pairs, gated MLPs."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

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

# Keys of tensors that hold the gate and the value of a SwiGLU one after another (DINOv2 g).
JOINED = r".*mlp\.(w12|weights_in)\.(weight|bias)"


def interleave(heads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that moves pairs of rows (j, j + d/2) of each head side by side, for `rope_2d`."""

    def move(x: np.ndarray) -> np.ndarray:
        halves = x.reshape(heads, 2, -1, *x.shape[1:])
        return halves.swapaxes(1, 2).reshape(x.shape)

    return move


def fused_qkv(heads: int, rotary: bool, fused: bool, masked: bool = False) -> Transform:
    """Query, key and value with rotary pairs in order: one tensor or three as [D, 3 D] or [3 D].

    Args:
        masked: whether a second tensor is a mask of 0 and 1 on the first (DINOv3's own files
            multiply one onto their biases, as keys have none).
    """

    def forward(x: Arrays) -> np.ndarray:
        if masked:
            if not np.isin(x[1], (0, 1)).all():
                raise ConvertError("a bias_mask has other numbers than 0 and 1")
            x = [np.where(x[1] == 0, np.float32(0), x[0])]
        q, k, v = np.split(x[0], 3) if fused else x
        move = interleave(heads) if rotary else (lambda part: part)
        return np.concatenate([move(q), move(k), v]).T

    return Transform(forward, None)


def image_kernel(tubelet: int) -> Transform:
    """A 2-D patch convolution [D, 3, p, p] as [P, D], the same for every frame of a tubelet."""

    def forward(x: Arrays) -> np.ndarray:
        frame = x[0].transpose(2, 3, 1, 0).reshape(-1, len(x[0]))  # [p p 3, D]
        return np.tile(frame / np.float32(tubelet), (tubelet, 1))

    return Transform(forward, None)


# CLS and register tokens one after another, [1, n, D] or [1, 1, D] each, as [N, D].
PREFIX = Transform(lambda x: np.concatenate([t.reshape(-1, t.shape[-1]) for t in x]), None)


class BlockStyle(NamedTuple):
    """The names that a file gives to the parts of a block.

    Attributes:
        qkv: names of the fused projection, or of those of query, key and value.
        proj: name of attention's output projection.
        scale: name of the two layer scales, with "{n}" for 1 and 2.
        up, down: names of the MLP's two matrices.
        gate: name of a SwiGLU's gate, `up` where one tensor holds both; None in a plain MLP.
        qkv_bias: see `ViTConfig`.
        masked: whether a mask is multiplied onto the fused bias (DINOv3's own files).
    """

    qkv: tuple[str, ...]
    proj: str
    scale: str
    up: str
    down: str
    gate: str | None
    qkv_bias: str
    masked: bool


HF_SCALE = "layer_scale{n}.lambda1"
# Names of qkv, of the output projection and of the scales: in the originals, and in transformers
# of DINOv2 and of DINOv3 (whose names newer releases may give to DINOv2).
DINOV2_QKV = tuple(f"attention.attention.{name}" for name in ("query", "key", "value"))
DINOV3_QKV = tuple(f"attention.{name}_proj" for name in "qkv")
ATTENTION = (
    (("attn.qkv",), "attn.proj", "ls{n}.gamma"),
    (DINOV2_QKV, "attention.output.dense", HF_SCALE),
    (DINOV3_QKV, "attention.o_proj", HF_SCALE),
)
# Names of up, down and gate; a row is a file's if its gate, or without one its `up`, is there.
MLP = (
    ("mlp.w12", "mlp.w3", "mlp.w12"),
    ("mlp.weights_in", "mlp.weights_out", "mlp.weights_in"),
    ("mlp.w2", "mlp.w3", "mlp.w1"),
    ("mlp.up_proj", "mlp.down_proj", "mlp.gate_proj"),
    ("mlp.up_proj", "mlp.down_proj", None),
    ("mlp.fc1", "mlp.fc2", None),
)


def style_of(shapes: Mapping[str, Shape], first: str) -> BlockStyle:
    """The style of a file, by the keys under `first`, the prefix of its first block.

    Raises:
        ConvertError: the keys are of no known style.
    """

    def has(name: str) -> bool:
        return f"{first}{name}" in shapes

    attention = [row for row in ATTENTION if has(f"{row[0][0]}.weight")]
    mlp = [row for row in MLP if has(f"{row[2] or row[0]}.weight")]
    if not attention or not mlp:
        missing = "mlp" if attention else "attention"
        raise ConvertError(f"missing from the file: the weights of {first}{missing}")
    qkv = attention[0][0]
    biased = [has(f"{name}.bias") for name in qkv]
    bias = "qkv" if all(biased) else "qv" if biased[0] else "none"
    return BlockStyle(*attention[0], *mlp[0], bias, has(f"{qkv[0]}.bias_mask"))


def mlp_dim_of(shapes: Mapping[str, Shape], first: str, style: BlockStyle) -> int:
    """Width of a block's MLP."""
    rows = shapes[f"{first}{style.up}.weight"][0]
    return rows // 2 if style.up == style.gate else rows


def block_rules(source: str, path: str, config: ViTConfig, style: BlockStyle) -> list[Rule]:
    """The table of the stacked blocks.

    Args:
        source: prefix of a block with "{i}" for the layer.
        path: path of our layers, e.g. "params/encoder/blocks/layers".
    """
    depth = config.depth
    rules = [
        *norm(f"{source}norm1", f"{path}/norm1", depth),
        *norm(f"{source}norm2", f"{path}/norm2", depth),
        *linear(f"{source}{style.proj}", f"{path}/attn/proj", depth),
        *_qkv_rules(source, f"{path}/attn", config, style),
        *linear(f"{source}{style.down}", f"{path}/mlp/fc2", depth),
    ]
    for n in (1, 2):
        rules.append(Rule(source + style.scale.format(n=n), f"{path}/scale{n}", SAME, depth))
    up = f"{source}{style.up}"
    if style.up == style.gate:
        for half, name in enumerate(("gate", "fc1")):
            rules.append(Rule(f"{up}.weight/{half}", f"{path}/mlp/{name}/kernel", LINEAR, depth))
            rules.append(Rule(f"{up}.bias/{half}", f"{path}/mlp/{name}/bias", SAME, depth))
        return rules
    rules += linear(up, f"{path}/mlp/fc1", depth)
    return rules + (linear(source + style.gate, f"{path}/mlp/gate", depth) if style.gate else [])


def _qkv_rules(source: str, path: str, config: ViTConfig, style: BlockStyle) -> list[Rule]:
    """Query, key and value with the biases they have, rotary pairs side by side."""
    depth, rotary = config.depth, config.position == "rope_2d"
    fused, names = len(style.qkv) == 1, [f"{source}{name}" for name in style.qkv]
    matrix = fused_qkv(config.heads, rotary, fused)
    rules = [Rule(tuple(f"{n}.weight" for n in names), f"{path}/qkv/kernel", matrix, depth)]
    if style.qkv_bias == "qkv":
        keys = tuple(f"{n}.bias" for n in names)
        keys += (f"{names[0]}.bias_mask",) if style.masked else ()
        vector = fused_qkv(config.heads, rotary, fused, style.masked)
        rules.append(Rule(keys, f"{path}/qkv/bias", vector, depth))
    elif style.qkv_bias == "qv":
        move = interleave(config.heads) if rotary else (lambda part: part)
        turned = Transform(lambda x: move(x[0]), None)
        rules.append(Rule(f"{names[0]}.bias", f"{path}/q_bias", turned, depth))
        rules.append(Rule(f"{names[2]}.bias", f"{path}/v_bias", SAME, depth))
    return rules
