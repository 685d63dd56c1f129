"""What a format cannot hold, or would be read as something else, is refused with what to do."""

import dataclasses

import pytest

from convert.test_export import CLIP, PREDICTOR, SIZES, run_of
from surgrec_jax.convert import ConvertError, export_checkpoint, hf_write, vjepa
from surgrec_jax.models.heads import HeadConfig
from surgrec_jax.models.presets import ViTConfig


def test_a_head_that_transformers_would_run_otherwise(tmp_path):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled")
    head = HeadConfig("attentive", 2, depth=1, heads=2, mlp_dim=96)
    run_of(tmp_path / "run", "classify", config, head=head)
    match = (
        r"heads=2 \(it takes 3\), mlp_dim=96 \(it takes 192\), norm_eps=1e-05 \(it takes 1e-06\)"
    )
    with pytest.raises(ConvertError, match=match):
        export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers", whole=True)


def test_what_a_format_cannot_hold_is_refused(tmp_path):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d")
    run_of(tmp_path / "run", "jepa", config, PREDICTOR)
    for format in ("transformers", "vjepa2"):
        with pytest.raises(ConvertError, match=r"position='rope_3d' \(it has 'rope_3d_tiled'\)"):
            export_checkpoint(tmp_path / "run", tmp_path / "out", format)
    with pytest.raises(ConvertError, match="choose from"):
        export_checkpoint(tmp_path / "run", tmp_path / "out", "onnx")


def test_no_format_says_that_attention_is_causal(tmp_path):
    causal = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled", attention="block_causal")
    run_of(tmp_path / "run", "jepa", causal, PREDICTOR)
    for format in ("transformers", "vjepa2"):
        with pytest.raises(ConvertError, match=r"attention='block_causal' \(it has 'full'\)"):
            export_checkpoint(tmp_path / "run", tmp_path / "out", format)


def test_options_that_an_export_has_no_use_for(tmp_path):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled")
    run_of(tmp_path / "jepa", "jepa", config, PREDICTOR)
    run_of(tmp_path / "head", "classify", config, head=HeadConfig("linear", 2))
    for run, whole, which, sentence in (
        ("jepa", True, "online", "with --whole both encoders are written"),
        ("head", False, "online", "the checkpoint has one encoder"),
        ("head", True, "target", "a vjepa2 file has no place for a head"),
    ):
        with pytest.raises(ConvertError, match=sentence):
            export_checkpoint(tmp_path / run, tmp_path, "vjepa2", whole=whole, encoder=which)


@pytest.mark.parametrize(
    "head, changes, whole, match",
    [
        ("linear", {}, True, r"final_norm='tokens' \(it has 'pooled'\); leave out --whole"),
        (
            "linear",
            {"final_norm": "pooled"},
            False,
            "a linear classifier only: give --whole where",
        ),
        ("attentive", {}, True, "VideoMAE's heads are linear, not attentive: leave out --whole$"),
        ("attentive", {"final_norm": "pooled"}, True, "heads are linear, not attentive$"),
        ("linear", {"qkv_bias": "qkv"}, True, r"qkv_bias='qkv' \(it has 'qv'\), final_norm=[^;]*$"),
        ("linear", {"width": 192, "heads": 6}, False, "read with 3 where this one has 6: use --f"),
    ],
)
def test_what_videomae_would_run_otherwise(tmp_path, head, changes, whole, match):
    config = ViTConfig(**CLIP, **SIZES | {"position": "sincos_1d", "qkv_bias": "qv"} | changes)
    run_of(tmp_path / "run", "classify", config, head=HeadConfig(head, 2, heads=3, mlp_dim=96))
    with pytest.raises(ConvertError, match=match):
        export_checkpoint(tmp_path / "run", tmp_path / "out", "videomae", whole=whole)


def test_no_whole_model_of_vjepa_has_a_pooled_norm(tmp_path):
    config = ViTConfig(**SIZES, **CLIP, position="rope_3d_tiled", final_norm="pooled")
    run_of(tmp_path / "run", "classify", config, head=HeadConfig("linear", 2))
    for whole in (False, True):
        with pytest.raises(ConvertError, match=r"final_norm='pooled' \(it has 'tokens'\)$"):
            export_checkpoint(tmp_path / "run", tmp_path / "out", "transformers", whole=whole)


def test_every_field_that_a_format_has_no_place_for_is_refused():
    """So is a field that a new family brings: nobody has to add it to a list."""
    plain = ViTConfig(**SIZES, **CLIP)
    other = {"position": "rope_3d", "qkv_bias": "none", "position_grid": (0, 4, 4)}
    other |= {"mlp": "swiglu", "layer_scale": True, "prefix_tokens": 1, "frames_apart": True}
    other |= {"modality_embedding": True, "final_norm": "pooled", "attention": "block_causal"}
    cls = {"prefix_tokens": 1, "pooling": "cls"}  # pooling needs a token
    fields = {field.name for field in dataclasses.fields(ViTConfig)}
    assert fields - set(hf_write.HELD) == other.keys() | cls.keys()
    with pytest.raises(ConvertError, match="pooling='cls'"):
        hf_write.check("a file", dataclasses.replace(plain, **cls), {})
    for name, value in other.items():
        with pytest.raises(ConvertError, match=f"a file cannot hold this encoder: {name}="):
            hf_write.check("a file", dataclasses.replace(plain, **{name: value}), {})


@pytest.mark.parametrize(
    "version, width, usual",
    [("vjepa1", 24, "3 .* 2: leave"), ("vjepa2", 384, "12 .* 2: use --f.* or leave")],
)
def test_heads_that_a_predictor_would_be_read_with(tmp_path, version, width, usual):
    config = ViTConfig(**SIZES, **CLIP, position=vjepa.POSITION[version])
    run_of(tmp_path / "run", "jepa", config, PREDICTOR | {"predictor_width": width})
    match = f"their predictor has, and are read with {usual} out --whole"
    with pytest.raises(ConvertError, match=match):
        export_checkpoint(tmp_path / "run", tmp_path / "out", version, whole=True)
