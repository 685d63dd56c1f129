r"""The benchmark, models x tasks; configs/benchmark.py explains all values.

python -m surgrec_jax.benchmark --config=configs/benchmark.py \
        --config.checkpoints=NAME=RUN[,NAME=RUN...]
"""

import dataclasses
import functools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence

from absl import flags

from surgrec_jax import checkpoint, commands, default_data
from surgrec_jax.audit import audits
from surgrec_jax.commands import CONFIG, items
from surgrec_jax.convert import cache, hub
from surgrec_jax.evaluation.benchmark import finetuned, results
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.benchmark.compare import compare
from surgrec_jax.evaluation.heads.rules import Settings, parse_clip
from surgrec_jax.evaluation.report import benchmark, frames, summary
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.evaluation.tasks.task_list import offered_tasks, select_tasks, wanted_sources
from surgrec_jax.evaluation.vlm import column
from surgrec_jax.frozen.classifier import load_fitting
from surgrec_jax.next_commands import look_at, say
from surgrec_jax.records.locate import build_command
from surgrec_jax.records.source import Source, open_source
from surgrec_jax.safety import files
from surgrec_jax.safety.errors import ConfigError, UserError

flags.adopt_module_key_flags(commands)  # --help lists them


def settings_of(config) -> Settings:
    """The settings of a config, with the values that its protocol fixes."""
    values = {field.name: config[field.name] for field in dataclasses.fields(Settings)
              if field.name in config}  # fmt: skip
    values |= {"heads": items(config.heads), "clip": parse_clip(config.clip)}
    values["map_heads"] = items(config.map_heads)
    return Settings(**values).under(config.protocol)


def candidates(text: str, key: str = "checkpoints") -> list[Candidate]:
    """The encoders of "NAME=RUN,RUN,..."; one without a name is called after its workdir.

    Args:
        key: name of the config value, for error messages.

    Raises:
        ConfigError: no encoder is named. CheckpointError: a checkpoint cannot be read.
    """
    loaded = []
    for part in items(text):
        name, sign, path = part.partition("=")
        there = os.path.exists(part)  # a path may hold = or :
        if there or not sign:
            name, path = "", part
        path = path if there else cache.workdir_of(path, key)
        if ":" in path and not sign and not there:
            raise ConfigError(f"{key}={part}: give NAME=RUN, with = after the name")
        encoder, classifier = load_fitting(path)
        loaded.append(Candidate(name or workdir_name(path), encoder, path, classifier))
    if not loaded:
        raise ConfigError(f"nothing to compare: give --config.{key}=NAME=RUN[,NAME=RUN...]")
    return loaded


def workdir_name(path: str) -> str:
    """The name of a checkpoint's column: that of its workdir, with the step where one is named."""
    location, here = checkpoint.find(path), pathlib.Path(path).resolve()
    root = location.root.resolve()
    folder = root.parent if root.name == "checkpoints" else root
    return folder.name + (f" step {location.step}" if here == location.path.resolve() else "")


def sources_of(encoders: Sequence[Candidate], data_dir: str, key: str) -> str:
    """The labelled sources of the encoders' runs, see `default_data.labelled`."""
    return default_data.labelled({e.checkpoint: e.encoder.meta for e in encoders}, data_dir, key)


def open_splits(data_dir: str, name: str, tasks: Sequence[Task]) -> dict[str, Source]:
    """Opens the splits of some tasks: split -> source, training first.

    Raises:
        FileNotFoundError: the data set is not prepared. ValueError: it has no such split.
    """
    base, _, config = name.partition("/")
    splits = dict.fromkeys(split for task in tasks for split in task.splits)
    return {
        split: open_source(data_dir, base, config=config or None, split=split) for split in splits
    }


def print_results(measured: Mapping) -> None:
    """Prints the table and everything that was not scored."""
    print(results.table(measured))
    for line in audits.lines(measured["overlap"]):
        print(line)
    for what in ("missing", "refused"):
        for entry in measured[what]:
            print(f"{what}: {entry['source']}: {entry['reason']}")
    for entry in measured["failed"]:
        print(f"FAILED: {entry['source']} {entry['task']} x {entry['column']}: {entry['reason']}")


