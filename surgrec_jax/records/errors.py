"""Errors that a build reports, and file names made fit for printing and for records."""

import os
from pathlib import Path

from surgrec_jax.safety.errors import UserError


class BuildError(UserError, RuntimeError):
    """A build cannot start or go on. The message is one sentence that says what to do."""


class BadInput(UserError, ValueError):
    """A file of a source cannot be used: a build skips its video and lists it, or stops (--strict).

    Attributes:
        path: the file at fault, printable.
        reason: its fault.
        line: line number in that file, from 1, or None.
        where: the file and the line in it, if any, in one word.
    """

    def __init__(self, path: str | os.PathLike, reason: str, line: int | None = None):
        self.path = safe_text(path)
        self.reason = reason
        self.line = line
        self.where = self.path if line is None else f"{self.path}:{line}"
        super().__init__(f"{self.where}: {reason}")

    def __reduce__(self):  # exceptions travel between processes
        return BadInput, (self.path, self.reason, self.line)


def safe_text(name: str | os.PathLike) -> str:
    """A file name as printable UTF-8: undecodable bytes and control characters are escaped.

    File names are bytes; Python shows bytes that are not UTF-8 as lone surrogates, which neither a
    terminal nor a record can hold.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


def check_inside(path: Path, folder: Path) -> None:
    """Raises BadInput when `path`, links resolved, is not inside `folder`."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(path, f"leads out of the folder {safe_text(folder)}")
