"""A frozen teacher through the trainer: read, kept to, not saved again, and refused."""

import json
import runpy
from pathlib import Path

import jax
import numpy as np
import pytest

from surgrec_jax import checkpoint, replay
from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.convert.exporter import export_checkpoint
from surgrec_jax.convert.strict import ConvertError
from surgrec_jax.frozen.encoder import load_encoder
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import build_setup, make_mesh
from surgrec_jax.train import train

CONFIGS = Path(__file__).parents[1] / "configs"
SIZES = {"width": 24, "depth": 1, "heads": 2, "mlp_dim": 48, "num_frames": 4, "image_size": 32}
JEPA = {
    "jepa.masks": ({"blocks": 2, "scale": 0.2, "context": 5, "target": 4},),
    "jepa.predictor_width": 24,
}


pytestmark = pytest.mark.slow  # training runs; what the objective computes: test_frozen_target


def config_of(folder, name, **values):
    config = runpy.run_path(str(CONFIGS / f"{name}.py"))["get_config"]("tiny")
    config.update_from_flattened_dict(
        {f"model.{key}": size for key, size in SIZES.items()}
        | (JEPA if name == "jepa" else {"mae.decoder_width": 24})
        | {"data.sources": "synthetic", "data.data_dir": str(folder / "data")}
        | {"batch_size": 8, "data.num_threads": 1, "log_every": 1, "optim.warmup_steps": 1}
        | {"probe.every": 0, "images.every": 0, "checkpoint.every": 2, **values}
    )
    return config


def student(folder, teacher="teacher", **values):
    frozen = {"jepa.target": "frozen", "jepa.teacher": str(folder / teacher)}
    return config_of(folder, "jepa", **frozen, **{"steps": 3, "model.width": 48} | values)


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, a small MAE, another one, and a wider student of the first."""
    folder = tmp_path_factory.mktemp("teacher")
    write_synthetic(folder / "data", records=4, short_side=40)
    for name, seed in (("teacher", 0), ("other", 1)):
        assert train(config_of(folder, "mae", steps=1, seed=seed), folder / name)
    assert train(student(folder), folder / "student")
    return folder


def test_the_student_learns_from_it_and_keeps_no_copy(folder):
    teacher = load_encoder(folder / "teacher")
    config = json.loads((folder / "student/config.json").read_text())
    assert config["jepa"]["teacher_fingerprint"] == teacher.fingerprint
    location = checkpoint.find(folder / "student")
    meta = checkpoint.read_meta(location)
    assert not meta["uses_target"] and meta["parts"]["predictor"]["target_width"] == 24
    through = [entry.get("through") for entry in meta["sources"]]
    assert through == [None, str(folder / "teacher")]
    assert not checkpoint.parts(location, "teacher") + checkpoint.parts(location, "target_params")
    assert load_encoder(folder / "student").config.width == 48


def test_a_step_moves_the_student_and_not_the_teacher(folder):
    config = student(folder, **{"optim.start_lr": 1e-3})  # else the first step has the rate 0
    setup = build_setup(config, make_mesh(config))
    with jax.set_mesh(setup.mesh):
        state = setup.init()
        video = np.random.default_rng(0).integers(0, 256, setup.clips_shape, np.uint8)
        before = jax.tree.map(np.asarray, state["params"])
        state, metrics = setup.step(state, {"video": video})
    frozen = load_encoder(folder / "teacher").params
    jax.tree.map(np.testing.assert_array_equal, state["teacher"]["encoder"], frozen)
    assert "predictor_r2_mask0" in metrics and "ema_momentum" not in metrics
    kernel = before["encoder"]["patch_embed"]["kernel"]
    assert not np.array_equal(state["params"]["encoder"]["patch_embed"]["kernel"], kernel)


def test_a_run_goes_on_with_its_teacher_wherever_that_lies_and_with_no_other(folder):
    assert not train(student(folder, stop_after=2), folder / "parts")
    with pytest.raises(ConfigError, match=r"jepa\.teacher_fingerprint: '\w+' -> '\w+'"):
        train(student(folder, "other"), folder / "parts")
    (folder / "moved").symlink_to(folder / "teacher")
    assert train(student(folder, "moved"), folder / "parts")
    assert losses(folder / "parts") == losses(folder / "student")
    replayed = replay.replay(folder / "parts", 3)["metrics"]["loss"]
    assert replayed == pytest.approx(losses(folder / "parts")[3], rel=1e-5)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"data.fps": 2.0}, "4 frames per second, and data.fps=2: give --config.data.fps=4"),
        ({"model.image_size": 48}, r"image_size=\(32, 32\) \(here \(48, 48\)\)"),
        ({"jepa.teacher": "nowhere"}, "no checkpoint in nowhere, which does not exist"),
        ({"jepa.teacher_fingerprint": "ab"}, "jepa.teacher_fingerprint=ab: give the teacher that"),
    ],
)
def test_what_cannot_teach_is_refused(folder, values, says):
    config = student(folder)
    config.update_from_flattened_dict(values)
    with pytest.raises((ConfigError, checkpoint.CheckpointError), match=says):
        build_setup(config, make_mesh(config))


def test_a_predictor_of_another_width_stays_here(folder, tmp_path):
    with pytest.raises(ConvertError, match="tokens of 24 numbers.*leave out --whole"):
        export_checkpoint(folder / "student", tmp_path / "out", "vjepa2", whole=True)
