"""How configs name sources."""

import runpy
from pathlib import Path

import pytest

from surgrec_jax.config import ConfigError, build_objective
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
    ],
)
def test_what_is_not_a_source(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_sources(text)


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ("configs/mae.py", "model.preset", "zzz"),
        ("configs/mae.py", "objective", "jepa"),
        ("configs/jepa.py", "jepa.masks", (1, 2)),
    ],
)
def test_config_values_found_by_fuzzing_are_answered_in_a_sentence(path, key, value):
    config = runpy.run_path(str(Path(__file__).parents[1] / path))["get_config"]("tiny")
    *sections, name = key.split(".")
    with config.ignore_type():
        (config[sections[0]] if sections else config)[name] = value
    with pytest.raises(ConfigError, match=f"{key}="):
        build_objective(config)
