"""Probes frozen encoders: `python -m surgrec_jax.probe --config=configs/probe.py
--config.checkpoint=RUN[,RUN...]`. See configs/probe.py for all values.
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from absl import app, flags

from surgrec_jax import audits, commands
from surgrec_jax.classifier import load_fitting
from surgrec_jax.commands import CONFIG, items, parse_flags, quiet
from surgrec_jax.data.records import open_source
from surgrec_jax.evaluation import results
from surgrec_jax.evaluation.protocols import parse_clip
from surgrec_jax.evaluation.runner import Candidate, Settings, probe
from surgrec_jax.evaluation.task_list import offered_tasks, select_tasks, wanted_sources
from surgrec_jax.safety import files
from surgrec_jax.safety.errors import ConfigError, run_command
from surgrec_jax.terminal import escape_output

flags.adopt_module_key_flags(commands)  # --help lists them


def candidates(checkpoints: tuple[str, ...], names: tuple[str, ...]) -> list[Candidate]:
    """Loads the encoders; without names a column is called after the encoder.

    Raises:
      ConfigError: no checkpoint, or another number of names.
      CheckpointError: a checkpoint cannot be read.
    """
    if not checkpoints:
        raise ConfigError("nothing to probe: give --config.checkpoint=WORKDIR[,WORKDIR...]")
    if names and len(names) != len(checkpoints):
        raise ConfigError(f"{len(checkpoints)} checkpoints but {len(names)} names: {names}")
    loaded = [load_fitting(path) for path in checkpoints]
    names = names or tuple(encoder.name for encoder, _ in loaded)
    return [
        Candidate(name, encoder, path, classifier)
        for name, (encoder, classifier), path in zip(names, loaded, checkpoints, strict=True)
    ]


def settings_of(config) -> Settings:
    """Settings of a config, with what its protocol fixes."""
    settings = Settings(
        heads=items(config.heads),
        seeds=config.seeds,
        init_seeds=config.init_seeds,
        clips_per_record=config.clips_per_record,
        crops=config.crops,
        train_resample=config.train_resample,
        resamples=config.resamples,
        level=config.level,
        clip=parse_clip(config.clip),
    )
    return settings.under(config.protocol)


def run(config) -> pathlib.Path:
    """Probes as a config of configs/probe.py says, prints the table, returns the results file."""
    settings = settings_of(config)
    source, *more = wanted_sources(items(config.source), settings.rules.published)
    if more:
        raise ConfigError(
            f"source={config.source!r} is {1 + len(more)} data sets and a probe is of one; of "
            "several: python -m surgrec_jax.benchmark"
        )
    name, _, variant = source.partition("/")
    offered, said = offered_tasks([source], config.data_dir)
    tasks = select_tasks(source, items(config.task or config.tasks), offered[source])
    checkpoints = items(config.checkpoint)
    found = candidates(checkpoints, items(config.names))
    splits = dict.fromkeys(split for task in tasks for split in task.splits)
    sources = {
        split: open_source(config.data_dir, name, config=variant or None, split=split)
        for split in splits
    }
    out = pathlib.Path(config.out) if config.out else pathlib.Path(checkpoints[0]) / "probe"
    out.mkdir(parents=True, exist_ok=True)
    cache = out / "features" if config.cache else None
    measured, predictions = probe(found, sources, tasks, settings, cache=cache)
    measured["notes"] += said
    kept = audits.Audits(out / "audits", config.data_dir)
    first = next(iter(sources.values()))
    measured["overlap"] = {
        one.name: {source: kept.overlap(one.encoder.meta, first)} for one in found
    }
    np.savez_compressed(out / "predictions.npz", **predictions)
    files.write_json(out / "results.json", measured)
    print(results.table(measured))
    for line in audits.lines(measured["overlap"]):
        print(line)
    written = f"{out / 'results.json'}, predictions.npz beside it"
    print(f"\nWritten in {measured['seconds']:.0f} s: {written}")
    return out / "results.json"


def main(argv: Sequence[str]) -> int:
    """Probes; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    quiet()

    def work() -> int:
        run(CONFIG.value)
        return 0

    stopped = "probe: stopped; the same command goes on with what is there"
    return run_command("probe", work, interrupted=stopped)


if __name__ == "__main__":
    escape_output()
    parse = functools.partial(parse_flags, "probe", config="configs/probe.py")
    app.run(main, flags_parser=parse)
