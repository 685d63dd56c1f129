"""Options of an import: numbers that can be, and none that would do nothing to the file."""

from __future__ import annotations

from dataclasses import replace

import pytest

from convert.test_strict import golden_file
from surgrec_jax import lock
from surgrec_jax.convert import ConvertError, ImportOptions
from surgrec_jax.convert.__main__ import main
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


def test_positions_of_a_fixed_range_cannot_go_on():
    config = ViTConfig(48, 2, 3, 96, position="rope_3d", position_grid=(0, 16, 16))
    assert not can_extend(config)
    assert can_extend(replace(config, position_grid=None))


def test_a_workdir_in_use_is_left_alone(tmp_path, capsys):
    folder, _ = golden_file(tmp_path, "hf_vjepa2")
    under_way = tmp_path / "run/checkpoints/500.tmp"
    under_way.mkdir(parents=True)
    with lock.held(tmp_path / "run"):
        assert main(["import", str(folder), "--out", str(tmp_path / "run")]) == 1
    assert "is in use by process" in capsys.readouterr().err
    assert under_way.is_dir()
