"""Options of an import: numbers that can be, and none that would do nothing to the file."""

from __future__ import annotations

import pytest

from convert.test_strict import golden_file
from surgrec_jax.convert import ConvertError, ImportOptions
from surgrec_jax.convert.__main__ import main


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
        ("hf_vjepa2", "--frames=inflated", "--frames is for an image encoder"),
        ("hf_vjepa2", "--head_heads=2", "--head_heads is for a decoder, predictor or probe whose"),
        ("hf_vjepa2", "--heads=3", "--heads is for files without a config.json"),
        ("hf_vjepa2", "--resize_method=extend", "--resize_method is for --resize_to"),
        ("hf_vjepa2", "--probe=0", "--probe is for a file of probes"),
        ("hf_vjepa2", "--encoder_from=x", "has an encoder of its own; leave out --encoder_from"),
    ],
)
def test_an_option_that_would_do_nothing(tmp_path, capsys, name, option, sentence):
    folder, _ = golden_file(tmp_path, name)
    assert main(["import", str(folder), "--out", str(tmp_path / "run"), option]) == 1
    assert sentence in capsys.readouterr().err
