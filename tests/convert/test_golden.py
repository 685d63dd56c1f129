"""Numbers that torch gave, where torch is not installed.

hf_* are transformers' (test_transformers.py wrote them). The others were made by the models of the
original repositories, at the commits in docs/checkpoints.md, at sizes that are no defaults.
"""

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


@pytest.mark.parametrize("name, frames", [("hf_dinov3", 3), ("hf_dinov2", 1)])
def test_dino(tmp_path, name, frames):
    folder, outputs = golden_file(tmp_path, name)
    import_file(folder, tmp_path / "run", ImportOptions(num_frames=frames))
    close(load_encoder(tmp_path / "run").tokens(cases.clips(frames, 16, 16)), outputs["tokens"])


def original(tmp_path, name, encoder_from=None, **options):
    """An import of the tensors that an original repository's model had, and what it gave."""
    tensors, outputs = cases.read_golden(name)
    file, run = tmp_path / f"{name}.safetensors", tmp_path / name
    save_file(tensors, file)
    meta = import_file(file, run, ImportOptions(**options), encoder_from=encoder_from)
    return run, meta, outputs


def test_videomae_of_the_original(tmp_path):
    size = {"num_frames": 8, "image_size": (16, 24), "heads": 3, "head_heads": 2}
    run, meta, outputs = original(tmp_path, "videomae", **size)
    assert meta["parts"]["decoder"]["mlp_dim"] == 104  # the giant's 48 / 11, of 24
    video = cases.clips(8, 16, 24)
    close(load_encoder(run).tokens(video), outputs["tokens"])
    logits, loss = models.mae(run, video, *cases.split(24))
    close(logits, outputs["logits"])
    close(loss, outputs["loss"])


def test_fine_tuned_videomae_of_the_original(tmp_path):
    size = {"num_frames": 16, "image_size": (32, 32), "heads": 3}
    run, _, outputs = original(tmp_path, "videomae_finetuned", **size)
    video = cases.clips(16, 32, 32)
    close(load_encoder(run).features(video), outputs["features"])
    close(models.logits(run, video), outputs["logits"])


@pytest.mark.parametrize(
    "name, frames, side, probe",
    [("vjepa1", 8, 32, True), ("vjepa2", 8, 48, True), ("vjepa2_64_frames", 64, 32, False)],
)
def test_vjepa_of_the_original(tmp_path, name, frames, side, probe):
    size = {"num_frames": frames, "image_size": (side, side), "heads": 3, "head_heads": 2}
    run, meta, outputs = original(tmp_path, name, **size)
    assert meta["import"]["family"] == name[:6]
    video = cases.clips(frames, side, side, batch=2 if probe else 1)
    close(load_encoder(run).tokens(video), outputs["tokens"])
    ids = cases.split(frames // 2 * (side // 16) ** 2, len(video))
    close(models.jepa(run, video, *ids, 1), outputs["predicted"])
    if probe:
        run, meta, outputs = original(tmp_path, f"{name}_probe", encoder_from=run, head_heads=3)
        assert meta["fps"] == (7.5 if name == "vjepa1" else 4.0)
        ignored = meta["import"]["ignored"]
        assert ignored == ({"V-JEPA 1 keeps and never reads it": 2} if name == "vjepa1" else {})
        close(models.logits(run, video), outputs["logits"])


@pytest.mark.parametrize(
    "name, frames, size, options",
    [
        ("vjepa21", 8, (32, 48), {"num_frames": 8, "image_size": (32, 48), "heads": 2}),
        ("dinov3", 2, (32, 48), {"num_frames": 2, "image_size": (32, 48), "heads": 3}),
        ("dinov2", 1, (42, 84), {"num_frames": 1, "resize_to": (1, 42, 84), "heads": 3}),
        ("dinov2_registers", 1, (42, 84), {"num_frames": 1, "resize_to": (1, 42, 84), "heads": 3}),
    ],
)
def test_encoders_of_the_originals(tmp_path, name, frames, size, options):
    run, meta, outputs = original(tmp_path, name, **options)
    assert meta["import"]["family"] == name.removesuffix("_registers")
    close(load_encoder(run).tokens(cases.clips(frames, *size)), outputs["tokens"])
