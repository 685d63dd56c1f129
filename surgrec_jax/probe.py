"""Probes frozen encoders on one data set; configs/probe.py explains all values.

    python -m surgrec_jax.probe --config=configs/probe.py --config.checkpoint=RUN[,NAME=RUN...]

A probe is a benchmark of one source that keeps the predictions.
"""

import pathlib
from collections.abc import Sequence

import numpy as np
from absl import flags

from surgrec_jax import checkpoint, commands
from surgrec_jax.audit import audits
from surgrec_jax.benchmark import (
    candidates,
    open_splits,
    print_results,
    settings_of,
    sources_of,
)
from surgrec_jax.commands import CONFIG, items
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import MAJORITY, Group, groups
from surgrec_jax.evaluation.benchmark.compare import compare
from surgrec_jax.evaluation.benchmark.keep import keep_heads
from surgrec_jax.evaluation.tasks.task_list import offered_tasks, select_tasks, wanted_sources
from surgrec_jax.next_commands import after_probe, say
from surgrec_jax.safety import files
from surgrec_jax.safety.errors import ConfigError, UserError

flags.adopt_module_key_flags(commands)  # --help lists them


def predictions(cells: Sequence[Cell], of_groups: Sequence[Group]) -> dict[str, np.ndarray]:
    """The test scores of all columns but the majority, with labels and case ids.

    Returns:
        "<task>/labels", "<task>/case_id" and "<task>/<row>/<column>", float32 [seeds, units,
        classes]. With groups of several clips each key begins with "<frames>x<size>@<fps>/".
    """
    arrays = {}
    for group in of_groups:
        names = {column.name for column in group.columns if column.name != MAJORITY.name}
        for cell in (cell for cell in cells if cell.column in names):
            clip = f"{group.label}/" if len(of_groups) > 1 else ""
            task = f"{clip}{cell.task['name']}"
            arrays |= {f"{task}/{key}": cell.arrays[key] for key in ("labels", "case_id")}
            for row in cell.heads:
                arrays[f"{task}/{row}/{cell.column}"] = cell.arrays[f"scores/{row}"]
    return arrays


def run(config) -> pathlib.Path:
    """Runs the probe that a config describes, prints the table, returns the results file."""
    settings = settings_of(config)
    if config.keep_heads and settings.folds:
        raise ConfigError(
            f"folds={settings.folds} with keep_heads: each fold has heads of its own, none is the "
            "one to keep; leave one of them out"
        )
    encoders = candidates(config.checkpoint, "checkpoint") if not config.source else None
    named = config.source or sources_of(encoders, config.data_dir, "source")
    source, *more = wanted_sources(items(named), settings.rules.published)
    if more:
        raise ConfigError(
            f"source={named!r} is {1 + len(more)} data sets and a probe is of one; of "
            "several: python -m surgrec_jax.benchmark"
        )
    offered, sentences = offered_tasks([source], config.data_dir)
    tasks = select_tasks(source, items(config.task or config.tasks), offered[source])
    encoders = encoders or candidates(config.checkpoint, "checkpoint")
    splits = open_splits(config.data_dir, source, tasks)
    out = pathlib.Path(config.out or checkpoint.beside(encoders[0].checkpoint, "probe"))
    earlier = pathlib.Path(encoders[0].checkpoint) / "probe"
    if not config.out and earlier.is_dir() and earlier.resolve() != out.resolve():
        print(f"results of an earlier version stay in {earlier}; they are computed anew in {out}")
    tables = {source: tasks}, {source: splits}
    measured, cells = compare(encoders, *tables, settings, out, cache=config.cache)
    metas = {one.name: one.encoder.meta for one in encoders}
    everyone, tests = settings.folds > 0, {source: splits}
    measured |= audits.facts(metas, tests, out / "audits", config.data_dir, everyone)
    measured |= {"notes": measured["notes"] + sentences, "source": splits[tasks[0].splits[0]].name}
    measured["data"] = measured["data"][source]
    if config.keep_heads:
        made, cache = groups(encoders, settings), out / "features" if config.cache else None
        measured["kept"] = keep_heads(cells, made, tasks, splits, settings, out / "heads", cache)
    np.savez_compressed(out / "predictions.npz", **predictions(cells, groups(encoders, settings)))
    files.write_json(out / "results.json", measured)
    print_results(measured)
    written = f"{out / 'results.json'}, predictions.npz beside it"
    print(f"\nWritten in {measured['seconds']:.0f} s: {written}")
    for entry in measured.get("kept", ()):
        before, after = (100 * entry["error"][when] for when in ("before", "after"))
        print(
            f"kept {out / 'heads' / entry['file']}: temperature {entry['temperature']:.2f}, "
            f"expected calibration error on test cases {after:.1f} %, without it {before:.1f} %"
        )
        if (far := entry["far"])["training_cases"]:
            print(
                f"  {far['validation_cases']} validation cases are too few to say what is far from "
                f"the training data in 5 % of cases: alone they vouch for "
                f"{100 * far['expected_by_validation']:.0f} %; {far['training_cases']} training "
                "cases helped"
            )
    one = encoders[0]
    say(after_probe(one.checkpoint, one.classifier is not None, source))
    if not {cell.column for cell in cells} & {encoder.name for encoder in encoders}:
        reasons = [entry["reason"] for entry in measured["refused"] + measured["failed"]]
        raise UserError(f"no encoder has a score: {reasons[0]}")
    return out / "results.json"


def main(argv: Sequence[str]) -> int:
    """Probes; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    return commands.run_resumable("probe", lambda: run(CONFIG.value))


if __name__ == "__main__":
    commands.start("probe", main, config="configs/probe.py")
