"""Commands that name no data take those of the checkpoint or workdir that they name."""

import json
import runpy
from pathlib import Path

import pytest

from surgrec_jax import default_data
from surgrec_jax.online_probes import open_probes
from surgrec_jax.safety.errors import ConfigError
from tests.data.small_corpus import example, write_source

ROOT = Path(__file__).resolve().parents[1]


def config_of(name, **values):
    config = runpy.run_path(str(ROOT / f"configs/{name}.py"))["get_config"]("tiny")
    config.update_from_flattened_dict(values)
    return config


def meta_of(sources):
    return {"config": {"data": {"sources": sources}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_source(folder, "held", [example("held", 0, r, 24, 8.0, 0.0) for r in range(8)])
    return str(folder)


def test_the_data_of_the_checkpoint_are_taken_with_their_weights(capsys):
    config = config_of("mae")
    taken = default_data.complete(config, None, "runs/a", lambda: meta_of("a=2,b/c@val=1"))
    assert taken.data.sources == "a=2,b/c@val=1" and config.data.sources == ""
    assert capsys.readouterr().out == "data: a=2,b/c@val=1, as runs/a has them\n"
    named = config_of("mae", **{"data.sources": "mine"})
    assert default_data.complete(named, None, "runs/a", pytest.fail).data.sources == "mine"
    with pytest.raises(ConfigError, match="imported does not say what data it was trained on: nam"):
        default_data.complete(config, None, "imported", dict)


def test_a_run_that_goes_on_has_its_data(tmp_path):
    (tmp_path / "checkpoints/5").mkdir(parents=True)
    (tmp_path / "config.json").write_text(json.dumps({"data": {"sources": "mine=2"}}))
    assert default_data.complete(config_of("mae"), tmp_path, "", dict).data.sources == "mine=2"


def test_phantom_surgery_is_taken_where_nothing_is_named_and_said_to_be(tmp_path, capsys):
    taken = default_data.complete(config_of("mae"), tmp_path, "", dict)
    assert taken.data.sources == "phantom_surgery/tiny"
    assert "drawn, not clinical" in capsys.readouterr().out


def test_fine_tuning_takes_the_data_that_have_the_label(data):
    def completed(**values):
        config = config_of("finetune", **{"data.data_dir": data, **values})
        return default_data.complete(config, None, "runs/a", lambda: meta_of("held=2")).data.sources

    assert completed() == "held=2"
    with pytest.raises(ConfigError, match=r"label 'step' \(held has .*phase.*classify.track=LABEL"):
        completed(**{"classify.track": "step"})


def test_a_probe_asks_the_labelled_data_of_the_checkpoint(data):
    metas = {"runs/a": meta_of("phantom_surgery/tiny@val"), "runs/b": meta_of("held")}
    assert default_data.labelled(metas, data, "sources") == "phantom_surgery/tiny"
    with pytest.raises(ConfigError, match="config.source=NAME, and held has no video in split val"):
        default_data.labelled({"runs/b": meta_of("held")}, data, "source")
    with pytest.raises(ConfigError, match="config.source=NAME, and runs/b does not say what data"):
        default_data.labelled({"runs/b": {}}, data, "source")


def test_data_that_cannot_be_scored_are_said_to_be_left_out(data, capsys):
    config = config_of("mae", **{"data.data_dir": data, "data.sources": "held"})
    assert open_probes(config) == []
    assert "not scored while it trains: held: " in capsys.readouterr().out
    config.probe.sources = "held"  # named, it must be scored
    with pytest.raises(ConfigError, match="val"):
        open_probes(config)


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.py")))
def test_no_config_names_phantom_surgery(config):
    assert '"phantom_surgery' not in config.read_text()
