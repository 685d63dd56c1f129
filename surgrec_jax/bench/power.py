"""How many test cases an interval of a given half-width needs, from the results of a run.

    python -m surgrec_jax.bench power --results=runs/quickstart/probe/results.json --half_width=5

For every task and row: the half-widths of the columns' paired differences to random initialisation
(of their scores, where there is no such difference) on the test cases at hand, and the number of
such cases that would bring the widest below the one asked for. It is a property of the test and the
metric, not of a difference that was found.
"""

import argparse
from pathlib import Path

from surgrec_jax.evaluation.benchmark.results import read_json
from surgrec_jax.evaluation.metrics.bootstrap import Interval, cases_needed
from surgrec_jax.safety.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench power`."""
    parser.add_argument("--results", type=Path, required=True, help="of a probe or a benchmark")
    parser.add_argument("--half_width", type=float, default=5.0, help="points of 100")


def run(args: argparse.Namespace) -> dict:
    """Reads the results; returns task and row -> what it has and needs."""
    if args.half_width <= 0:
        raise ConfigError(f"--half_width={args.half_width}: give a number above 0")
    results = read_json(args.results)
    level, figures = results["protocol"]["level"], {}
    for task in results["tasks"]:
        for row, entries in task["heads"].items():
            differences = {n: e["minus_random"] for n, e in entries.items() if "minus_random" in e}
            chosen = differences or {name: e["interval"] for name, e in entries.items()}
            ends = {n: Interval(**d) for n, d in chosen.items() if d["low"] is not None}
            if ends:
                half = args.half_width / 100
                figures[f"{task['source']}: {task['name']}, {row}"] = {
                    "test cases": task["counts"]["test"]["cases"],
                    "half-widths": {n: round(50 * (i.high - i.low), 1) for n, i in ends.items()},
                    "cases for it": max(cases_needed(i, half, level) for i in ends.values()),
                }
    return figures
