"""Modules run as `python -m` runs them, in processes forked from one that has their imports.

Half of the time of a small command is imports, and most of the rest is compilation; what XLA
compiled for a command on one device, later ones of the same test run read (tests/one_device.py).
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import one_device

# Not the modules that are run: Python warns of those that are imported already.
PRELOADED = [
    "surgrec_jax.train",
    "surgrec_jax.evaluation.benchmark.compare",
    "surgrec_jax.evaluation.report.benchmark",
    "surgrec_jax.prediction.job",
    "data_builders.common.commands.cli",
]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(PRELOADED)


def run(
    words: Sequence[str], cwd: Path, timeout: float, together: bool = False, **variables: str
) -> subprocess.CompletedProcess:
    """Runs a module on one CPU device: its exit code and what it printed.

    Args:
        words: the module and its arguments.
        timeout: seconds; a longer command is killed, with a code that is not 0.
        together: what goes to stderr is among what goes to stdout, as a terminal shows it.
        variables: of its environment, beside those of a test.
    """
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, "stdout"), Path(folder, "stdout" if together else "stderr")]
        given = (list(words), cwd, one_device.environment() | variables, logs)
        process = _PROCESSES.Process(target=_become, args=given)
        process.start()
        process.join(timeout)
        if process.is_alive():
            process.kill()
            process.join()
        out, error = (log.read_text() if log.exists() else "" for log in logs)
    return subprocess.CompletedProcess(words, process.exitcode, out, "" if together else error)


def _become(
    words: Sequence[str], cwd: Path, environment: Mapping[str, str], logs: Sequence[Path]
) -> None:
    """Becomes the command: its folder, its arguments, its output."""
    import jax

    for number, log in enumerate(logs, 1):
        with log.open("a") as out:
            os.dup2(out.fileno(), number)
    os.chdir(cwd)
    os.environ.update(environment)
    # JAX, which is imported already, has read the variables of the process it was forked from.
    jax.config.update("jax_compilation_cache_dir", environment["JAX_COMPILATION_CACHE_DIR"])
    seconds = float(environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    sys.argv = list(words)
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
