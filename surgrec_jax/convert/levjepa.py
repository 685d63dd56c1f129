"""LeVJEPA's published encoder: safetensors and config.json of a folder with code of its own.

patch_embed.proj, cls_token, blocks.N.*, norm: V-JEPA's keys with a CLS token, tubelets of one frame
and tiled rotary positions. Whether attention is causal no key shows: config.json says it.
"""

from collections.abc import Mapping
from typing import Any

from surgrec_jax.convert import architecture as arch
from surgrec_jax.convert.hf_config import number, sides, statistics
from surgrec_jax.convert.import_plan import ImportOptions, Plan
from surgrec_jax.convert.strict import ConvertError, Rule, Shape, squeeze
from surgrec_jax.convert.vjepa import EPS, encoder_rules
from surgrec_jax.models.presets import ATTENTIONS, ViTConfig

KERNEL = "patch_embed.proj.weight"
CLIP, FPS = (16, (224, 224)), 7.5


def recognise(shapes: Mapping[str, Shape]) -> bool:
    """Whether a file has a CLS token before tubelets, and no table of positions."""
    tubelets = any(k.endswith(KERNEL) and len(s) == 5 for k, s in shapes.items())
    ends = {key.rsplit(".", 1)[-1] for key in shapes}
    return tubelets and "cls_token" in ends and "pos_embed" not in ends


def read(file: Any, options: ImportOptions) -> Plan:
    """Plans the import of a LeVJEPA encoder.

    Raises:
        ConvertError: no config.json that says how attention goes, or one that does not fit.
    """
    shapes, notes = file.shapes(), []
    stated = file.config or {}
    attention = stated.get("attn_mode")
    if attention not in ATTENTIONS:
        raise ConvertError(
            f"{file.name}: config.json says attn_mode={attention!r}, and the weights fit both "
            f"{' and '.join(ATTENTIONS)} attention; give the whole folder, with the config.json "
            "that it was published with"
        )
    prefix = arch.find_prefix(shapes, KERNEL)
    sizes = arch.sizes_of(shapes, f"{prefix}{KERNEL}", f"{prefix}blocks.", "mlp.fc1")
    heads = options.heads or _stated(stated, "num_heads", "num_attention_heads")
    heads = heads or arch.HEADS.get(sizes["width"])
    image = next((name for name in ("img_size", "image_size") if name in stated), None)
    clip = (_stated(stated, "num_frames"), sides(stated, image, 224) if image else None)
    encoder = ViTConfig(
        **sizes,
        heads=arch.heads_of("an encoder", sizes["width"], heads, "give --heads"),
        position="rope_3d_tiled",
        norm_eps=arch.settle_eps(None, EPS, options, "LeVJEPA"),
        init="trunc_normal",
        prefix_tokens=1,
        pooling="cls",
        attention=attention,
        **arch.settle_clip(options, clip, CLIP, notes),
        **statistics(file),
    )
    rules = encoder_rules(prefix, encoder, "params/encoder")
    rules.append(Rule(f"{prefix}cls_token", "params/encoder/prefix", squeeze(1)))
    return Plan(
        family="levjepa",
        objective="levjepa",
        encoder=encoder,
        rules=rules,
        ignored=[],
        fps=options.fps or FPS,
        prefixes={"encoder": prefix},
        notes=notes,
    )


def _stated(config: Mapping[str, Any], *names: str) -> int | None:
    """A whole number that config.json has under one of these names; None where it has none."""
    name = next((name for name in names if name in config), None)
    return None if name is None else number(dict(config), name, 1)
