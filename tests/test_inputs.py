"""How configs name sources and what is said where one, or a folder, is not there; which values are
refused, and which a run is held to."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from surgrec_jax import inputs
from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.config.build import build_objective
from surgrec_jax.config.values import check_numbers
from surgrec_jax.config.workdir import FILE, check_workdir
from surgrec_jax.inputs import open_named
from surgrec_jax.online_probes import open_probes
from surgrec_jax.records.locate import build_command
from surgrec_jax.records.names import SourceName, parse_sources
from surgrec_jax.replay import replay
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.train import train


def test_sources():
    assert parse_sources("cholec80, phantom_surgery/tiny@val") == [
        SourceName("cholec80", None, "train", None),
        SourceName("phantom_surgery", "tiny", "val", None),
    ]
    assert parse_sources("a=2,b/c=0.5") == [
        SourceName("a", None, "train", 2.0),
        SourceName("b", "c", "train", 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "''"),
        ("a,,b", "''"),
        ("../a", "'../a'"),
        ("a=1,b", "every source a weight, or none"),
        ("a=1e", "'1e' is not a number"),
        ("a=1,b/c=-1", "'b/c=-1': the weight must be finite and not negative"),
        ("a=1e999", "'a=1e999': the weight must be finite"),
        ("a=0,b=0", "'a=0,b=0': all weights are zero"),
    ],
)
def test_what_is_not_a_source(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_sources(text)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder, records=1, frames=8, short_side=40)
    return folder


def tiny(path):
    return runpy.run_path(str(Path(__file__).parents[1] / path))["get_config"]("tiny")


def test_pictures_are_of_the_first_draws_in_every_process_and_after_any_resume(
    data_dir, monkeypatch
):
    config = tiny("configs/mae.py")
    values = {"data_dir": str(data_dir), "sources": "synthetic", "num_threads": 0}
    config.update({"data": values, "batch_size": 8, "model": {"image_size": 32}})
    sources = inputs.open_sources(config)
    with inputs.training_batches(config, sources, 0, 1) as batches:
        first = next(batches)["video"]
    assert len(np.unique(first.reshape(8, -1), axis=0)) > 4  # crops differ
    clips = inputs.pictured(config, sources, None, None)
    np.testing.assert_array_equal(clips, first[: config.images.clips])
    monkeypatch.setattr(inputs.jax, "process_index", lambda: 1)
    monkeypatch.setattr(inputs.jax, "process_count", lambda: 2)
    np.testing.assert_array_equal(inputs.pictured(config, sources, None, None), clips)
    config.images.every = 0
    assert inputs.pictured(config, sources, None, None) is None


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("configs/mae.py", "model.preset", "zzz"),
        ("configs/mae.py", "objective", "jepa"),
        ("configs/jepa.py", "jepa.masks", (1, 2)),
    ],
)
def test_config_values_found_by_fuzzing_are_answered_in_a_sentence(path, key, value):
    config = tiny(path)
    *sections, name = key.split(".")
    with config.ignore_type():
        (config[sections[0]] if sections else config)[name] = value
    with pytest.raises(ConfigError, match=f"{key}="):
        build_objective(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_every": 0}, "log_every=0: give at least 1"),
        ({"stop_after": 0}, "stop_after=0: give at least 1"),
        ({"checkpoint.every": 0}, "checkpoint.every=0: give at least 1"),
        ({"optim.reference_batch": 0}, "optim.reference_batch=0: give at least 1"),
        ({"model.width": -512}, "model.width=-512: give at least 1"),
        ({"optim.lr": float("inf")}, "optim.lr=inf: give a finite number"),
    ],
)
def test_numbers_that_would_end_a_run_later_are_refused_first(change, message):
    config = tiny("configs/mae.py")
    check_numbers(config)
    config.update_from_flattened_dict(change)
    with pytest.raises(ConfigError, match=message):
        check_numbers(config)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        (
            "colec80",
            "did you mean cholec80 or cholect50 or cholecseg8k? Or build it with `python -m data_b",
        ),
        ("syntetic", "did you mean synthetic?"),
        ("ward_7", "; build it with `python -m data_builders build video_folder --name ward_7"),
        ("cholec80", "; build it with `python -m data_builders build cholec80 --data_dir "),
    ],
)
def test_a_source_that_is_not_prepared(name, hint, data_dir):
    with pytest.raises(FileNotFoundError) as error:
        open_named(parse_sources(name)[0], str(data_dir))
    assert f"{name} is not prepared in {data_dir / name}" in str(error.value)
    assert hint in str(error.value)


def test_a_set_made_from_a_folder_of_videos_is_built_again_from_one():
    assert build_command("my_hospital", "DATA") == (
        "`python -m data_builders build video_folder --name my_hospital "
        "--manual_dir YOUR_VIDEOS --data_dir DATA`"
    )


@pytest.mark.parametrize("name", ["phantom_surgery/tiny", "cholec80"])
def test_a_mistyped_data_dir_is_named_and_not_made(name, tmp_path):
    with pytest.raises((ConfigError, FileNotFoundError), match=r"there is no (such )?folder"):
        open_named(parse_sources(name)[0], str(tmp_path / "dta"))
    assert not (tmp_path / "dta").exists()


def test_a_track_that_online_probes_cannot_ask_for(data_dir):
    config = tiny("configs/mae.py")
    config.data.data_dir, config.probe.sources = str(data_dir), "synthetic"
    config.probe.tracks = "phase,action"
    with pytest.raises(ConfigError, match=r"probe.tracks: synthetic has no track 'phase', 'action"):
        open_probes(config)


@pytest.mark.parametrize("path", [__file__, "/proc/surgrec_jax"])
def test_a_workdir_that_cannot_be_made(path):
    with pytest.raises(ConfigError, match=f"--workdir={path} cannot be made a folder"):
        train(tiny("configs/mae.py"), Path(path))


def test_a_workdir_is_held_to_its_config_from_the_first_save_on(tmp_path):
    config = tiny("configs/mae.py")
    config.data.sources = "phantom_surgry"
    check_workdir(config, tmp_path, write=False)
    assert not (tmp_path / FILE).exists()  # the first process writes it, alone
    check_workdir(config, tmp_path)
    config.data.sources = "phantom_surgery"  # mended
    check_workdir(config, tmp_path)
    assert json.loads((tmp_path / FILE).read_text())["data"]["sources"] == "phantom_surgery"
    for saved in ("checkpoints/250", "checkpoints-damaged/250-1"):
        (tmp_path / saved).mkdir(parents=True)
        check_workdir(config, tmp_path)
        with pytest.raises(ConfigError, match="data.sources: 'phantom_surgery' -> 'other'"):
            check_workdir(tiny_with(**{"data.sources": "other"}), tmp_path)
        (tmp_path / saved).rmdir()


def test_what_an_attempt_that_saved_nothing_left_does_not_count(tmp_path):
    """The run itself ends where its data are looked for."""
    config = tiny_with(**{"data.data_dir": str(tmp_path / "nowhere")})
    lists = ("bad_records.jsonl", "process1-bad_records.jsonl")
    left = {"environment.json", *lists, "nonfinite-step3-process0.json"}
    for saved in ("checkpoints/250", None):
        for name in left:
            (tmp_path / name).write_text("[]")
        if saved:
            (tmp_path / saved).mkdir(parents=True)
        with pytest.raises(ConfigError, match="there is no such folder"):
            train(config, tmp_path)
        assert left & {path.name for path in tmp_path.iterdir()} == (left if saved else set())
        if saved:
            (tmp_path / saved).rmdir()


def test_a_fine_tuning_run_from_before_there_was_a_frame_to_choose(tmp_path):
    config = tiny("configs/finetune.py")
    config.data.sources = "phantom_surgery/tiny"
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    kept = config.to_dict()
    del kept["classify"]["frame"]
    (tmp_path / FILE).write_text(json.dumps(kept))
    check_workdir(config, tmp_path)
    config.classify.frame = "last"
    with pytest.raises(ConfigError, match="classify.frame: 'centre' -> 'last'"):
        check_workdir(config, tmp_path)
    with pytest.raises(ConfigError, match="there is no such folder"):  # of clips
        replay(tmp_path, 1, data_dir=str(tmp_path / "nowhere"))


def tiny_with(**changes):
    config = tiny("configs/mae.py")
    config.update_from_flattened_dict(changes)
    return config


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ({"accum_steps": 4, "mesh.fsdp": -1}, True),
        ({"compute.attention": "einsum", "compute.remat": "full", "compute.unroll": 4}, True),
        ({"compute.dtype": "bfloat16"}, False),
        ({"batch_size": 32}, False),
    ],
)
def test_what_changes_a_runs_numbers_is_no_way_to_continue_it(change, free, tmp_path):
    (tmp_path / "checkpoints" / "1").mkdir(parents=True)
    check_workdir(tiny_with(), tmp_path)
    if free:
        check_workdir(tiny_with(**change), tmp_path)
    else:
        with pytest.raises(ConfigError, match=f"begun with another config \\({next(iter(change))}"):
            check_workdir(tiny_with(**change), tmp_path)
