"""The commands of the pages, and a user's shell that runs them (tests/forked.py)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests import forked

ROOT = Path(__file__).resolve().parents[1]
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
    """Runs modules in a folder; `said` is what each command line printed."""

    def __init__(self, folder: Path):
        self.folder, self.said = folder, {}

    def run(self, line: str, words: Sequence[str]) -> str:
        """Runs `python -m MODULE ARGUMENTS` of the words; what it printed, kept by its line.

        Raises:
            AssertionError: it ends with another code than 0.
        """
        done = forked.run(words[2:], self.folder, LIMIT, together=True, TQDM_DISABLE="1")
        text = done.stdout
        assert done.returncode == 0, f"{line}: {done.returncode}\n{text[-4000:]}"
        self.said[line] = text
        return text
