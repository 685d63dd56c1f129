"""How configs name sources."""

import runpy
from pathlib import Path

import pytest

from surgrec_jax.config import ConfigError, build_objective, check_numbers
from surgrec_jax.inputs import SourceName, parse_sources


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


def tiny(path):
    return runpy.run_path(str(Path(__file__).parents[1] / path))["get_config"]("tiny")


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
