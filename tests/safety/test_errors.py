"""A user's mistake is one sentence, a bug its traceback and a request to report it."""

import ast
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from absl import flags

from data_builders.common.commands import cli
from surgrec_jax import benchmark, commands, main, probe, replay, train
from surgrec_jax.bench import __main__ as bench
from surgrec_jax.bench import sampler
from surgrec_jax.checkpoint import __main__ as checkpoint
from surgrec_jax.compile_report import __main__ as compile_report
from surgrec_jax.convert import __main__ as convert
from surgrec_jax.curation import __main__ as curation
from surgrec_jax.evaluation.benchmark import columns, run_cells
from surgrec_jax.evaluation.heads import registry
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.hosts import launch_flags
from surgrec_jax.records import example
from surgrec_jax.safety import errors
from surgrec_jax.safety.errors import ConfigError, DataError, MissingError, UserError
from tests.evaluation import arrays

ROOT = Path(__file__).resolve().parents[2]


def test_every_error_class_is_one_of_the_users():
    bases = {"UserError": []}
    for package in ("surgrec_jax", "data_builders"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef) and node.name != "UserError":
                    bases[node.name] = [base.id for base in node.bases if hasattr(base, "id")]

    def mendable(name):
        return name == "UserError" or any(map(mendable, bases.get(name, ())))

    named = {name for name in bases if name.endswith("Error") or name == "BadInput"}
    assert len(named) > 20
    assert not {name for name in named if not mendable(name)}


# Command -> where an error is injected, the command, and the exit code after a user's mistake.
COMMANDS = {
    "main": (train, "train", lambda: main.main([]), 1),
    "probe": (probe, "run", lambda: probe.main([]), 1),
    "benchmark": (benchmark, "run", lambda: benchmark.main([]), 1),
    "curation": (curation, "run", lambda: curation.main([]), 1),
    "replay": (replay, "replay", lambda: replay.main(["nowhere"]), 1),
    "checkpoint": (checkpoint, "find", lambda: checkpoint.main(["list", "nowhere"]), 2),
    "convert": (convert, "open_file", lambda: convert.main(["inspect", "nothing"]), 1),
    "bench": (sampler, "run", bench.main, 1),
    "compile_report": (
        compile_report.targets,
        "parse",
        lambda: compile_report.main(["--config=a.py", "--topology=v5e:1x1"]),
        1,
    ),
    "data_builders": (
        cli,
        "build",
        lambda: cli.main(["build", "phantom_surgery", "--data_dir", "nowhere"]),
        1,
    ),
}


@pytest.fixture
def run(monkeypatch, capsys):
    """A function that runs a command with an error injected: its exit code and what stderr has."""
    config = SimpleNamespace(value=SimpleNamespace(to_dict=dict))
    for program in (main, probe, benchmark, curation):
        monkeypatch.setattr(program, "CONFIG", config)
    monkeypatch.setattr(main, "WORKDIR", SimpleNamespace(value="nowhere"))
    monkeypatch.setattr(main, "shared_values", lambda config: {})
    monkeypatch.setattr(curation, "flatten", lambda config: {})
    monkeypatch.setattr(launch_flags, "join", lambda config: None)
    monkeypatch.setattr(sys, "argv", ["bench", "sampler"])

    def injected(name, error):
        module, function, command, _ = COMMANDS[name]

        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(module, function, fail)
        return command(), capsys.readouterr().err

    return injected


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    "bug", [ValueError("shapes (3,) and (4,)"), KeyError("frames"), RuntimeError("no")]
)
def test_a_bug_shows_its_traceback_and_asks_for_a_report(run, name, bug):
    code, said = run(name, bug)
    assert code == 1
    assert "Traceback (most recent call last)" in said and "in fail" in said
    assert said.splitlines()[-1] == errors.REPORT


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        (ConfigError("batch_size=3: give 4"), "batch_size=3: give 4"),
        (MissingError("a is missing; build it"), "a is missing; build it"),
        (PermissionError(13, "Permission denied", "/data/x"), "/data/x: Permission denied"),
    ],
)
def test_a_users_mistake_is_one_sentence(run, name, mistake, sentence):
    code, said = run(name, mistake)
    assert code == COMMANDS[name][3]
    assert said.endswith(f": {sentence}\n") and said.count("\n") == 1


def test_no_memory_is_a_mistake_with_a_remedy(run):
    code, said = run("main", RuntimeError("RESOURCE_EXHAUSTED: out of memory"))
    assert code == 1 and "Traceback" not in said and "lower batch_size" in said
    code, said = run("probe", MemoryError("Unable to allocate 9 TiB"))
    assert code == 1 and said == "probe: out of memory: Unable to allocate 9 TiB\n"


def test_a_file_system_error_without_words_is_a_bug():
    assert errors.sentence(OSError("raised by a library")) is None


