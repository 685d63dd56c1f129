"""Encoders without a head: VideoMAE v2's distilled ones, a folder whose config.json has sizes."""

import pytest

from convert import cases
from surgrec_jax import load_encoder
from surgrec_jax.convert import ConvertError, ImportOptions, export_checkpoint, import_file

torch = pytest.importorskip("torch", reason="parity with torch needs torch==2.13.0")

from convert import reference as ref  # noqa: E402  (needs torch)
from convert.originals import close, torch_state, videomae_tokens  # noqa: E402

DISTILLED = {
    "img_size": 16,
    "patch_size": 4,
    "num_classes": 0,
    "embed_dim": 48,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 2,
    "qkv_bias": True,
    "qk_scale": None,
    "layer_norm_eps": 1e-6,
    "use_learnable_pos_emb": False,
    "tubelet_size": 2,
    "use_mean_pooling": True,
    "num_frames": 4,
    "cos_attn": False,
}


def distilled(folder, **changes):
    """A folder as VideoMAE v2's distilled encoders are published: keys under model., no head."""
    shapes = ref.encoder_shapes("model.", qv=True) | ref.norm_shapes("model.fc_norm")
    config = {"model_type": "VideoMAEv2_Base", "model_config": DISTILLED | changes}
    return cases.save_folder(folder, cases.state(shapes), config), torch_state(shapes)


def test_a_distilled_encoder_without_a_head(tmp_path):
    folder, state = distilled(tmp_path / "hub")
    meta = import_file(folder, tmp_path / "run")
    assert (meta["parts"], meta["import"]["notes"]) == ({}, [])
    video = cases.clips(4, 16, 16)
    t = videomae_tokens(state, torch.from_numpy(cases.pixels(video)), "model.")
    encoder = load_encoder(tmp_path / "run")
    close(encoder.tokens(video), t)
    close(encoder.features(video), ref.layer_norm(t.mean(1), state, "model.fc_norm"))
    weights, *_ = export_checkpoint(tmp_path / "run", tmp_path / "out", "videomae")
    back = torch.load(weights, weights_only=True)
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


@pytest.mark.parametrize(
    "changes, options, sentence",
    [
        ({"depth": 3}, {}, r"depth=3 \(here 2\)"),
        ({"cos_attn": True}, {}, r"cos_attn=True \(here False\)"),
        ({"num_classes": 5}, {}, r"num_classes=5 \(here 0\)"),
        ({"mlp_ratio": 4}, {}, r"mlp_ratio=4 \(here 96 of 48\)"),
        ({"use_mean_pooling": False}, {}, r"use_mean_pooling=False \(here True\)"),
        ({"num_heads": 5}, {}, "5 heads do not divide an encoder of 48"),
        ({"layer_norm_eps": 1e-12}, {}, "--norm_eps=1e-06 for what it was trained with"),
        ({}, {"heads": 6}, "--heads=6 contradicts config.json, which says 3"),
        ({}, {"num_frames": 8}, "--num_frames=8, and the file was trained with 4"),
    ],
)
def test_a_distilled_encoder_that_is_not_as_its_config_says(tmp_path, changes, options, sentence):
    folder, _ = distilled(tmp_path / "hub", **changes)
    with pytest.raises(ConvertError, match=sentence):
        import_file(folder, tmp_path / "run", ImportOptions(**options))
