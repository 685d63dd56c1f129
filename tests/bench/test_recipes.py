"""bench ceilings, power and recipes: on a small phantom corpus, and on tables."""

import argparse
import json
import re

import numpy as np
import pytest

from data_builders.common.build.build import build
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from surgrec_jax.bench import ceilings, power, recipes
from surgrec_jax.safety.errors import ConfigError, DataError
from tests.evaluation.report.test_report import measured
from tests.small_phantom import small_phantom


def options(module, *args):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(args)


@pytest.mark.slow
def test_the_truth_scores_more_than_what_is_seen_of_it(tmp_path, monkeypatch):
    small = small_phantom(minutes=12.0)
    build("phantom_surgery", data_dir=tmp_path, config=small, num_workers=2, progress=False)
    monkeypatch.setitem(Builder.builder_configs, "small", small)
    where = ("--data_dir", str(tmp_path), "--source", "phantom_surgery/small", "--clip=8x32@4")
    table = ceilings.run(options(ceilings, *where, "--seeds=1", "--resamples=100"))
    assert list(table) == ["phase", "action", "instruments"]
    scores = {c: float(text.split()[0]) for c, text in table["action"].items()}
    # Of 14 training patients the many numbers of the motion are too many: it may be below still.
    assert min(scores["motion"], scores["still"]) > scores["pixels"] + 15
    assert float(table["phase"]["still"].split()[0]) > 50


def test_the_truth_of_films_is_not_known():
    with pytest.raises(ConfigError, match="the truth is known of phantom_surgery"):
        ceilings.run(options(ceilings, "--source=cholec80"))


def test_power_reads_a_table(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(measured("MAE")))
    (figures,) = power.run(options(power, f"--results={path}", "--half_width=1")).values()
    assert figures["test cases"] == 8
    assert figures["half-widths"] == {"MAE": 2.0, "weak": 2.0}
    assert 16 < figures["cases for it"] < 32  # half the width: four times the cases, a smaller t
    with pytest.raises(ConfigError, match="half_width=0"):
        power.run(options(power, f"--results={path}", "--half_width=0"))


def test_recipes_are_compared_with_random_and_each_other(tmp_path):
    """Two seeds of a recipe that knows the labels, of one that guesses, and random."""
    rng = np.random.default_rng(0)
    labels, cases = np.tile([0, 1], 60), np.repeat([f"case{k:02d}" for k in range(20)], 6)
    known, guess = np.eye(2)[labels][None], lambda n: rng.random((n, 120, 2))
    arrays = {"phase/labels": labels, "phase/case_id": cases, "phase/linear/random": guess(4)}
    for seed in (0, 1):
        arrays[f"phase/linear/good-{seed}"] = np.repeat(known, 2, 0)
        arrays[f"phase/linear/bad-{seed}"] = guess(2)
    np.savez(tmp_path / "predictions.npz", **arrays)
    (tmp_path / "results.json").write_text(json.dumps(measured("good-0")))
    bad, good = sorted(
        recipes.run(options(recipes, f"--probe={tmp_path}"))["phase"][1:], key=lambda r: r["recipe"]
    )
    assert good["score"] == "100.0 +- 0.0"
    gain, low, high = (
        float(v) for v in re.findall(r"[+-]\d+\.\d", good["- random"].replace("[", " "))
    )
    assert low > 20 and low < gain < high
    low, high = map(float, re.findall(r"[+-]\d+\.\d", bad["- random"])[1:])
    assert low < 0 < high
    assert {"- random", "- bad"} <= set(good)
    assert (good["seeds"], bad["seeds"]) == (2, 2)
    del arrays["phase/linear/good-0"]
    np.savez(tmp_path / "predictions.npz", **arrays)
    rows = recipes.run(options(recipes, f"--probe={tmp_path}"))["phase"]
    (single,) = (row for row in rows if row["recipe"] == "good")
    assert single["seeds"] == 1 and "nan" not in single["- random"]  # of the test cases alone
    del arrays["phase/linear/good-1"]
    np.savez(tmp_path / "predictions.npz", **{k: v for k, v in arrays.items() if "bad" not in k})
    with pytest.raises(DataError, match="no encoders called RECIPE-SEED"):
        recipes.run(options(recipes, f"--probe={tmp_path}"))
