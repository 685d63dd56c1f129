"""Runs commands of the pages as a user's shell would, in processes that share their imports.

Every command is a process of its own, forked from one that has imported what all of them need: most
of a small command is imports. What XLA compiled for one command, the others read from a folder.
"""

import multiprocessing
import os
import re
import runpy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Not the modules that are run: Python warns of those that are imported already.
PRELOADED = [
    "surgrec_jax.train",
    "surgrec_jax.evaluation.benchmark.compare",
    "surgrec_jax.evaluation.report.benchmark",
    "surgrec_jax.prediction.job",
    "data_builders.common.commands.cli",
]
LIMIT = 1500  # seconds of a command


def lines(page: str) -> Iterator[str]:
    """The lines of a page's bash blocks, in order; continued ones as one."""
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip():
                yield re.sub(r" {2,}", " ", line)


def commands(page: str) -> list[str]:
    """Those that start a module of this project."""
    return [line for line in lines(page) if line.startswith("python -m")]


class Shell:
    """Runs modules in a folder; `said` is what each command line printed.

    Args:
        folder: where commands run.
        compiled: a folder for XLA's programs.
    """

    def __init__(self, folder: Path, compiled: Path):
        self.folder, self.compiled, self.said = folder, compiled, {}
        self.processes = multiprocessing.get_context("forkserver")
        self.processes.set_forkserver_preload(PRELOADED)

    def run(self, line: str, words: Sequence[str]) -> str:
        """Runs `python -m MODULE ARGUMENTS` of the words; what it printed, kept by its line.

        Raises:
            AssertionError: it ends with another code than 0.
        """
        log = self.folder / "said.log"
        given = (list(words[2:]), self.folder, self.compiled, log)
        process = self.processes.Process(target=_run, args=given)
        process.start()
        process.join(LIMIT)
        text = log.read_text()
        assert process.exitcode == 0, f"{line}: {process.exitcode}\n{text[-4000:]}"
        self.said[line] = text
        return text


def _run(words: Sequence[str], folder: Path, compiled: Path, log: Path) -> None:
    """Becomes the command: its folder, its arguments, its output."""
    import jax

    with log.open("w") as out:
        for number in (1, 2):
            os.dup2(out.fileno(), number)
    os.chdir(folder)
    os.environ["TQDM_DISABLE"] = "1"
    # One device, as a user's machine has; LLVM's optimiser takes longer than such programs run.
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    sys.argv = [words[0], *words[1:]]
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
