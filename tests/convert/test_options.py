"""Options of an import: numbers that can be, and none that would do nothing to the file."""

from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.numpy import save_file

import surgrec_jax
from convert import cases
from convert.test_strict import golden_file
from surgrec_jax.convert import ConvertError, ImportOptions, import_file
from surgrec_jax.convert.__main__ import main
from surgrec_jax.hosts import workdir_lock
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.resize import can_extend


@pytest.mark.parametrize(
    "options",
    [{"norm_eps": 0.0}, {"fps": float("nan")}, {"heads": -3}, {"resize_to": (16, 0, 64)}],
)
def test_numbers_are_positive(options):
    with pytest.raises(ConvertError, match=f"--{next(iter(options))}=.*: give more than 0"):
        ImportOptions(**options)


@pytest.mark.parametrize(
    "name, option, sentence",
    [
        ("hf_videomae", "--mask_tokens=0", "--mask_tokens is for a predictor"),
        ("hf_videomae", "--encoder=online", "--encoder is for a file with two"),
        ("hf_vjepa2", "--encoder=online", "--encoder is for a file with two"),
        ("hf_vjepa2", "--frames=inflated", "--frames is for an image encoder"),
        ("hf_vjepa2", "--head_heads=2", "--head_heads is for a decoder, predictor or probe whose"),
        ("hf_vjepa2", "--heads=3", "--heads is for files without a config.json"),
        ("hf_vjepa2", "--resize_method=extend", "--resize_method is for --resize_to"),
        ("hf_vjepa2", "--probe=0", "--probe is for a file of probes"),
        ("hf_vjepa2", "--encoder_from=x", "has an encoder of its own; leave out --encoder_from"),
        ("hf_dinov3", "--resize_method=extend --resize_to=16x32x32", "of positions that can go on"),
    ],
)
def test_an_option_that_would_do_nothing(tmp_path, capsys, name, option, sentence):
    folder, _ = golden_file(tmp_path, name)
    assert main(["import", str(folder), "--out", str(tmp_path / "run"), *option.split()]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    "name, option, sentence",
    [
        (
            "hf_vjepa2",
            "--norm_eps=1e-5",
            "--norm_eps=1e-05 contradicts config.json, which says",
        ),
        (
            "hf_dinov3",
            "--norm_eps=1e-6",
            "--norm_eps=1e-06 contradicts config.json, which says",
        ),
    ],
)
def test_an_option_that_contradicts_config_json(tmp_path, capsys, name, option, sentence):
    folder, _ = golden_file(tmp_path, name)
    assert main(["import", str(folder), "--out", str(tmp_path / "run"), option]) == 1
    assert sentence in capsys.readouterr().err


def test_of_two_epsilons_one_is_chosen(tmp_path):
    config = cases.VIDEOMAE | {"layer_norm_eps": 1e-12}
    folder, _ = golden_file(tmp_path, "hf_videomae", config)
    for eps in (1e-6, 1e-12):
        run = tmp_path / f"run{eps}"
        meta = import_file(folder, run, ImportOptions(norm_eps=eps))
        assert meta["encoder"]["norm_eps"] == eps
    with pytest.raises(ConvertError, match="--norm_eps=1e-05 contradicts config.json"):
        import_file(folder, tmp_path / "no", ImportOptions(norm_eps=1e-5))


def test_a_size_that_decides_a_position_table_is_asked_for(tmp_path):
    tensors, _ = cases.read_golden("videomae")
    save_file(tensors, tmp_path / "videomae.safetensors")
    for options, missing in (
        ({}, "--num_frames=16 --image_size=224x224 if"),
        ({"num_frames": 8}, "give --image_size=224x224 if"),
        ({"image_size": (16, 24)}, "give --num_frames=16 if"),
    ):
        options = ImportOptions(heads=3, head_heads=2, **options)
        with pytest.raises(ConvertError, match=missing):
            import_file(tmp_path / "videomae.safetensors", tmp_path / "run", options)


def test_a_checkpoint_of_our_own(tmp_path, capsys):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run")
    for path in ("run", "run/checkpoints", "run/checkpoints/0"):
        for command in (["inspect"], ["import", "--out", str(tmp_path / "again")]):
            assert main([*command, str(tmp_path / path)]) == 1
            said = capsys.readouterr().err
            assert "is a checkpoint of this project already (jepa hf_vjepa2, step 0): probe" in said


def test_a_field_of_one_family_stands_in_three_files_and_its_name_in_a_fourth():
    """docs/extending.md counts four files for a family with a new field, by this example."""
    package = Path(surgrec_jax.__file__).parent
    files = {str(p.relative_to(package)): p.read_text() for p in package.rglob("*.py")}
    with_field = {name for name, text in files.items() if "modality_embedding" in text}
    assert with_field == {"models/presets.py", "models/vit.py", "convert/vjepa.py"}
    registered = {name for name, text in files.items() if '"vjepa21":' in text}
    writing = {"convert/exporter.py", "convert/card.py"}  # a format of exports besides
    assert registered - with_field == {"convert/families.py"} | writing


def test_positions_of_a_fixed_range_cannot_go_on():
    config = ViTConfig(48, 2, 3, 96, position="rope_3d", position_grid=(0, 16, 16))
    assert not can_extend(config)
    assert can_extend(replace(config, position_grid=None))


def test_a_workdir_in_use_is_left_alone(tmp_path, capsys):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    under_way = tmp_path / "run/checkpoints/500.tmp"
    under_way.mkdir(parents=True)
    with workdir_lock.held(tmp_path / "run"):
        assert main(["import", str(folder), "--out", str(tmp_path / "run")]) == 1
    assert "is in use by process" in capsys.readouterr().err
    assert under_way.is_dir()
