"""The table of launch/recipes.sh: recipes against random initialisation and against each other.

    python -m surgrec_jax.bench recipes --probe=runs/recipes/probe

It reads one probe of the encoders <recipe>-<seed>. Beside a score stands the deviation over
pretraining seeds; every difference has a 95 % interval that holds the spread of test cases and that
of both recipes' seeds (of random initialisation: of its initialisations). Where one of the two has
a single seed, it holds the test cases alone: look at "seeds".
"""

import argparse
import functools
import re
from pathlib import Path

import numpy as np

from surgrec_jax.evaluation.benchmark.results import read_json
from surgrec_jax.evaluation.metrics import bootstrap
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import DataError

RANDOM = "random"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench recipes`."""
    parser.add_argument("--probe", type=Path, required=True, help="folder of surgrec_jax.probe")
    parser.add_argument("--head", default="linear")
    parser.add_argument("--resamples", type=int, default=2000)


def run(args: argparse.Namespace) -> dict:
    """Reads results and predictions; returns {task: one dict per recipe}."""
    results = read_json(args.probe / "results.json")
    arrays = untrusted.read_arrays(args.probe / "predictions.npz")
    protocol, table = results["protocol"], {}
    for task in results["tasks"]:
        runs = _runs(arrays, f"{task['name']}/{args.head}/", protocol["init_seeds"])
        if set(runs) <= {RANDOM}:
            raise DataError(f"{args.probe} has no encoders called RECIPE-SEED")
        labels, cases = (arrays[f"{task['name']}/{name}"] for name in ("labels", "case_id"))
        resample = functools.partial(bootstrap.resample, task["metric"], labels, case_ids=cases)
        wholes = {
            recipe: resample(np.concatenate(scores), num_resamples=args.resamples)
            for recipe, scores in runs.items()
        }
        seeds = {
            recipe: [resample(of_seed, num_resamples=1).value for of_seed in scores]
            for recipe, scores in runs.items()
        }
        rows = table[task["name"]] = []
        for recipe, whole in wholes.items():
            row = {"recipe": recipe, "seeds": len(seeds[recipe])}
            row["score"] = f"{100 * whole.value:.1f}"
            if len(seeds[recipe]) > 1:
                row["score"] += f" +- {100 * np.std(seeds[recipe], ddof=1):.1f}"
            for other in (name for name in wholes if name != recipe):
                of_both = [seeds[recipe], seeds[other]]
                difference, level = whole - wholes[other], protocol["level"]
                end = bootstrap.over_seeds(difference, of_both, level)
                if min(map(len, of_both)) < 2:
                    end = difference.interval(level)
                row[f"- {other}"] = "{:+.1f} [{:+.1f}, {:+.1f}]".format(
                    *(100 * v for v in (end.value, end.low, end.high))
                )
            rows.append(row)
    return table


def _runs(arrays, prefix: str, init_seeds: int) -> dict[str, list[np.ndarray]]:
    """Recipe -> scores [probe seeds, units, classes] of each of its seeds; random first."""
    runs = {}
    if f"{prefix}{RANDOM}" in arrays:
        runs[RANDOM] = np.split(arrays[f"{prefix}{RANDOM}"], init_seeds)
    for key in sorted(arrays):
        if found := re.fullmatch(rf"{re.escape(prefix)}(.+)-\d+", key):
            runs.setdefault(found[1], []).append(arrays[key])
    return runs
