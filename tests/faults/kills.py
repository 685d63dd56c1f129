"""SIGKILL at random instants: no step is lost beyond the last completed save, no bit differs."""

import argparse
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from surgrec_jax import checkpoint
from tests.faults import runs
from tests.faults.runs import expect

# Steps of the run per kill, more than a life of about two seconds makes.
STEPS = 1000
# Steps of the last life, which is left alone.
REST = 20
STOPPED = 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `faults kills`."""
    parser.add_argument("--kills", type=int, default=20, help="how often the run is killed")
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="a new interpreter for every life; otherwise lives are forked from a process that has "
        "imported the program but not started JAX, which saves seconds each",
    )


def inject(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Kills a run `args.kills` times and compares it with one that was left alone."""
    data, whole, killed = runs.make_data(folder / "data"), folder / "whole", folder / "killed"
    steps = STEPS * args.kills
    rng = np.random.default_rng(args.seed)
    start = _fresh if args.fresh else _forked
    if not args.fresh:
        _prepare(folder)
    root = killed / "checkpoints"
    began, lost, in_start, in_save, kills = time.monotonic(), [], 0, 0, 0
    newest = 0
    while kills < args.kills:
        pid = start(folder, runs.arguments(killed, data, steps=steps), folder / "stderr.txt")
        before = max(runs.losses(killed), default=0)
        # Three lives of four are killed among steps and saves, one while it restores or compiles.
        early = rng.random() < 0.25
        delay = float(rng.uniform(0, 2.0))
        ended = None if early else _wait_until_stepping(killed, before, pid)
        if ended is None:
            time.sleep(delay)
            ended = _poll(pid)
        expect(ended is None, f"a life ended with {ended}: {(folder / 'stderr.txt').read_text()}")
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kills += 1
        first = runs.first_step((folder / "stderr.txt").read_text())
        if first is None:
            in_start += 1
        else:
            expect(first == newest, f"life {kills} continued from {first}, {newest} was saved")
            lost.append(max(before - first, 0))
        saved = checkpoint.steps_in(root)
        expect(max(saved, default=0) >= newest, f"step {newest} was saved and is gone: {saved}")
        newest = max(saved, default=0)
        in_save += any(root.glob("*.tmp"))
        if kills % 10 == 0:
            print(f"  {kills} kills, step {newest} of {steps}", file=sys.stderr, flush=True)
    seconds = time.monotonic() - began
    last = newest + REST
    for workdir, every in ((killed, runs.TINY["checkpoint.every"]), (whole, steps)):
        changes = {"steps": steps, "stop_after": last, "checkpoint__every": every}
        code, said = runs.finish(folder, runs.arguments(workdir, data, **changes), timeout=900)
        expect(code in (0, STOPPED), f"{workdir.name} ended with {code}: {said}")
    runs.expect_same(whole, killed, last)
    expect(not list(root.glob("*.tmp")), "temporary folders were left")
    return {
        "kills": kills,
        "before_the_first_step": in_start,
        "during_a_save": in_save,
        "steps": last,
        "steps_repeated_most": max(lost, default=0),
        "losses_and_arrays": "bit-equal",
        "seconds": seconds,
    }


def _wait_until_stepping(workdir: Path, before: int, pid: int) -> int | None:
    """Returns when a life has logged a step; its exit code if it ended instead."""
    stamp = time.time()
    metrics = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while True:
        ended = _poll(pid)
        if ended is not None:
            return ended
        with contextlib.suppress(FileNotFoundError):
            done = runs.losses(workdir)
            # A restart rewrites the file without the steps that will come again.
            if metrics.stat().st_mtime > stamp and done and max(done) != before:
                return None
        expect(time.monotonic() < deadline, "a life made no step in 120 s")
        time.sleep(0.02)


def _poll(pid: int) -> int | None:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else None


def _fresh(folder: Path, args: list[str], stderr: Path) -> int:
    with stderr.open("w") as file:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "surgrec_jax.main", *args],
            runs.environment(folder),
            file_actions=[(os.POSIX_SPAWN_DUP2, file.fileno(), 2)],
        )


def _prepare(folder: Path) -> None:
    """Imports what lives are forked from; JAX is configured by the environment at its import."""
    os.environ.update(runs.environment(folder))
    import jax
    from jax._src import xla_bridge

    from surgrec_jax import main, train  # noqa: F401

    for name, value in (
        ("jax_compilation_cache_dir", str(folder / "compiled")),
        ("jax_persistent_cache_min_compile_time_secs", 0.0),
        ("jax_persistent_cache_min_entry_size_bytes", -1),
        ("jax_platforms", "cpu"),
    ):
        jax.config.update(name, value)
    expect(not xla_bridge.backends_are_initialized(), "JAX was started before the first fork")


def _forked(folder: Path, args: list[str], stderr: Path) -> int:
    del folder
    pid = os.fork()
    if pid:
        return pid
    from absl import app, flags

    from surgrec_jax import main

    code = 1
    try:
        with stderr.open("w", buffering=1) as file:
            os.dup2(file.fileno(), 2)
        sys.argv = ["surgrec_jax.main", *args]  # config flags look here for overrides
        flags.FLAGS.unparse_flags()
        app.run(main.main, argv=sys.argv, flags_parser=main.parse)
    except SystemExit as end:
        code = end.code or 0
    finally:
        os._exit(code)
