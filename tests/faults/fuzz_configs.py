"""Odd overrides on the command line and damaged files of a workdir, up to the first compilation."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import flags

from surgrec_jax import commands, inputs, main
from surgrec_jax.config.values import check_numbers, flatten
from surgrec_jax.config.workdir import check_workdir
from surgrec_jax.data.loading import faults
from surgrec_jax.default_data import PHANTOM
from surgrec_jax.records.names import parse_sources
from surgrec_jax.runlog import metrics
from surgrec_jax.safety.errors import UserError
from surgrec_jax.setup import build_setup, make_mesh
from tests.faults.fuzz_mutate import mutate_text

CONFIGS = ("configs/mae.py:tiny", "configs/jepa.py:tiny", "configs/mae.py", "configs/jepa.py")
ODD = (
    *("", " ", "-1", "0", "1", "2", "3", "7", "1e309", "nan", "inf", "-inf", "1e-9", "0.5", "None"),
    *("true", "False", "[]", "()", "(1,2)", "{}", "[1,2,3]", "a", "mae", "B", "../../x", "\x00"),
    *("9" * 25, "9" * 5000, "1e6", "123456789", "__import__('os')", "lambda: 0", "$(x)", "'", '"'),
    *("a=1,b", "a=1,a=2", "a@b/c=1", "x" * 100_000, "\u202e", "٣", "a/b/c", "phantom_surgery=nan"),
)
TRACED_DEPTH = 6  # layers; tracing takes a second or so
FILES = {
    "config.json": lambda path: check_workdir(_config(CONFIGS[0], []), path.parent),
    "metrics.jsonl": lambda path: metrics.MetricsWriter(path.parent, 50).close(),
    faults.FILE: lambda path: faults.BadRecords({"a/train": 9}, 0.5, path),
}


class ReportedError(Exception):
    """The command line ended with a sentence and an exit code."""


def suite(folder: Path, seed: int):
    """See fuzz.Suite. Three of four cases are overrides, the fourth a file of a workdir."""

    keys_of: dict[str, dict[str, Any]] = {}

    def case(number: int) -> str:
        rng = np.random.default_rng([seed, number])
        if number % 4 == 3:
            return _reported(lambda: _file(folder / f"case{number}", number // 4, rng))
        path = CONFIGS[int(rng.integers(len(CONFIGS)))]
        if path not in keys_of:
            keys_of[path] = flatten(_config(path, []).to_dict())
        keys = list(keys_of[path])
        overrides = []
        for _ in range(int(rng.choice([1, 1, 2, 3]))):
            key = keys[int(rng.integers(len(keys)))]
            value = ODD[int(rng.integers(len(ODD)))]
            if rng.random() < 0.6:
                value = _near(keys_of[path][key], rng)
            if rng.random() < 0.05:
                key = mutate_text(key.encode(), rng).decode("utf-8", "replace").replace("\n", "")
            overrides.append(f"--config.{key}={value}")
        return _reported(lambda: _begin(path, overrides))

    return case, (ReportedError,)


def _config(path: str, overrides: list[str]):
    """The config of a command line. Ends the process as the program would."""
    if flags.FLAGS.is_parsed():
        flags.FLAGS.unparse_flags()
    for name in [name for name in flags.FLAGS if name.startswith("config.")]:
        delattr(flags.FLAGS, name)  # overrides of the case before; a process has one command line
    sys.argv = ["main", f"--config={path}", "--workdir=w", *overrides]  # ml_collections looks here
    commands.parse_flags("surgrec_jax", sys.argv, **main.NEEDED)
    return main.CONFIG.value


def _begin(path: str, overrides: list[str]) -> str:
    """What a run does with its config before anything is compiled or read.

    The step of configs as small as `tiny` is traced: errors of shapes are found there.
    """
    config = _config(path, overrides)
    check_numbers(config)
    setup = build_setup(config, make_mesh(config))
    for schedule in (setup.adamw.lr, setup.adamw.weight_decay, setup.momentum or (lambda _: 0.0)):
        float(schedule(0))
    inputs.clip_spec(config)
    names = parse_sources(config.data.sources or PHANTOM)
    faults.BadRecords({name.text: 100 for name in names}, config.data.max_bad_share)
    if setup.objective.encoder.depth > TRACED_DEPTH:
        return "overrides accepted"
    clips = jax.ShapeDtypeStruct(setup.clips_shape, np.uint8)
    with jax.set_mesh(setup.mesh):
        jax.eval_shape(setup.step, setup.abstract, {"video": clips})
    return "step traced"


def _near(value: Any, rng: np.random.Generator) -> str:
    """A value of the same type: what a user might try."""
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, int | float):
        scaled = value * float(rng.choice([0.5, 2, 3, -1, 100])) + float(rng.choice([0, 0, 1]))
        return str(round(scaled) if isinstance(value, int) else scaled)
    return str(value) if value is not None else str(rng.integers(1, 20))


def _file(workdir: Path, which: int, rng: np.random.Generator) -> str:
    name = list(FILES)[which % len(FILES)]
    (workdir / "checkpoints" / "1").mkdir(parents=True)  # of a run that has begun
    sound = {
        "config.json": json.dumps(_config(CONFIGS[0], []).to_dict(), indent=2),
        "metrics.jsonl": "".join(f'{{"step": {k}, "loss": {1 / (k + 1)}}}\n' for k in range(80)),
        faults.FILE: '{"source": "a/train", "record": 3, "why": "x"}\n' * 3,
    }[name]
    (workdir / name).write_bytes(mutate_text(sound.encode(), rng))
    FILES[name](workdir / name)
    return f"{name} accepted"


def _reported(work: Callable[[], str]) -> str:
    """`work()`, with what the program turns into a sentence and an exit code as ReportedError."""
    try:
        return work()
    except SystemExit as error:  # a wrong command line
        if error.code not in (1, 2):
            raise
        raise ReportedError from error
    except (UserError, OSError) as error:  # see safety.errors
        raise ReportedError from error
