"""Rules that several formats share: transformer blocks under their usual names."""

import dataclasses

from surgrec_jax.convert.strict import (
    LINEAR,
    SAME,
    Rule,
    fused_bias,
    fused_linear,
    patch_kernel,
)
from surgrec_jax.models.presets import ViTConfig


def linear(source: str, path: str, depth: int = 0, bias: bool = True) -> list[Rule]:
    """A torch Linear: weight [out, in] and bias."""
    rules = [Rule(f"{source}.weight", f"{path}/kernel", LINEAR, depth)]
    return rules + ([Rule(f"{source}.bias", f"{path}/bias", SAME, depth)] if bias else [])


def norm(source: str, path: str, depth: int = 0) -> list[Rule]:
    """A torch LayerNorm."""
    return [
        Rule(f"{source}.weight", f"{path}/scale", SAME, depth),
        Rule(f"{source}.bias", f"{path}/bias", SAME, depth),
    ]


def patch_embed(source: str, path: str, config: ViTConfig) -> list[Rule]:
    """A 3-D patch convolution."""
    kernel = patch_kernel(config.tubelet, config.patch)
    return [
        Rule(f"{source}.weight", f"{path}/kernel", kernel),
        Rule(f"{source}.bias", f"{path}/bias"),
    ]


@dataclasses.dataclass(frozen=True)
class BlockNames:
    """The names that a format gives to the parts of a pre-norm block.

    Attributes:
        norm1, proj, norm2, fc1, fc2: module names.
        qkv: the fused projection, or the names of three.
        q_bias, v_bias: keys of the separate biases of VideoMAE, where there are no others.
    """

    norm1: str = "norm1"
    qkv: str | tuple[str, str, str] = "attn.qkv"
    q_bias: str = "attn.q_bias"
    v_bias: str = "attn.v_bias"
    proj: str = "attn.proj"
    norm2: str = "norm2"
    fc1: str = "mlp.fc1"
    fc2: str = "mlp.fc2"


def blocks(
    source: str, path: str, depth: int, qkv_bias: str, names: BlockNames | None = None
) -> list[Rule]:
    """The stacked blocks of a transformer.

    Args:
        source: prefix of a block with "{i}" for the layer, e.g. "encoder.blocks.{i}.".
        path: path of our Stack, e.g. "params/encoder/blocks".
        qkv_bias: see `ViTConfig`.
    """
    names = names or BlockNames()
    path = f"{path}/layers"
    rules = norm(source + names.norm1, f"{path}/norm1", depth)
    rules += norm(source + names.norm2, f"{path}/norm2", depth)
    rules += linear(source + names.proj, f"{path}/attn/proj", depth)
    rules += linear(source + names.fc1, f"{path}/mlp/fc1", depth)
    rules += linear(source + names.fc2, f"{path}/mlp/fc2", depth)
    rules += attention_rules(source, f"{path}/attn", depth, qkv_bias, names)
    return rules


def attention_rules(
    source: str, path: str, depth: int, qkv_bias: str, names: BlockNames
) -> list[Rule]:
    """Query, key and value, fused or apart, with the biases they have."""
    if isinstance(names.qkv, str):
        rules = linear(source + names.qkv, f"{path}/qkv", depth, bias=qkv_bias == "qkv")
    else:
        weights = tuple(f"{source}{name}.weight" for name in names.qkv)
        rules = [Rule(weights, f"{path}/qkv/kernel", fused_linear(3), depth)]
        if qkv_bias == "qkv":
            biases = tuple(f"{source}{name}.bias" for name in names.qkv)
            rules.append(Rule(biases, f"{path}/qkv/bias", fused_bias(3), depth))
    if qkv_bias == "qv":
        rules.append(Rule(source + names.q_bias, f"{path}/q_bias", SAME, depth))
        rules.append(Rule(source + names.v_bias, f"{path}/v_bias", SAME, depth))
    return rules
