"""V-JEPA 1, 2 and 2.1, and SurgRec-JEPA: training files and hub files.

encoder/, target_encoder/ or ema_encoder/, predictor/, keys module.backbone.*

The three differ in positions, which no key of 2 and 2.1 names: 1 has a fixed 3-D sine-cosine table
(in the file, and compared), 2 tiled rotary frequencies, 2.1 interleaved ones, stretched to a fixed
range, a modality embedding, norms of four levels and a predictor over them.
"""

import re
from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import (
    ConvertError,
    Ignored,
    Rule,
    Shape,
    Transform,
    squeeze,
    stacked,
)
from surgrec_jax.convert.tables import blocks, linear, norm, patch_embed
from surgrec_jax.models import levels
from surgrec_jax.models.position import sincos_3d
from surgrec_jax.models.presets import ViTConfig

EPS = 1e-6
POSITION = {"vjepa1": "sincos_3d", "vjepa2": "rope_3d_tiled", "vjepa21": "rope_3d"}
CLIP = {"vjepa1": (16, (224, 224)), "vjepa2": (64, (256, 256)), "vjepa21": (64, (384, 384))}
FPS = {"vjepa1": 7.5, "vjepa2": 4.0, "vjepa21": 4.0}
# V-JEPA 1 has published no g or G; their heads are those of its code.
HEADS = {
    "vjepa1": arch.HEADS | {1408: 16, 1664: 16},
    "vjepa2": arch.HEADS | {1408: 22},
    "vjepa21": arch.HEADS | {1408: 22},
}
MODALITY = "modality_embedding"  # of an encoder of version 2.1
# Version 2.1 stretches rows and columns to those of 256 px, whatever the resolution.
ORIGIN_21 = (0, 16, 16)
TARGETS = ("target_encoder", "ema_encoder")
# Version 1 has a mask token for each kind of masks, version 2 for each kind and data set. The
# public files of 2 keep a position table that its rotary encoder never reads.
TOKENS_1, TOKENS_2 = 2, 10

STATE = Ignored(r"(opt|optimizer|scaler|scheduler)/.*", "training state, not weights")
LEVELS = "norm of an earlier level, read only by the four-level loss of V-JEPA 2.1"
IMAGES = "image branch (tubelet 1); this encoder takes clips"


def recognise(shapes: Mapping[str, Shape]) -> str | None:
    """The version of V-JEPA that a file is of, None where it is of none.

    Raises:
        ConvertError: a file that could be 1 or 2.
    """
    patch = [s for k, s in shapes.items() if k.endswith("patch_embed.proj.weight")]
    if not patch or any(len(s) != 5 for s in patch):
        return None
    if not any(k.endswith(".attn.qkv.bias") for k in shapes):
        return None
    if any(k.endswith("norms_block.0.weight") for k in shapes):
        return "vjepa21"
    if not any(re.search(r"(^|[./])pos_embed$", k) for k in shapes):
        return "vjepa2"
    tokens = sum(bool(re.search(r"mask_tokens\.\d+$", k)) for k in shapes)
    if tokens == TOKENS_2:
        return "vjepa2"
    if tokens > TOKENS_1:
        raise ConvertError(
            f"the file has a position table (as V-JEPA 1) and {tokens} mask tokens (V-JEPA 1 has "
            f"{TOKENS_1}, V-JEPA 2 {TOKENS_2}): give --family=vjepa1 or --family=vjepa2"
        )
    return "vjepa1"


def encoder_rules(prefix: str, config: ViTConfig, path: str, final: str = "norm") -> list[Rule]:
    """The table of an encoder under a prefix; `final` is its last LayerNorm."""
    rules = [
        *patch_embed(f"{prefix}patch_embed.proj", f"{path}/patch_embed", config),
        *blocks(f"{prefix}blocks.{{i}}.", f"{path}/blocks", config.depth, "qkv"),
        *norm(f"{prefix}{final}", f"{path}/norm"),
    ]
    if config.modality_embedding:
        rules.append(Rule(f"{prefix}video_mod_embed", f"{path}/modality", squeeze(1, 1)))
    return rules


def level_rules(prefix: str, path: str) -> list[Rule]:
    """The norms of an encoder's levels before the last one."""
    keys = [f"{prefix}norms_block.{n}" for n in range(levels.COUNT - 1)]
    names = {"weight": "scale", "bias": "bias"}
    return [
        Rule(tuple(f"{key}.{theirs}" for key in keys), f"{path}/{ours}", stacked(len(keys)))
        for theirs, ours in names.items()
    ]


