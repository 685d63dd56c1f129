"""config.json says what no tensor shows, and must not contradict those that do."""

import json

import pytest

from convert import cases
from convert.test_strict import golden_file, refuse_file
from surgrec_jax.convert import ConvertError, ImportOptions, import_file


@pytest.mark.parametrize(
    "name, key, value, match",
    [
        # transformers' own default, which is not what VideoMAE trains with
        ("hf_videomae", "layer_norm_eps", 1e-12, "layer_norm_eps=1e-12"),
        ("hf_dinov3", "layer_norm_eps", 1e-6, "layer_norm_eps=1e-06"),
        ("hf_vjepa2", "layer_norm_eps", "1e-6", "'1e-6' is no positive number"),
        ("hf_vjepa2", "hidden_act", "gelu_new", "hidden_act='gelu_new'"),
        # a thousand million layers would be as many entries of a table
        ("hf_videomae", "num_hidden_layers", 10**9, r"num_hidden_layers=1000000000 \(here 2\)"),
        ("hf_vjepa2", "pred_num_hidden_layers", 10**9, "fit its tensors: pred_num_hidden_layers"),
        ("hf_vjepa2", "num_pooler_layers", 10**9, "does not fit its tensors: num_pooler_layers"),
        ("hf_dinov2", "num_hidden_layers", None, r"num_hidden_layers=None \(here 2\)"),
        ("hf_dinov3", "rope_theta", 10.0, r"rope_theta=10.0 \(here 100.0\)"),
        ("hf_dinov2", "mlp_ratio", 3, r"mlp_ratio=3 \(here 96 of 48\)"),
        ("hf_videomae", "hidden_size", "48", r"hidden_size='48' \(here 48\)"),
        ("hf_videomae", "num_attention_heads", 0, "num_attention_heads=0 is no positive whole"),
        ("hf_videomae", "norm_pix_loss", False, "norm_pix_loss=False"),
        ("hf_videomae", "decoder_num_attention_heads", 5, "5 heads do not divide a decoder of 24"),
        ("hf_vjepa2", "crop_size", "a", "crop_size='a' is no positive whole number"),
        ("hf_vjepa2", "model_type", "videomae", "config.json is of 'videomae', the keys are of"),
    ],
)
def test_a_config_that_is_wrong(tmp_path, name, key, value, match):
    refuse_file(tmp_path, match, name, cases.CONFIGS[name] | {key: value})


def test_no_config(tmp_path):
    for name in ("hf_vjepa2", "hf_dinov3"):
        folder, _ = golden_file(tmp_path, name)
        (folder / "config.json").unlink()
        with pytest.raises(ConvertError, match="give the whole folder"):
            import_file(folder, tmp_path / "run")


def test_a_list_for_the_patch_size(tmp_path):
    """Some releases of transformers write [16, 16]."""
    folder, _ = golden_file(tmp_path, "hf_dinov3", cases.DINOV3 | {"patch_size": [4, 4]})
    import_file(folder, tmp_path / "run", ImportOptions(num_frames=1))


@pytest.mark.parametrize("name, kind", [("hf_vjepa2", "video_"), ("hf_dinov3", "")])
def test_normalisation_is_the_files(tmp_path, name, kind):
    folder, _ = golden_file(tmp_path, name)
    statistics = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1]}
    written = folder / f"{kind}preprocessor_config.json"
    written.write_text(json.dumps(statistics))
    config = import_file(folder, tmp_path / "run")["encoder"]
    assert (config["mean"], config["std"]) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1))
    for wrong in ([0.5, 0.4], [0.5, "0.4", 0.3], [0.0, 1.0, 1.0]):
        written.write_text(json.dumps({"image_std": wrong}))
        with pytest.raises(ConvertError, match="image_std"):
            import_file(folder, tmp_path / "no")
