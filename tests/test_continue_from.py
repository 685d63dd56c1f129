"""A run goes on in another one, with its optimizer; data that changed under a run are named."""

import json
import runpy
import shutil
from pathlib import Path

import pytest

from surgrec_jax import checkpoint, optim
from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.config.workdir import check_workdir
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import build_setup, make_mesh
from surgrec_jax.train import train

MAE = Path(__file__).parents[1] / "configs" / "mae.py"
SIZES = {"width": 24, "depth": 1, "heads": 2, "mlp_dim": 48, "image_size": 32, "patch": 8}


def config_of(data, **values):
    config = runpy.run_path(str(MAE))["get_config"]("tiny")
    config.update_from_flattened_dict(
        {f"model.{name}": size for name, size in SIZES.items()}
        | {"model.num_frames": 4, "mae.decoder_width": 24, "batch_size": 8, "log_every": 1}
        | {"data.sources": "synthetic", "data.data_dir": str(data), "data.num_threads": 1}
        | {"steps": 2, "optim.warmup_steps": 1, "probe.every": 0, "images.every": 0}
        | {"checkpoint.every": 2, **values}
    )
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, and a run of two steps on them."""
    folder = tmp_path_factory.mktemp("continued")
    write_synthetic(folder / "data", records=4, short_side=40)
    assert train(config_of(folder / "data"), folder / "run")
    return folder


def test_a_run_goes_on_in_another_with_its_optimizer(folder):
    config = config_of(
        folder / "data", steps=4, continue_from=str(folder / "run"), **{"optim.lr": 1e-4}
    )
    assert train(config, folder / "more")
    lines = (folder / "more/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [3, 4]
    location = checkpoint.find(folder / "more")
    meta = checkpoint.read_meta(location)
    assert location.step == 4
    assert meta["parent"] == {
        "path": str(folder / "run/checkpoints/2"),
        "name": "mae-tiny",
        "step": 2,
    }
    through = [entry.get("through") for entry in meta["sources"]]
    assert through == [None, str(folder / "run")]
    setup = build_setup(config, make_mesh(config))
    state = checkpoint.restore_state(location, setup.abstract)
    assert optim.updates(state["opt_state"]) == 4  # of both runs
    assert checkpoint.read_meta(checkpoint.find(folder / "run"))["parent"] is None


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"steps": 2}, "is at step 2 already; give more --config.steps"),
        ({"steps": 4, "init_from": "elsewhere"}, "leave out init_from and init_resize"),
    ],
)
def test_what_cannot_go_on_is_refused(folder, tmp_path, values, says):
    config = config_of(folder / "data", continue_from=str(folder / "run"), **values)
    with pytest.raises(ConfigError, match=says):
        train(config, tmp_path / "other")


def test_another_config_names_the_way_on(folder):
    config = config_of(folder / "data", steps=4)
    with pytest.raises(ConfigError, match=r"steps: 2 -> 4.*--config\.continue_from="):
        train(config, folder / "run")


def test_the_workdir_of_another_recipe_is_named_in_one_sentence(folder):
    config = config_of(folder / "data", objective="jepa")
    with pytest.raises(ConfigError, match=r"run holds a run of mae, and .* of jepa: .*init_from="):
        check_workdir(config, folder / "run")


def test_data_built_anew_under_a_run_are_named(tmp_path):
    config = config_of(tmp_path / "data", steps=4, stop_after=2)
    write_synthetic(tmp_path / "data", records=4, short_side=40)
    assert not train(config, tmp_path / "run")
    shutil.rmtree(tmp_path / "data")
    write_synthetic(tmp_path / "data", records=5, short_side=40)
    config.stop_after = None
    with pytest.raises(ConfigError, match=r"synthetic/train \(\w{12} -> \w{12}\).*allow_changed"):
        train(config, tmp_path / "run")
    config.data.allow_changed = True
    assert train(config, tmp_path / "run")