def predictor_rules(prefix: str, sizes: Mapping[str, Any], tokens: tuple[int, ...]) -> list[Rule]:
    """The table of a predictor of these sizes; `tokens` are the mask tokens to take, by number."""
    path, depth = "params/predictor", sizes["depth"]
    numbers = sorted(set(tokens))
    keys = tuple(f"{prefix}mask_tokens.{n}" for n in numbers)
    rows = stacked(len(keys), 1, 1)
    if list(tokens) != numbers:  # another order, or one token for several kinds of masks
        order = [numbers.index(n) for n in tokens]
        rows = Transform(lambda x: stacked(len(keys), 1, 1).forward(x)[order], None)
    embed, more = f"{prefix}predictor_embed", []
    if sizes.get("levels", 1) > 1:
        more += linear(f"{embed}.0", f"{path}/fuse")
        embed += ".2"
    if sizes.get("visible"):
        more += linear(f"{prefix}predictor_proj_context", f"{path}/proj_visible")
    if sizes.get("modality"):
        more.append(Rule(f"{prefix}video_mod_embed", f"{path}/modality", squeeze(1, 1)))
    return [
        *more,
        *linear(embed, f"{path}/embed"),
        Rule(keys, f"{path}/mask_tokens", rows),
        *blocks(f"{prefix}predictor_blocks.{{i}}.", f"{path}/blocks", depth, "qkv"),
        *norm(f"{prefix}predictor_norm", f"{path}/norm"),
        *linear(f"{prefix}predictor_proj", f"{path}/proj"),
    ]


def read(file: Any, options: ImportOptions, version: str) -> Plan:
    """Plans the import of a V-JEPA file: "vjepa1", "vjepa2" or "vjepa21".

    Raises:
        ConvertError: the file or the options lack something.
    """
    shapes, notes = file.shapes(), []
    groups = _encoders(shapes, options)
    prefix = groups["target"]
    config = _encoder(shapes, prefix, options, version, notes)
    norms = arch.depth_of(shapes, f"{prefix}norms_block.")
    final = f"norms_block.{norms - 1}" if version == "vjepa21" else "norm"
    rules = encoder_rules(prefix, config, "params/encoder", final)
    if groups.get("online"):
        rules = encoder_rules(groups["online"], config, "params/encoder", final)
        rules += encoder_rules(prefix, config, "target_params/encoder", final)
    plan = Plan(
        family=version,
        objective="jepa",
        encoder=config,
        rules=rules,
        ignored=[STATE, *_ignored(version, groups.values(), config)],
        fps=options.fps or FPS[version],
        prefixes=groups,
        notes=notes,
    )
    if any(key.startswith("predictor/") for key in shapes):
        _add_predictor(plan, shapes, options)
    if plan.levels:
        names = {"params": groups.get("online", prefix)}
        names |= {"target_params": prefix} if groups.get("online") else {}
        plan.rules += [r for tree, p in names.items() for r in level_rules(p, f"{tree}/levels")]
    elif version == "vjepa21":
        earlier = rf".*norms_block\.({'|'.join(map(str, range(norms - 1)))})\..*"
        plan.ignored.append(Ignored(earlier, LEVELS))
    return plan


def _encoder(
    shapes: Mapping[str, Shape],
    prefix: str,
    options: ImportOptions,
    version: str,
    notes: list[str],
) -> ViTConfig:
    """The encoder under a prefix."""
    kernel = f"{prefix}patch_embed.proj.weight"
    sizes = arch.sizes_of(shapes, kernel, f"{prefix}blocks.", "mlp.fc1")
    width = sizes["width"]
    heads = options.heads or HEADS[version].get(width)
    tableless = version == "vjepa1" and f"{prefix}pos_embed" not in shapes
    return ViTConfig(
        **sizes,
        heads=arch.heads_of("an encoder", width, heads, "give --heads"),
        position=POSITION[version],
        norm_eps=arch.settle_eps(None, EPS, options, "V-JEPA"),
        init="trunc_normal",
        position_grid=ORIGIN_21 if version == "vjepa21" else None,
        modality_embedding=any(
            re.fullmatch(rf"{re.escape(prefix)}(video|img)_mod_embed", k) for k in shapes
        ),
        **arch.settle_clip(options, (None, None), CLIP[version], notes, decisive=tableless),
    )


