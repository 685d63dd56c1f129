"""The benchmark, models x tasks: `python -m surgrec_jax.benchmark --config=configs/benchmark.py
--config.checkpoints=NAME=RUN[,NAME=RUN...]`. See configs/benchmark.py for all values.
"""

import dataclasses
import functools
import os
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence

from absl import app, flags

from surgrec_jax import audits, benchmark_finetune, commands
from surgrec_jax.classifier import load_fitting
from surgrec_jax.commands import CONFIG, items, parse_flags, quiet
from surgrec_jax.data.locate import build_command
from surgrec_jax.data.records import Source, open_source
from surgrec_jax.evaluation import (
    assemble,
    columns,
    matrix,
    report,
    report_benchmark,
    report_frames,
    results,
    runner,
    vlm_column,
)
from surgrec_jax.evaluation.protocols import Settings
from surgrec_jax.evaluation.task_list import offered_tasks, select_tasks, wanted_sources
from surgrec_jax.evaluation.tasks import Task
from surgrec_jax.probe import settings_of
from surgrec_jax.safety import files
from surgrec_jax.safety.errors import ConfigError, UserError, run_command
from surgrec_jax.terminal import escape_output

flags.adopt_module_key_flags(commands)  # --help lists them


def candidates(text: str) -> list[columns.Candidate]:
    """Encoders of "NAME=RUN,RUN,...".

    Raises:
      ConfigError: none given. CheckpointError: one cannot be read.
    """
    found = []
    for part in items(text):
        name, sign, path = part.partition("=")
        name, path = (name, path) if sign else ("", part)
        if ":" in part and not sign and not os.path.exists(path):
            raise ConfigError(f"checkpoints={part}: give NAME=RUN, with = after the name")
        encoder, classifier = load_fitting(path)
        found.append(columns.Candidate(name or encoder.name, encoder, path, classifier))
    if not found:
        raise ConfigError("nothing to compare: give --config.checkpoints=NAME=RUN[,NAME=RUN...]")
    return found


def open_splits(data_dir: str, name: str, tasks: Sequence[Task]) -> dict[str, Source]:
    """Split -> source, training first.

    Raises:
      FileNotFoundError: not prepared. ValueError: no such split.
    """
    base, _, config = name.partition("/")
    splits = dict.fromkeys(split for task in tasks for split in task.splits)
    return {
        split: open_source(data_dir, base, config=config or None, split=split) for split in splits
    }


def run(config) -> pathlib.Path:
    """Runs the benchmark as a config says; returns the results file."""
    start = time.monotonic()
    settings = settings_of(config)
    out = pathlib.Path(config.out)
    names = wanted_sources(items(config.sources), settings.rules.published)
    offered, said = offered_tasks(names, config.data_dir)
    asked = _tasks(offered, items(config.tasks))
    given = candidates(config.checkpoints)
    found = columns.groups(given, settings)
    asker = None
    if config.vlm.name:
        asker = vlm_column.from_config(config.vlm, settings, found[0].clip)
    table = columns.ordered(found) + ([asker.column] if asker else [])
    opened, missing = _open(config.data_dir, asked)
    if not opened:
        for entry in missing:
            _say(f"missing: {entry['source']}: {entry['reason']}")
        raise ConfigError("none of the data sets is prepared: nothing to compare on")
    out.mkdir(parents=True, exist_ok=True)
    width = len(table)
    if settings.rules.finetune:  # of the baselines only the majority
        width = 1 + len(given) + (asker is not None)
    total = sum(len(asked[name]) for name in opened) * width
    progress = matrix.Progress(total, _say)
    cells, failures = [], []
    kept = audits.Audits(out / "audits", config.data_dir)
    verdicts: dict[str, dict] = {}
    overlaps: dict[str, dict] = {group_name: {} for group_name in _encoders(found)}
    metas = {c.name: c.encoders[c.name].__self__.meta for c in table if c.kind == "encoder"}
    column, ask = ([asker.column], asker.ask) if asker else ([], None)
    for name, sources in opened.items():
        for some, groups in _rounds(asked[name], given, found, settings, config, failures):
            made, failed = matrix.run_source(
                some, sources, groups, settings, out, progress, asked=column, ask=ask
            )
            cells += made
            failures += failed
        first = next(iter(sources.values()))
        verdicts[name] = kept.verdict(first)
        for model, meta in metas.items():
            overlaps[model][name] = kept.overlap(meta, first)
    tests = {name: sources[asked[name][0].splits[2]] for name, sources in opened.items()}
    classes = {(c.task["source"], c.task["name"]): c.task.get("classes") for c in cells}
    every = [task for name in opened for task in asked[name]]
    scored = [(t, classes[t.source, t.name]) for t in every if classes.get((t.source, t.name))]
    measured = assemble.assemble(
        cells,
        failures,
        table,
        settings,
        protocol={**dataclasses.asdict(settings), "title": settings.rules.title},
        environment=runner.environment(),
        notes=said + runner.notes(tests, found, settings, scored),
        data={
            name: {split: source.fingerprint for split, source in sources.items()}
            for name, sources in opened.items()
        },
        missing=missing,
        audit=verdicts,
        overlap=overlaps,
        seconds=round(time.monotonic() - start, 1),
    )
    if config.frames_in_report:
        report_frames.add_frames(measured, opened, out / "frames")
    return _write(out, measured, overlaps)


