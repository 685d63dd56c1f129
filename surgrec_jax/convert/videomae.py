"""VideoMAE v1 and v2, and SurgRec-MAE: pretraining files, fine-tuned and distilled encoders.

pretraining   model/encoder.*, encoder_to_decoder, mask_token, decoder.*
fine-tuned    model/* or module/*: the encoder at the top, norm or fc_norm, head
distilled     model.*: a folder with `model_config` in its config.json, fc_norm, no head
"""

import re
from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.hf_config import agree, number, ratio_agrees, sides, statistics
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Ignored, Rule, Shape, squeeze
from surgrec_jax.convert.tables import BlockNames, blocks, linear, norm, patch_embed
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.position import sincos_1d
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6
FPS = 7.5  # every fourth frame of 30 a second
HEADS = arch.HEADS | {1408: 16}
CLIP = (16, (224, 224))
# Heads of the decoders that VideoMAE and v2 publish (modeling_pretrain.py), by their width.
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
    """The shapes without the training state, which may hold a second copy (`model_ema`)."""
    return {k: s for k, s in shapes.items() if not re.fullmatch(STATE.pattern, k)}


def encoder_rules(prefix: str, config: ViTConfig, final: str) -> list[Rule]:
    """The table of an encoder under a prefix.

    Args:
        final: key of its last LayerNorm.
    """
    path = "params/encoder"
    return [
        *patch_embed(f"{prefix}patch_embed.proj", f"{path}/patch_embed", config),
        *blocks(f"{prefix}blocks.{{i}}.", f"{path}/blocks", config.depth, config.qkv_bias),
        *norm(final, f"{path}/norm"),
    ]


def decoder_rules(
    prefix: str, depth: int, layers: str = "blocks", names: BlockNames | None = None
) -> list[Rule]:
    """The table of a decoder, whose biases are separate as the encoder's are.

    Args:
        layers, names: what its blocks and their parts are called.
    """
    path = "params/decoder"
    return [
        *linear(f"{prefix}encoder_to_decoder", f"{path}/embed", bias=False),
        Rule(f"{prefix}mask_token", f"{path}/mask_token", squeeze(1, 1)),
        *blocks(f"{prefix}decoder.{layers}.{{i}}.", f"{path}/blocks", depth, "qv", names),
        *norm(f"{prefix}decoder.norm", f"{path}/norm"),
        *linear(f"{prefix}decoder.head", f"{path}/head"),
    ]


def read(file: Any, options: ImportOptions) -> Plan:
    """Plans the import of a VideoMAE file.

    Raises:
        ConvertError: the file or the options lack something, or contradict each other.
    """
    shapes, notes = _weights(file.shapes()), []
    prefix = arch.find_prefix(shapes, "patch_embed.proj.weight")
    pretraining = f"{prefix.removesuffix('encoder.')}encoder_to_decoder.weight" in shapes
    top = prefix.removesuffix("encoder.") if pretraining else prefix
    final = f"{prefix}norm" if f"{prefix}norm.weight" in shapes else f"{prefix}fc_norm"
    config = _encoder(file, shapes, prefix, options, notes, pooled=final.endswith("fc_norm"))
    table = arch.is_table(
        sincos_1d(config.num_tokens, config.width), "VideoMAE's fixed position table"
    )
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
    elif config.final_norm == "tokens":
        plan.ignored.append(Ignored(rf"{re.escape(top)}head\..*", FIRST_TOKEN))
    elif f"{top}head.weight" in shapes:
        plan.head = HeadConfig("linear", shapes[f"{top}head.weight"][0])
        plan.rules += linear(f"{top}head", "params/head/linear")
    return plan


def _encoder(
    file: Any,
    shapes: Mapping[str, Shape],
    prefix: str,
    options: ImportOptions,
    notes: list[str],
    pooled: bool,
) -> ViTConfig:
    """The encoder under a prefix; what no shape shows is config.json's or the user's."""
    kernel = f"{prefix}patch_embed.proj.weight"
    sizes = arch.sizes_of(shapes, kernel, f"{prefix}blocks.", "mlp.fc1")
    width, fields = sizes["width"], {}
    stated = (file.config or {}).get("model_config")
    if stated is None:
        heads, eps, clip, usual = options.heads, None, _trained_clip(file.settings), CLIP
    else:
        classes = shapes.get(f"{prefix}head.weight", (0,))[0]
        heads, eps, clip = _model_config(stated, sizes, pooled, classes)
        if options.heads not in (None, heads):
            raise ConvertError(
                f"--heads={options.heads} contradicts config.json, which says {heads}; leave it out"
            )
        fields = statistics(file)
        usual = clip
    return ViTConfig(
        **sizes,
        **fields,
        heads=arch.heads_of("an encoder", width, heads or HEADS.get(width), "give --heads"),
        position="sincos_1d",
        qkv_bias="qv",
        norm_eps=arch.settle_eps(eps, EPS, options, "VideoMAE"),
        final_norm="pooled" if pooled else "tokens",
        **arch.settle_clip(options, clip, usual, notes, decisive=True),
    )


def _model_config(
    stated: Any, sizes: Mapping[str, int], pooled: bool, classes: int
) -> tuple[int, float, tuple[int, tuple[int, int]]]:
    """Heads, epsilon and clip of a distilled encoder's config.json, which must fit its tensors."""
    if not isinstance(stated, dict):
        raise ConvertError("config.json: model_config is no object; download it again")
    agree(
        stated,
        embed_dim=sizes["width"],
        depth=sizes["depth"],
        patch_size=sizes["patch"],
        tubelet_size=sizes["tubelet"],
        num_classes=classes,
        use_mean_pooling=pooled,
        qkv_bias=True,
        qk_scale=None,
        cos_attn=False,
        use_learnable_pos_emb=False,
    )
    ratio_agrees(stated, "mlp_ratio", sizes["width"], sizes["mlp_dim"])
    clip = number(stated, "num_frames", CLIP[0]), sides(stated, "img_size", CLIP[1][0])
    return number(stated, "num_heads", 12), number(stated, "layer_norm_eps", EPS, float), clip


def _add_decoder(plan: Plan, shapes: Mapping[str, Shape], top: str, options: ImportOptions) -> None:
    width = shapes[f"{top}encoder_to_decoder.weight"][0]
    heads = options.head_heads or DECODER_HEADS.get(width)
    heads = arch.heads_of("a decoder", width, heads, "give --head_heads")
    depth = arch.depth_of(shapes, f"{top}decoder.blocks.")
    # VideoMAE v2 g gives its decoder the encoder's MLP ratio, 48 / 11.
    mlp_dim = arch.shape_of(shapes, f"{top}decoder.blocks.0.mlp.fc1.weight")[0]
    plan.decoder = {"depth": depth, "width": width, "heads": heads, "mlp_dim": mlp_dim}
    plan.rules += decoder_rules(top, depth)


def _trained_clip(settings: Mapping[str, Any]) -> tuple[int | None, tuple[int, int] | None]:
    """Clip length and size from the training arguments in the file, None where it has none."""
    frames = settings.get("args/num_frames")
    side = settings.get("args/input_size")
    if frames is not None and settings.get("args/num_segments", 1) not in (None, 1):
        frames = None  # sparse sampling counts segments instead
    return frames, (side, side) if isinstance(side, int) else None