def _encoders(shapes: Mapping[str, Shape], options: ImportOptions) -> dict[str, str]:
    """Prefixes of the encoders in a file: "target", and "online" where there are two."""
    anchor = "patch_embed.proj.weight"
    have = {key.split("/")[0] for key in shapes} & {"encoder", *TARGETS}
    target = next((name for name in TARGETS if name in have), None)
    if not have:
        return {"target": arch.find_prefix(shapes, anchor)}
    if target is None:
        if options.encoder == "target":
            raise ConvertError(
                f"the file has {sorted(have)} and no EMA target ({', '.join(TARGETS)}), which is "
                "the one to evaluate; give --encoder=online to take the online encoder"
            )
        return {"target": arch.find_prefix(shapes, anchor, "encoder/")}
    groups = {"target": arch.find_prefix(shapes, anchor, f"{target}/")}
    if "encoder" in have:
        groups["online"] = arch.find_prefix(shapes, anchor, "encoder/")
    elif options.encoder == "online":
        raise ConvertError("the file has no online encoder; leave out --encoder=online")
    return groups


def _ignored(version: str, prefixes: Any, config: ViTConfig) -> list[Ignored]:
    ignored = []
    for prefix in map(re.escape, prefixes):
        if version == "vjepa1":
            check = arch.is_table(sincos_3d(config.grid, config.width), "V-JEPA 1's position table")
            ignored.append(
                Ignored(f"{prefix}pos_embed", "fixed table, compared and computed", check)
            )
        if version == "vjepa2":
            ignored.append(Ignored(f"{prefix}pos_embed", "left over: a RoPE encoder reads none"))
        if version == "vjepa21":
            ignored.append(Ignored(rf"{prefix}(patch_embed_img\..*|img_mod_embed)", IMAGES))
    return ignored


def _add_predictor(plan: Plan, shapes: Mapping[str, Shape], options: ImportOptions) -> None:
    several = any(key.endswith("predictor_embed.0.weight") for key in shapes)
    last = "predictor_embed.2.weight" if several else "predictor_embed.weight"
    prefix = arch.find_prefix(shapes, last, "predictor/")
    width = shapes[f"{prefix}{last}"][0]
    numbers = sorted(
        int(m.group(1))
        for key in shapes
        if (m := re.fullmatch(re.escape(prefix) + r"mask_tokens\.(\d+)", key))
    )
    tokens = take_tokens(numbers, options)
    plan.ignored += [
        Ignored(re.escape(f"{prefix}mask_tokens.{n}"), "mask token not asked for")
        for n in numbers
        if n not in tokens
    ]
    heads = options.head_heads or predictor_heads(plan.family, plan.encoder, width)
    heads = arch.heads_of("a predictor", width, heads, "give --head_heads")
    grid, name = plan.encoder.grid, "V-JEPA 1's predictor table"
    check = arch.is_table(sincos_3d(grid, width), name) if plan.family == "vjepa1" else None
    reason = "fixed table, compared and computed" if check else "left over: RoPE reads none"
    plan.ignored.append(Ignored(f"{re.escape(prefix)}predictor_pos_embed", reason, check))
    plan.ignored.append(Ignored(f"{re.escape(prefix)}img_mod_embed", IMAGES))
    depth = arch.depth_of(shapes, f"{prefix}predictor_blocks.")
    sizes = {"depth": depth, "width": width, "heads": heads, "num_masks": len(tokens)}
    outputs = arch.shape_of(shapes, f"{prefix}predictor_proj.weight")[0]
    count = levels.COUNT if several else 1
    sizes |= {} if outputs == count * plan.encoder.width else {"target_width": outputs}
    sizes |= {"levels": count} if several else {}
    sizes |= {"visible": True} if f"{prefix}predictor_proj_context.weight" in shapes else {}
    sizes |= {"modality": True} if f"{prefix}video_mod_embed" in shapes else {}
    plan.predictor, plan.levels, plan.prefixes["predictor"] = sizes, several, prefix
    plan.rules += predictor_rules(prefix, sizes, tokens)


def predictor_heads(version: str, encoder: ViTConfig, width: int) -> int | None:
    """The number of attention heads of a predictor, which a file does not say.

    V-JEPA 1 gives it the encoder's; all public ones of 2 are 384 wide and have 12. None for another
    width in 2.
    """
    return encoder.heads if version == "vjepa1" else {384: 12}.get(width)


def take_tokens(numbers: list[int], options: ImportOptions) -> tuple[int, ...]:
    """The numbers of the mask tokens to take: those of --mask_tokens, or all.

    Raises:
        ConvertError: a number that is not there.
    """
    tokens = tuple(options.mask_tokens or numbers)
    if set(tokens) - set(numbers):
        raise ConvertError(f"--mask_tokens={tokens}: the file has {numbers}")
    return tokens