def run(config) -> pathlib.Path:
    """Runs the benchmark that a config describes; returns the results file."""
    settings = settings_of(config)
    if config.vlm.name and settings.folds:
        raise ConfigError(
            f"folds={settings.folds} with vlm.name={config.vlm.name!r}: a vision-language model "
            "learns nothing to cross-validate; leave one of them out"
        )
    if not config.sources and hub.SCHEME in config.checkpoints:  # before anything is fetched
        raise ConfigError(
            "encoders of the hub do not say which data they are to be compared on; name yours by "
            "--config.sources=NAME"
        )
    encoders = candidates(config.checkpoints) if not config.sources else None
    named = config.sources or sources_of(encoders, config.data_dir, "sources")
    names = wanted_sources(items(named), settings.rules.published)
    offered, sentences = offered_tasks(names, config.data_dir)
    tasks = _tasks(offered, items(config.tasks))
    encoders = encoders or candidates(config.checkpoints)
    asker = None
    if config.vlm.name:
        asker = column.from_config(config.vlm, settings, encoders[0].encoder.clip)
    sources, missing = _open(config.data_dir, tasks)
    if not sources:
        for entry in missing:
            print(f"missing: {entry['source']}: {entry['reason']}", file=sys.stderr)
        raise ConfigError("none of the data sets is prepared: nothing to compare on")
    out, train = pathlib.Path(config.out), None
    if settings.rules.finetune:
        train = functools.partial(finetuned.fine_tune, config=config, out=out)
    measured, _ = compare(encoders, tasks, sources, settings, out, asker=asker, train=train)
    measured |= {"missing": missing, "notes": sentences + measured["notes"]}
    metas = {one.name: one.encoder.meta for one in encoders}
    everyone = settings.folds > 0
    measured |= audits.facts(metas, sources, out / "audits", config.data_dir, everyone)
    if config.frames_in_report:
        frames.add_frames(measured, sources, out / "frames")
    files.write_json(out / "results.json", measured)
    (out / "results.md").write_text(results.markdown(measured), encoding="utf-8")
    page = benchmark.build(measured, out / "frames")
    written = summary.write_report(out / "index.html", page)
    print_results(measured)
    print(
        f"\nWritten in {measured['seconds']:.0f} s: {out / 'results.json'}, results.md, {written}"
    )
    say(look_at(written))
    return out / "results.json"


def _tasks(
    offered: Mapping[str, Sequence[Task]], names: Sequence[str]
) -> dict[str, tuple[Task, ...]]:
    """The tasks of those names by source; every name must exist in some source."""
    if names == ("all",):
        return {name: tuple(tasks) for name, tasks in offered.items()}
    known = {task.name for tasks in offered.values() for task in tasks}
    unknown = [task for task in names if task not in known]
    if unknown or not names:
        raise ConfigError(
            f"no source has a task {', '.join(map(repr, unknown)) or '(none given)'}; there are: "
            f"{', '.join(sorted(known))}, or all"
        )
    chosen = {name: [t.name for t in tasks if t.name in names] for name, tasks in offered.items()}
    return {name: select_tasks(name, some, offered[name]) for name, some in chosen.items() if some}


def _open(
    data_dir: str, tasks: Mapping[str, Sequence[Task]]
) -> tuple[dict[str, dict[str, Source]], list[dict]]:
    """The prepared sources, and entries for those that are missing, with reason and remedy."""
    opened, missing = {}, []
    for name, of_source in tasks.items():
        try:
            opened[name] = open_splits(data_dir, name, of_source)
        except (UserError, FileNotFoundError) as error:
            source, _, config = name.partition("/")
            command = build_command(source, data_dir, config or None)
            missing.append({"source": name, "reason": str(error), "command": command})
    return opened, missing


def main(argv: Sequence[str]) -> int:
    """Compares; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    os.environ.setdefault("TQDM_MININTERVAL", "1")
    return commands.run_resumable("benchmark", lambda: run(CONFIG.value))


if __name__ == "__main__":
    commands.start("benchmark", main, config="configs/benchmark.py")
