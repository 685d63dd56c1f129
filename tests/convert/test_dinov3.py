"""Parity of DINOv3 files: frames apart, frames in tubelets, rotary periods."""

import numpy as np
import pytest

from convert import cases
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, ImportOptions, import_file

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import SMALL, close, torch_state  # noqa: E402


def dinov3_state():
    shapes = ref.encoder_shapes("", kernel=(4, 4), scale=True) | ref.norm_shapes("norm")
    shapes |= {"cls_token": [1, 1, 48], "storage_tokens": [1, 2, 48], "mask_token": [1, 48]}
    state = torch_state(shapes)
    for i in range(2):
        mask = torch.ones(144)
        mask[48:96] = 0
        state[f"blocks.{i}.attn.qkv.bias_mask"] = mask
    state["rope_embed.periods"] = 100.0 ** (torch.arange(4) / 4)
    return state


def run_dinov3(state, frames, grid):
    h, w = grid
    weight, bias = state["patch_embed.proj.weight"], state["patch_embed.proj.bias"]
    t = torch.nn.functional.conv2d(frames, weight, bias, stride=4).flatten(2).transpose(1, 2)
    first = torch.cat([state["cls_token"], state["storage_tokens"]], 1).expand(len(t), -1, -1)
    rows, columns = ((2 * (torch.arange(n) + 0.5) / n - 1) for n in (h, w))
    where = torch.cartesian_prod(rows, columns)
    angle = 2 * torch.pi * where[:, :, None] / state["rope_embed.periods"]
    angle = angle.flatten(1)  # [N, 8]

    def turn(x):
        a, b = x[:, :, 3:].chunk(2, -1)
        cos, sin = angle.cos(), angle.sin()
        turned = torch.cat([a * cos - b * sin, b * cos + a * sin], -1)
        return torch.cat([x[:, :, :3], turned], 2)

    t = torch.cat([first, t], 1)
    for i in range(2):
        t = ref.block(t, state, f"blocks.{i}.", 3, turn, eps=1e-5)
    return ref.layer_norm(t, state, "norm", 1e-5)[:, 3:]


def test_dinov3_file_apart_and_inflated(tmp_path):
    state = dinov3_state()
    torch.save(state, tmp_path / "dinov3_vitx16.pth")
    options = {"image_size": (16, 12), "heads": 3}
    import_file(
        tmp_path / "dinov3_vitx16.pth", tmp_path / "run", ImportOptions(num_frames=2, **options)
    )
    video = cases.clips(2, 16, 12)
    frames = torch.from_numpy(cases.pixels(video).reshape(4, 3, 16, 12))
    theirs = run_dinov3(state, frames, (4, 3)).reshape(2, 2 * 12, 48)
    close(load_encoder(tmp_path / "run").tokens(video), theirs)

    inflated = ImportOptions(num_frames=2, frames="inflated", **options)
    import_file(tmp_path / "dinov3_vitx16.pth", tmp_path / "inflated", inflated)
    still = np.repeat(video[:, :1], 2, axis=1)
    # A tubelet of two equal frames is the frame.
    close(load_encoder(tmp_path / "inflated").tokens(still), theirs[:, :12])


def test_wrong_rotary_periods_are_refused(tmp_path):
    state = dinov3_state()
    state["rope_embed.periods"] = 10000.0 ** (torch.arange(4) / 4)
    torch.save(state, tmp_path / "x.pth")
    with pytest.raises(ConvertError, match="rotary periods of base 100"):
        import_file(tmp_path / "x.pth", tmp_path / "run", ImportOptions(**SMALL))
