"""Attentive probes of V-JEPA.

classifiers/<n>/   2 and 2.1: the probes of a sweep, module.pooler.*, module.linear.*
classifier/        1: a single one
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, squeeze
from surgrec_jax.convert.tables import blocks, linear, norm
from surgrec_jax.convert.vjepa import STATE
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig


def recognise(shapes: Mapping[str, Shape]) -> bool:
    """Whether a file holds attentive probes."""
    return any(re.fullmatch(r"classifier(s/\d+)?/.*pooler\.query_tokens", key) for key in shapes)


def probe_rules(prefix: str, head: HeadConfig) -> list[Rule]:
    """The table of an attentive probe, path "params/head"."""
    path = "params/head"
    pool = f"{prefix}pooler."
    cross = f"{pool}cross_attention_block."
    rules = [
        Rule(f"{pool}query_tokens", f"{path}/query", squeeze(1)),
        *norm(f"{cross}norm1", f"{path}/norm1"),
        *linear(f"{cross}xattn.q", f"{path}/cross/q"),
        *linear(f"{cross}xattn.kv", f"{path}/cross/kv"),
        *norm(f"{cross}norm2", f"{path}/norm2"),
        *linear(f"{cross}mlp.fc1", f"{path}/mlp/fc1"),
        *linear(f"{cross}mlp.fc2", f"{path}/mlp/fc2"),
        *linear(f"{prefix}linear", f"{path}/linear"),
    ]
    if head.depth:
        rules += blocks(f"{pool}blocks.{{i}}.", f"{path}/blocks", head.depth, "qkv")
    return rules


def read_probe(file: Any, options: ImportOptions, encoder: ViTConfig, fps: float) -> Plan:
    """Plans the import of an attentive probe, number `options.probe` of a file with several.

    Args:
        encoder: the architecture of the encoder that the probe was trained on.
        fps: frames per second of that encoder's clips.

    Raises:
        ConvertError: another width than the encoder's, or no such probe.
    """
    shapes, which = file.shapes(), options.probe or 0
    several = {int(key.split("/")[1]) for key in shapes if key.startswith("classifiers/")}
    if which not in (several or {0}):
        raise ConvertError(f"--probe={which}: {file.name} has {sorted(several) or 'only one'}")
    under = f"classifiers/{which}/" if several else "classifier/"
    prefix = arch.find_prefix(shapes, "pooler.query_tokens", under).removesuffix("pooler.")
    classes, width = arch.shape_of(shapes, f"{prefix}linear.weight")
    if width != encoder.width:
        raise ConvertError(f"the probe is {width} wide, the encoder {encoder.width}")
    # V-JEPA 1 gives its probes the encoder's heads, V-JEPA 2 always 16.
    heads = options.head_heads or (16 if several else encoder.heads)
    heads = arch.heads_of("a probe", width, heads, "give --head_heads")
    cross = f"{prefix}pooler.cross_attention_block."
    head = HeadConfig(
        "attentive",
        classes,
        depth=arch.depth_of(shapes, f"{prefix}pooler.blocks."),
        heads=heads,
        mlp_dim=arch.shape_of(shapes, f"{cross}mlp.fc1.weight")[0],
        norm_eps=1e-5,  # the pooler's LayerNorms are torch's default
    )
    if head.depth and not several:
        raise ConvertError(
            f"{file.name}: a probe of V-JEPA 1 with blocks after its cross-attention; probes here "
            "have theirs before it"
        )
    others = Ignored(rf"classifiers/(?!{which}/)\d+/.*", "another probe of the sweep")
    unused = Ignored(rf"{re.escape(cross)}xattn\.proj\..*", "V-JEPA 1 keeps and never reads it")
    return Plan(
        family="vjepa_probe",
        objective="jepa",
        encoder=dataclasses.replace(encoder),
        rules=probe_rules(prefix, head),
        ignored=[STATE, others, *([] if several else [unused])],
        fps=options.fps or fps,
        head=head,
        prefixes={"head": prefix},
    )
