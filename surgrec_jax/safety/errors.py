"""Mistakes that a user can mend, which every command tells from bugs.

A `UserError` says in one sentence what is wrong and what to do; a command prints it and no
traceback. The same holds for an `OSError` of the file system, which names a path and a reason, and
for memory that has run out. Any other exception is a bug: its traceback is shown, with a request
to report it. Code that raises a plain `ValueError` therefore says "this cannot happen, whatever the
user does".
"""

import logging
import sys
import traceback
from collections.abc import Callable

BUG = 1  # the exit code of an error that nobody foresaw
INTERRUPTED = 130  # the exit code after Ctrl-C
REPORT = (
    "This is a bug, not your mistake: please report it to the project, with the command and the "
    "lines above."
)

_log = logging.getLogger(__name__)


class UserError(Exception):
    """Something that a user can mend. The message is one sentence with the remedy."""


class ConfigError(UserError, ValueError):
    """A value that was chosen (in a config, by a flag, as an argument) cannot be used."""


class DataError(UserError, ValueError):
    """A file, or the numbers read from it, cannot be used."""


class MissingError(UserError, FileNotFoundError):
    """Something that was named does not exist."""


def sentence(error: BaseException) -> str | None:
    """The words for a mistake that a user can mend; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno is not None:
        reason = error.strerror or str(error)
        return reason if error.filename is None else f"{error.filename}: {reason}"
    return f"out of memory: {error}" if out_of_memory(error) else None


def out_of_memory(error: BaseException) -> bool:
    """Whether the host, or a device of JAX, had no memory left."""
    return isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")


def tell(program: str, error: BaseException) -> bool:
    """Prints an error to stderr: its sentence, or a bug's traceback with a request to report it.

    The traceback of a user's mistake is logged at level DEBUG.

    Args:
        program: first word of the sentence.

    Returns:
        Whether it is a mistake that a user can mend.
    """
    words = sentence(error)
    if words is None:
        traceback.print_exception(error)
        print(REPORT, file=sys.stderr, flush=True)
        return False
    _log.debug("traceback", exc_info=error)
    print(f"{program}: {words}", file=sys.stderr, flush=True)
    return True


def run_command(
    program: str, work: Callable[[], int], *, failed: int = 1, interrupted: str = ""
) -> int:
    """Runs a command with every error told as `tell` does; returns the exit code.

    Args:
        program: first word of its sentences.
        work: the command; returns its exit code.
        failed: the exit code after a mistake that a user can mend.
        interrupted: the sentence after Ctrl-C, which ends with code 130.
    """
    try:
        return work()
    except Exception as error:
        return failed if tell(program, error) else BUG
    except KeyboardInterrupt:
        return tell_interrupted(interrupted or f"{program}: stopped")


def tell_interrupted(words: str) -> int:
    """Prints the sentence after Ctrl-C; returns its exit code."""
    print(f"\n{words}", file=sys.stderr, flush=True)
    return INTERRUPTED