def test_the_traceback_of_a_mistake_is_told_when_debugging(run, caplog):
    caplog.set_level(logging.DEBUG, logger=errors.__name__)
    run("probe", DataError("x is no file"))
    assert "Traceback" in caplog.text and "in fail" in caplog.text


def test_interrupting(capsys):
    def stop():
        raise KeyboardInterrupt

    assert errors.run_command("x", stop, interrupted="x: what is done stays") == 130
    assert errors.run_command("x", stop) == 130
    assert capsys.readouterr().err == "\nx: what is done stays\n\nx: stopped\n"


@pytest.mark.parametrize("name", ["verbosity", "v"])
def test_verbosity_keeps_its_value(monkeypatch, name):
    chosen = []
    monkeypatch.setattr(commands.logging, "set_verbosity", chosen.append)
    commands.quiet()
    assert chosen == [commands.logging.WARNING]
    monkeypatch.setattr(flags.FLAGS[name], "present", 1)
    commands.quiet()
    assert len(chosen) == 1


@pytest.mark.slow
@pytest.mark.parametrize("debug", [False, True])
def test_verbosity_of_the_command_itself(tmp_path, debug):
    command = [
        sys.executable, "-m", "surgrec_jax.main", f"--config={ROOT}/configs/mae.py:tiny",
        f"--workdir={tmp_path}", "--config.batch_size=0", *(["--verbosity=1"] if debug else []),
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "surgrec_jax: batch_size=0: give at least" in done.stderr
    assert ("Traceback" in done.stderr) == debug


def test_a_bug_in_the_reader_is_no_damaged_record(monkeypatch):
    def checked(*args):
        raise KeyError("a slip of ours")

    monkeypatch.setattr(example, "_checked", checked)
    with pytest.raises(KeyError, match="a slip of ours"):
        example.parse_record(b"", {}, {}, 1)


# The benchmark, on drawn features.
SETTINGS = Settings(heads=("knn",), seeds=1, init_seeds=1, resamples=10)
COLUMN = columns.Column("mine", "encoder", {"mine": lambda clips: clips})
GROUP = columns.Group((4, 32, 4.0), None, (COLUMN,))


@pytest.fixture
def run_source(monkeypatch, tmp_path):
    """A function that gives the outcomes of one task and column; the folder of cells; features."""
    features = {split: {"mine": found} for split, found in arrays.splits().items()}
    monkeypatch.setattr(columns, "extract", lambda *args: features)
    monkeypatch.setattr(columns.Column, "identity", lambda self: {"mine": "drawn"})
    source = SimpleNamespace(tracks=arrays.TRACKS, video_labels={}, fingerprint="drawn")
    sources = dict.fromkeys(("train", "val", "test"), source)

    def call(task):
        progress = run_cells.Progress(1, lambda line: None)
        table = run_cells.Table(SETTINGS, tmp_path, None, progress)
        return list(table.run_source([task], sources, [GROUP]))

    return call, tmp_path / "cells", features


def test_a_wrong_shape_in_a_head_is_no_refusal(run_source, monkeypatch):
    call, saved, _ = run_source

    def wrong(train, targets, weights, queries, multi_label, seed):
        return ((1,), (2,)), np.zeros((2, len(queries), 1 + targets.shape[1]))

    monkeypatch.setitem(registry.HEADS, "knn", registry.Head(wrong))
    with pytest.raises(ValueError, match="shape mismatch|broadcast") as bug:
        call(arrays.TASK)
    assert not isinstance(bug.value, UserError)
    assert not saved.exists()


def test_a_bug_in_making_the_task_is_no_refusal(run_source, monkeypatch):
    call, saved, _ = run_source

    def build(*args, clean):
        raise ValueError("operands could not be broadcast")

    monkeypatch.setattr(run_cells, "label_task", build)
    with pytest.raises(ValueError, match="operands"):
        call(arrays.TASK)
    assert not saved.exists()


def test_the_benchmarks_own_refusal_is_an_outcome_and_no_cell(run_source):
    call, saved, _ = run_source
    (refusal,) = call(Task("steps", "made", "steps", "macro_f1", "clip"))
    assert isinstance(refusal, run_cells.Refusal) and "has no label 'steps'" in refusal.reason
    assert not saved.exists()


def test_features_that_cannot_be_used_are_a_failure_and_no_cell(run_source):
    call, saved, features = run_source
    features["train"]["mine"].features[:] = np.nan
    (failure,) = call(arrays.TASK)
    assert isinstance(failure, run_cells.Failure) and "NaN" in failure.reason
    assert not saved.exists()


def test_a_bug_while_opening_a_source_is_not_called_missing(monkeypatch):
    def broken(*args):
        raise ValueError("shapes (3,) and (4,)")

    monkeypatch.setattr(benchmark, "open_splits", broken)
    with pytest.raises(ValueError, match="shapes"):
        benchmark._open("data", {"cholec80": ()})
