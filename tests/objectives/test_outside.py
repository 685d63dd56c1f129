"""An objective that is not of the package goes through the door of the package's own: one class,
one entry, one config; nothing else knows its name."""

import json
import runpy
from pathlib import Path

import jax
import pytest
from ml_collections import ConfigDict

from surgrec_jax import checkpoint, load_encoder, replay
from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.convert import ConvertError, export_checkpoint
from surgrec_jax.objectives import OBJECTIVES
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import build_setup, make_mesh
from surgrec_jax.train import train
from tests.objectives.colour import Colour

MAE = Path(__file__).parents[2] / "configs" / "mae.py"


def config_of(data_dir, **values):
    """configs/mae.py with a section of another objective in place of MAE's."""
    config = runpy.run_path(str(MAE))["get_config"]("tiny")
    with config.unlocked():
        config.objective = "colour"
        config.colour = ConfigDict({"width": 8})
        del config.mae
    sizes = {"width": 24, "depth": 1, "heads": 2, "mlp_dim": 48, "image_size": 32, "patch": 8}
    config.update_from_flattened_dict(
        {f"model.{name}": size for name, size in sizes.items()}
        | {"model.num_frames": 4, "model.position": "rope_3d_tiled", "model.qkv_bias": "qkv"}
        | {"data.sources": "synthetic", "data.data_dir": str(data_dir), "data.num_threads": 1}
        | {"steps": 3, "batch_size": 8, "optim.warmup_steps": 1, "log_every": 1}
        | {"probe.every": 0, "images.every": 3, "images.clips": 2}
        | {"checkpoint.every": 2, "checkpoint.keep": 2}
        | values
    )
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a run of three steps on them."""
    folder = tmp_path_factory.mktemp("outside")
    write_synthetic(folder / "data", records=4, short_side=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(OBJECTIVES, "colour", Colour)
        assert train(config_of(folder / "data"), folder / "run")
    return folder


@pytest.fixture(autouse=True)
def door(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "colour", Colour)


def losses_of(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_it_is_trained_drawn_and_saved(folder):
    losses = losses_of(folder / "run")
    assert list(losses) == [1, 2, 3] and len(set(losses.values())) == 3
    assert (folder / "run/images/00000003.png").exists()
    meta = checkpoint.read_meta(checkpoint.find(folder / "run"))
    assert meta["objective"] == "colour" and meta["name"] == "colour-tiny"
    assert meta["parts"] == {"projector": {"width": 8}} and not meta["uses_target"]
    assert load_encoder(folder / "run").width == 24


@pytest.mark.slow
def test_its_steps_are_replayed_and_another_run_goes_on_with_its_parts(folder, tmp_path, capsys):
    assert replay.replay(folder / "run", 3)["metrics"]["loss"] == pytest.approx(
        losses_of(folder / "run")[3], rel=1e-5
    )
    config = config_of(folder / "data", init_from=str(folder / "run"), steps=1)
    assert train(config, tmp_path / "more")
    said = capsys.readouterr().out
    assert "(colour-tiny): encoder, projector; new: nothing; left behind: nothing" in said
    meta = checkpoint.read_meta(checkpoint.find(tmp_path / "more"))
    assert [source.get("through") for source in meta["sources"]] == [None, str(folder / "run")]


def test_its_encoder_leaves_and_its_own_part_is_refused_by_name(folder, tmp_path):
    export_checkpoint(folder / "run", tmp_path / "out", "transformers")
    assert (tmp_path / "out/model.safetensors").exists()
    with pytest.raises(ConvertError, match="no format has a place for the projector of .*--whole"):
        export_checkpoint(folder / "run", tmp_path / "no", "transformers", whole=True)


def test_its_mistakes_are_its_own(folder):
    config = config_of(folder / "data")
    config.colour.width = 0
    with pytest.raises(ConfigError, match=r"colour.width=0: give at least 1"):
        build_setup(config, make_mesh(config))


def test_an_unknown_objective_is_an_error_by_name(folder, monkeypatch, tmp_path):
    monkeypatch.delitem(OBJECTIVES, "colour")
    message = r"objective='colour': choose from \('mae', 'jepa', 'levjepa', 'classify'\)"
    with pytest.raises(ConfigError, match=message):
        train(config_of(folder / "data"), tmp_path)
    meta = checkpoint.read_meta(checkpoint.find(folder / "run"))
    assert jax.tree.leaves(meta["parts"]) == [8]  # what it has is still told
