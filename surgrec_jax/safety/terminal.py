"""Command lines: their parser, and output that cannot steer the terminal.

Names of files, classes, tensors and data sets come from elsewhere and stand in tables and errors; a
terminal would take control characters in them for commands (to hide a line, to retitle the window).
"""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from absl import logging

from surgrec_jax.safety.errors import INTERRUPTED

# Control characters but tab and line break, marks that turn the direction of writing, and carriage
# returns but at the start of a progress bar.
_STEERING = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]|(?<!^)\r(?!\n)"
)


def escaped(text: str) -> str:
    r"""The text with `\x1b` where it has an escape character, and so on."""
    return _STEERING.sub(_escaped, text)


class EscapedStream:
    r"""A text stream that writes `\x1b` where it is given an escape character."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, escaped."""
        self._stream.write(escaped(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        """Writes lines, escaped."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def escape_output() -> None:
    """Puts the two streams of this process, and absl's log, behind an EscapedStream."""
    sys.stdout, sys.stderr = EscapedStream(sys.stdout), EscapedStream(sys.stderr)
    logging.get_absl_handler().python_handler.stream = sys.stderr


def run_escaped(main: Callable[[], int]) -> NoReturn:
    """Runs a command as this process: its output is escaped, and its exit code the process's."""
    escape_output()
    leave(main())


def leave(code: int) -> NoReturn:
    """Ends this process with an exit code; after Ctrl-C without what Python does at its exit.

    JAX takes its backend down there while a thread of it may still compile for it (jax 0.10), and
    the process would end in a segmentation fault.
    """
    if code == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def aligned(
    rows: Sequence[Sequence[str]], place: Callable[[str, int], str] = str.ljust
) -> list[str]:
    """Lines of rows of cells, whose columns are as wide as their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(place, row, widths)).rstrip() for row in rows]


def command_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of `python -m MODULE`, which takes no shortened flags.

    Args:
        description: shown by --help with its lines as they are.
    """
    return argparse.ArgumentParser(
        allow_abbrev=False,
        prog=f"python -m {module}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _escaped(match: re.Match) -> str:
    return match[0].encode("unicode_escape").decode("ascii")
