"""VideoMAE v1 and v2, and SurgRec-MAE: pretraining files and fine-tuned encoders.

pretraining   model/encoder.*, encoder_to_decoder, mask_token, decoder.*
fine-tuned    model/* or module/*: the encoder at the top, norm or fc_norm, head
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import plan as plans
from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, squeeze
from surgrec_jax.convert.tables import blocks, linear, norm, patch_embed
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.position import sincos_1d
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6
FPS = 7.5  # every fourth frame of 30 a second
HEADS = plans.HEADS | {1408: 16}
# Of the models that VideoMAE and v2 publish (modeling_pretrain.py), by width of the decoder.
DECODER_HEADS = {96: 3, 192: 3, 384: 6, 512: 8, 640: 8}

FIRST_TOKEN = "a classifier that reads the first token alone; heads here read the mean of all"
STATE = Ignored(r"(optimizer|scaler|model_ema|lr_scheduler)/.*", "training state, not weights")
TABLE = "the fixed sine-cosine table, compared and computed"


def recognise(shapes: Mapping[str, Shape]) -> bool:
    """Whether keys and shapes are VideoMAE's: a 3-D patch kernel and no bias on keys."""
    shapes = _weights(shapes)
    patch = [s for k, s in shapes.items() if k.endswith("patch_embed.proj.weight")]
    return len(patch) == 1 and len(patch[0]) == 5 and any(k.endswith(".q_bias") for k in shapes)


def _weights(shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Without the training state, which may hold a second copy of the model (`model_ema`)."""
    return {k: s for k, s in shapes.items() if not re.fullmatch(STATE.pattern, k)}


def encoder_rules(prefix: str, config: ViTConfig, final: str, path="params/encoder") -> list[Rule]:
    """The table of an encoder under a prefix.

    Args:
        final: key of its last LayerNorm.
    """
    return [
        *patch_embed(f"{prefix}patch_embed.proj", f"{path}/patch_embed", config),
        *blocks(f"{prefix}blocks.{{i}}.", f"{path}/blocks", config.depth, config.qkv_bias),
        *norm(final, f"{path}/norm"),
    ]


def decoder_rules(prefix: str, depth: int) -> list[Rule]:
    """The table of a decoder; its biases are VideoMAE's as well."""
    path = "params/decoder"
    return [
        *linear(f"{prefix}encoder_to_decoder", f"{path}/embed", bias=False),
        Rule(f"{prefix}mask_token", f"{path}/mask_token", squeeze(1, 1)),
        *blocks(f"{prefix}decoder.blocks.{{i}}.", f"{path}/blocks", depth, "qv"),
        *norm(f"{prefix}decoder.norm", f"{path}/norm"),
        *linear(f"{prefix}decoder.head", f"{path}/head"),
    ]


def read(file: Any, options: ImportOptions) -> Plan:
    """Settles the import of a VideoMAE file.

    Raises:
        ConvertError: what the file or the options lack.
    """
    shapes, notes = _weights(file.shapes()), []
    prefix = plans.find_prefix(shapes, "patch_embed.proj.weight")
    width, _, tubelet, patch, _ = plans.shape_of(shapes, f"{prefix}patch_embed.proj.weight")
    pretraining = f"{prefix.removesuffix('encoder.')}encoder_to_decoder.weight" in shapes
    top = prefix.removesuffix("encoder.") if pretraining else prefix
    final = f"{prefix}norm" if f"{prefix}norm.weight" in shapes else f"{prefix}fc_norm"
    config = ViTConfig(
        width=width,
        depth=plans.depth_of(shapes, f"{prefix}blocks."),
        heads=plans.heads_of(width, options, HEADS),
        mlp_dim=plans.shape_of(shapes, f"{prefix}blocks.0.mlp.fc1.weight")[0],
        tubelet=tubelet,
        patch=patch,
        position="sincos_1d",
        qkv_bias="qv",
        norm_eps=plans.settle_eps(None, EPS, options, "VideoMAE"),
        final_norm="pooled" if final.endswith("fc_norm") else "tokens",
        **plans.settle_clip(options, _stated(file.settings), (16, (224, 224)), notes),
    )
    table = plans.is_table(sincos_1d(config.num_tokens, width), "VideoMAE's fixed position table")
    plan = Plan(
        family="videomae",
        objective="mae",
        encoder=config,
        rules=encoder_rules(prefix, config, final),
        ignored=[STATE, Ignored(f"{re.escape(prefix)}pos_embed", TABLE, table)],
        fps=options.fps or FPS,
        prefixes={"encoder": prefix, "top": top, "final": final.removeprefix(prefix)},
        notes=notes,
    )
    if pretraining:
        _add_decoder(plan, shapes, top, options)
    elif config.final_norm == "pooled":
        plan.head = HeadConfig("linear", plans.shape_of(shapes, f"{top}head.weight")[0])
        plan.rules += linear(f"{top}head", "params/head/linear")
    else:
        plan.ignored.append(Ignored(rf"{re.escape(top)}head\..*", FIRST_TOKEN))
    return plan


def _add_decoder(plan: Plan, shapes: Mapping[str, Shape], top: str, options: ImportOptions) -> None:
    width = shapes[f"{top}encoder_to_decoder.weight"][0]
    heads = options.head_heads or DECODER_HEADS.get(width)
    if not heads:
        raise ConvertError(f"a decoder of width {width} is not a public size; give --head_heads")
    if width % heads:
        raise ConvertError(f"{heads} heads do not divide a decoder of {width}: give --head_heads")
    depth = plans.depth_of(shapes, f"{top}decoder.blocks.")
    # VideoMAE v2 g gives its decoder the encoder's MLP ratio, 48 / 11.
    mlp_dim = plans.shape_of(shapes, f"{top}decoder.blocks.0.mlp.fc1.weight")[0]
    plan.decoder = {"depth": depth, "width": width, "heads": heads, "mlp_dim": mlp_dim}
    plan.rules += decoder_rules(top, depth)


def _stated(settings: Mapping[str, Any]) -> tuple[int | None, tuple[int, int] | None]:
    """Clip length and size from the training arguments in the file, None where it has none."""
    frames = settings.get("args/num_frames")
    side = settings.get("args/input_size")
    if frames is not None and settings.get("args/num_segments", 1) not in (None, 1):
        frames = None  # sparse sampling counts segments instead
    return frames, (side, side) if isinstance(side, int) else None
