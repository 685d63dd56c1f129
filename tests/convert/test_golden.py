"""The numbers that torch gave (test_transformers.py wrote them), where torch is not installed."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import save_file

from convert import cases, models
from convert.test_strict import golden_file
from surgrec_jax import load_encoder
from surgrec_jax.convert import ImportOptions, import_file

TOLERANCE = 1e-5


def close(ours, theirs):
    assert np.shape(ours) == np.shape(theirs)
    assert float(np.abs(np.asarray(ours) - theirs).max()) < TOLERANCE


def test_videomae(tmp_path):
    folder, outputs = golden_file(tmp_path, "hf_videomae")
    import_file(folder, tmp_path / "run")
    video = cases.clips(4, 16, 16)
    close(load_encoder(tmp_path / "run").tokens(video), outputs["tokens"])
    logits, loss = models.mae(tmp_path / "run", video, *cases.masks())
    close(logits, outputs["logits"])
    close(loss, outputs["loss"])


def test_videomae_classifier(tmp_path):
    folder, outputs = golden_file(tmp_path, "hf_videomae_classifier")
    import_file(folder, tmp_path / "run")
    close(models.logits(tmp_path / "run", cases.clips(4, 16, 16)), outputs["logits"])


def test_vjepa2(tmp_path):
    folder, outputs = golden_file(tmp_path, "hf_vjepa2")
    import_file(folder, tmp_path / "run")
    video = cases.clips(4, 16, 16)
    close(load_encoder(tmp_path / "run").tokens(video), outputs["tokens"])
    close(models.jepa(tmp_path / "run", video, *cases.masks(), 1), outputs["predicted"])
    close(models.logits(tmp_path / "run", video), outputs["logits"])


SMALL = {"num_frames": 4, "image_size": (16, 16), "heads": 3}


@pytest.mark.parametrize("name", ["vjepa1", "vjepa21"])
def test_vjepa_of_the_original_repository(tmp_path, name):
    tensors, outputs = cases.read_golden(name)
    save_file(tensors, tmp_path / "x.safetensors")
    heads = {"head_heads": 2} if name == "vjepa1" else {}
    options = ImportOptions(**SMALL, **heads)
    meta = import_file(tmp_path / "x.safetensors", tmp_path / "run", options)
    assert meta["import"]["family"] == name
    video = cases.clips(4, 16, 16)
    close(load_encoder(tmp_path / "run").tokens(video), outputs["tokens"])
    if name == "vjepa1":
        predicted = models.jepa(tmp_path / "run", video, *cases.masks(), 1)
        close(predicted, outputs["predicted"])


@pytest.mark.parametrize("name, frames", [("hf_dinov3", 3), ("hf_dinov2", 1)])
def test_dino(tmp_path, name, frames):
    folder, outputs = golden_file(tmp_path, name)
    import_file(folder, tmp_path / "run", ImportOptions(num_frames=frames))
    close(load_encoder(tmp_path / "run").tokens(cases.clips(frames, 16, 16)), outputs["tokens"])
