"""State dicts in the key styles of the original repositories, and what their models compute.

Needs torch: tests import it after `pytest.importorskip("torch")`.
"""

import numpy as np
import torch

from convert import cases
from convert import reference as ref
from surgrec_jax.convert import ImportOptions

TOLERANCE = 1e-5
SMALL = {"num_frames": 4, "image_size": (16, 16), "heads": 3}
OPTIONS = ImportOptions(**SMALL, head_heads=2)


def torch_state(shapes, group=""):
    """Weights named by group and key, under their keys."""
    return {k: torch.from_numpy(cases.weight(group + k, tuple(s))) for k, s in shapes.items()}


def close(ours, theirs):
    assert ours.shape == tuple(theirs.shape)
    worst = float(np.abs(ours - theirs.numpy()).max())
    assert worst < TOLERANCE, worst


def save(path, **groups):
    torch.save(groups, path)
    return path


def videomae_shapes():
    shapes = ref.encoder_shapes("encoder.", qv=True) | ref.norm_shapes("encoder.norm")
    shapes |= {"encoder_to_decoder.weight": [24, 48], "mask_token": [1, 1, 24]}
    for i in range(2):
        shapes |= ref.block_shapes(f"decoder.blocks.{i}.", 24, 104, qv=True)
    shapes |= ref.norm_shapes("decoder.norm", 24)
    return shapes | {"decoder.head.weight": [96, 24], "decoder.head.bias": [96]}


def videomae_tokens(state, x, prefix, seen=None):
    t = ref.tokens(x, state, prefix)
    t = t + ref.sincos_1d(t.shape[1], 48)
    if seen is not None:
        t = torch.gather(t, 1, torch.from_numpy(seen)[..., None].expand(-1, -1, 48))
    for i in range(2):
        t = ref.block(t, state, f"{prefix}blocks.{i}.", 3)
    return t


def vjepa_groups(extra=None, tokens=2):
    """encoder, target_encoder and predictor with prefix module.backbone."""
    shapes = ref.encoder_shapes("module.backbone.") | ref.norm_shapes("module.backbone.norm")
    predictor = {
        "predictor_embed.weight": [24, 48],
        "predictor_embed.bias": [24],
        **{f"mask_tokens.{n}": [1, 1, 24] for n in range(tokens)},
        **ref.block_shapes("predictor_blocks.0.", 24, 96),
        **ref.norm_shapes("predictor_norm", 24),
        "predictor_proj.weight": [48, 24],
        "predictor_proj.bias": [48],
    }
    return {
        "encoder": torch_state(shapes, "encoder/"),
        "target_encoder": torch_state(shapes, "target_encoder/"),
        "predictor": torch_state(
            {f"module.backbone.{k}": s for k, s in predictor.items()}, "predictor/"
        ),
        "opt": {"state": {}},
        "epoch": 3,
        "loss": np.float64(0.5),
    }


def run_vjepa(state, x, turn=None, table=None, ids=None, norm="norm", prefix="module.backbone."):
    t = ref.tokens(x, state, prefix)
    if f"{prefix}video_mod_embed" in state:
        t = t + state[f"{prefix}video_mod_embed"]
    if table is not None:
        t = t + table
    if ids is not None:
        t = torch.gather(t, 1, ids[..., None].expand(-1, -1, t.shape[-1]))
    for i in range(2):
        t = ref.block(t, state, f"{prefix}blocks.{i}.", 3, turn)
    return ref.layer_norm(t, state, f"{prefix}{norm}")


def run_predictor(state, context, seen, hidden, number, turn=None, table=None):
    p = "module.backbone."
    t = ref.linear(context, state, f"{p}predictor_embed")
    mask = state[f"{p}mask_tokens.{number}"].expand(len(t), hidden.shape[1], -1)
    if table is not None:
        t, mask = t + table[seen], mask + table[hidden]
    t = ref.block(torch.cat([t, mask], 1), state, f"{p}predictor_blocks.0.", 2, turn)
    t = ref.layer_norm(t[:, seen.shape[1] :], state, f"{p}predictor_norm")
    return ref.linear(t, state, f"{p}predictor_proj")


def vjepa21_groups(depth=4, width=48):
    """A training file of V-JEPA 2.1: both encoders, and a predictor over four levels."""
    shapes = ref.encoder_shapes("", depth) | {"video_mod_embed": [1, 1, width]}
    shapes |= {"img_mod_embed": [1, 1, width], "patch_embed_img.proj.bias": [width]}
    shapes |= {"patch_embed_img.proj.weight": [width, 3, 1, 4, 4]}
    for level in range(4):
        shapes |= ref.norm_shapes(f"norms_block.{level}")
    predictor = {
        "predictor_embed.0.weight": [width, 4 * width],
        "predictor_embed.0.bias": [width],
        "predictor_embed.2.weight": [24, width],
        "predictor_embed.2.bias": [24],
        "video_mod_embed": [1, 1, 24],
        "img_mod_embed": [1, 1, 24],
        **{f"mask_tokens.{n}": [1, 1, 24] for n in range(3)},
        **ref.block_shapes("predictor_blocks.0.", 24, 96),
        **ref.block_shapes("predictor_blocks.1.", 24, 96),
        **ref.norm_shapes("predictor_norm", 24),
    }
    for name in ("predictor_proj", "predictor_proj_context"):
        predictor |= {f"{name}.weight": [4 * width, 24], f"{name}.bias": [4 * width]}
    parts = {"encoder": shapes, "target_encoder": shapes, "predictor": predictor}
    return {
        name: torch_state({f"module.backbone.{k}": s for k, s in part.items()}, f"{name}/")
        for name, part in parts.items()
    }


def run_levels(state, x, turn, ids=None):
    """Normed tokens of the four layers of an encoder of V-JEPA 2.1."""
    p, out = "module.backbone.", []
    t = ref.tokens(x, state, p) + state[f"{p}video_mod_embed"]
    if ids is not None:
        t = torch.gather(t, 1, ids[..., None].expand(-1, -1, t.shape[-1]))
    for i in range(4):
        t = ref.block(t, state, f"{p}blocks.{i}.", 3, turn)
        out.append(ref.layer_norm(t, state, f"{p}norms_block.{i}"))
    return out


def run_predictor_21(state, context, hidden, number, turn):
    """What the predictor of V-JEPA 2.1 says of hidden tokens, and of visible ones."""
    p, seen = "module.backbone.", context.shape[1]
    t = torch.nn.functional.gelu(ref.linear(context, state, f"{p}predictor_embed.0"))
    t = ref.linear(t, state, f"{p}predictor_embed.2")
    mask = state[f"{p}mask_tokens.{number}"].expand(len(t), hidden.shape[1], -1)
    t = torch.cat([t, mask], 1) + state[f"{p}video_mod_embed"]
    for i in range(2):
        t = ref.block(t, state, f"{p}predictor_blocks.{i}.", 2, turn)
    t = ref.layer_norm(t, state, f"{p}predictor_norm")
    parts = (t[:, seen:], "predictor_proj"), (t[:, :seen], "predictor_proj_context")
    return [ref.linear(part, state, f"{p}{name}") for part, name in parts]
