"""Probes frozen encoders: `python -m surgrec_jax.probe --config=configs/probe.py
--config.checkpoint=RUN[,RUN...]`. See configs/probe.py for all values.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.data.records import open_source
from surgrec_jax.encoder import load_encoder
from surgrec_jax.evaluation import results
from surgrec_jax.evaluation.runner import Candidate, Settings, probe
from surgrec_jax.evaluation.tasks import select_tasks

_CONFIG = config_flags.DEFINE_config_file("config", None, "Config file, e.g. configs/probe.py")


def _items(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def candidates(checkpoints: tuple[str, ...], names: tuple[str, ...]) -> list[Candidate]:
    """Loads the encoders; without names a column is called after the encoder.

    Raises:
      ValueError: no checkpoint, or another number of names.
      CheckpointError: a checkpoint cannot be read.
    """
    if not checkpoints:
        raise ValueError("nothing to probe: give --config.checkpoint=WORKDIR[,WORKDIR...]")
    if names and len(names) != len(checkpoints):
        raise ValueError(f"{len(checkpoints)} checkpoints but {len(names)} names: {names}")
    loaded = [load_encoder(path) for path in checkpoints]
    names = names or tuple(encoder.name for encoder in loaded)
    return [Candidate(*each) for each in zip(names, loaded, checkpoints, strict=True)]


def run(config) -> pathlib.Path:
    """Probes as a config of configs/probe.py says, prints the table, returns the results file."""
    settings = Settings(
        heads=_items(config.heads),
        seeds=config.seeds,
        init_seeds=config.init_seeds,
        clips_per_record=config.clips_per_record,
        train_resample=config.train_resample,
        resamples=config.resamples,
        level=config.level,
    )
    name, _, variant = config.source.partition("/")
    tasks = select_tasks(name, _items(config.tasks))
    checkpoints = _items(config.checkpoint)
    found = candidates(checkpoints, _items(config.names))
    splits = dict.fromkeys(split for task in tasks for split in task.splits)
    sources = {
        split: open_source(config.data_dir, name, config=variant or None, split=split)
        for split in splits
    }
    out = pathlib.Path(config.out) if config.out else pathlib.Path(checkpoints[0]) / "probe"
    out.mkdir(parents=True, exist_ok=True)
    cache = out / "features" if config.cache else None
    measured, predictions = probe(found, sources, tasks, settings, cache=cache)
    np.savez_compressed(out / "predictions.npz", **predictions)
    results.write_json(out / "results.json", measured)
    print(results.table(measured))
    written = f"{out / 'results.json'}, predictions.npz beside it"
    print(f"\nWritten in {measured['seconds']:.0f} s: {written}")
    return out / "results.json"


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parser; a wrong command line ends in one sentence and exit code 2."""
    try:
        rest = flags.FLAGS(list(argv))
        if _CONFIG.value is None:
            raise ValueError("--config is missing; e.g. --config=configs/probe.py")
        if len(rest) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(rest[1:])}")
    except (flags.Error, AttributeError, ValueError, TypeError, OSError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]  # what ml_collections wraps
        text = " ".join(str(error.args[0] if error.args else error).split())
        print(f"probe: {text.split('ValueError: ')[-1]}", file=sys.stderr)
        sys.exit(2)
    return rest


def main(argv: Sequence[str]) -> int:
    """Probes; wrong values and missing data end in one sentence and exit code 1."""
    del argv
    logging.set_verbosity(logging.WARNING)
    try:
        run(_CONFIG.value)
    except (CheckpointError, ValueError, OSError) as error:
        print(f"probe: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