def _rounds(tasks, given, found, settings: Settings, config, failures: list):
    """(tasks, groups) that are asked together: all at once, or each task of encoders that were
    trained on it."""
    if not settings.rules.finetune:
        yield tasks, found
        return
    for task in tasks:
        trained = []
        for one in given:
            try:
                out = pathlib.Path(config.out)
                trained.append(benchmark_finetune.fine_tune(one, task, config, out))
            except UserError as error:
                failures.append(matrix.Failure(task.source, task.name, one.name, str(error)))
                _say(f"{task.title} x {one.name}: FAILED: {error}")
        if trained:
            yield [task], columns.groups(trained, settings)


def _write(out: pathlib.Path, measured: Mapping, overlaps: Mapping) -> pathlib.Path:
    files.write_json(out / "results.json", measured)
    text = results.markdown(measured)
    (out / "results.md").write_text(text, encoding="utf-8")
    page = report_benchmark.build(measured, out / "frames")
    written = report.write_report(out / "index.html", page)
    print(results.table(measured))
    for line in audits.lines(overlaps):
        print(line)
    for entry in measured["missing"]:
        print(f"missing: {entry['source']}: {entry['reason']}")
    for entry in measured["refused"]:
        print(f"refused: {entry['source']}: {entry['reason']}")
    for entry in measured["failed"]:
        print(f"FAILED: {entry['source']} {entry['task']} x {entry['column']}: {entry['reason']}")
    print(
        f"\nWritten in {measured['seconds']:.0f} s: {out / 'results.json'}, results.md, {written}"
    )
    return out / "results.json"


def _tasks(
    offered: Mapping[str, Sequence[Task]], wanted: Sequence[str]
) -> dict[str, tuple[Task, ...]]:
    """Source -> its tasks; a task that is asked for by name must exist in some source."""
    if wanted == ("all",):
        return {name: tuple(tasks) for name, tasks in offered.items()}
    known = {task.name for tasks in offered.values() for task in tasks}
    unknown = [task for task in wanted if task not in known]
    if unknown or not wanted:
        raise ConfigError(
            f"no source has a task {', '.join(map(repr, unknown)) or '(none given)'}; there are: "
            f"{', '.join(sorted(known))}, or all"
        )
    chosen = {name: [t.name for t in tasks if t.name in wanted] for name, tasks in offered.items()}
    return {name: select_tasks(name, some, offered[name]) for name, some in chosen.items() if some}


def _open(data_dir: str, asked: Mapping[str, Sequence[Task]]):
    """The prepared sources, and those that are missing with the reason and the remedy."""
    opened, missing = {}, []
    for name, tasks in asked.items():
        try:
            opened[name] = open_splits(data_dir, name, tasks)
        except (UserError, FileNotFoundError) as error:
            source, _, config = name.partition("/")
            command = build_command(source, data_dir, config or None)
            missing.append({"source": name, "reason": str(error), "command": command})
    return opened, missing


def _encoders(found: Sequence[columns.Group]) -> list[str]:
    return [column.name for group in found for column in group.columns if column.kind == "encoder"]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(argv: Sequence[str]) -> int:
    """Compares; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    quiet()
    os.environ.setdefault("TQDM_MININTERVAL", "1")

    def work() -> int:
        run(CONFIG.value)
        return 0

    stopped = "benchmark: stopped; the same command goes on with what is there"
    return run_command("benchmark", work, interrupted=stopped)


if __name__ == "__main__":
    escape_output()
    parse = functools.partial(parse_flags, "benchmark", config="configs/benchmark.py")
    app.run(main, flags_parser=parse)
