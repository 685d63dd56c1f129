"""Storage that fails for a while: told apart from damage, waited for with growing pauses."""

import errno
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from absl import logging

from surgrec_jax.safety.errors import UserError

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0  # seconds; doubled from one to the other

# ArrayRecord (Riegeli) words an error of the system as "pread() failed: Input/output error; ...".
_SYSTEM_CALL = re.compile(r"\b[a-z_0-9]+\(\) failed: ([^;]+)")
# What no waiting mends. All else that the system says may pass: EIO, ESTALE, ETIMEDOUT, EACCES of
# an expired ticket, ...
_LASTING = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
_LASTING_WORDS = {os.strerror(number) for number in _LASTING}


class StorageError(UserError, OSError):
    """The file system failed; the data may be sound. The message names the file and the error."""


def trouble(path: Path, error: Exception) -> StorageError | None:
    """The StorageError behind a failed read of `path`, or None where the file itself is at fault.

    A missing file counts as storage trouble while the folder it lies in is missing too: then a file
    system has probably gone, not a shard.
    """
    if isinstance(error, OSError):
        lasting, words = error.errno in _LASTING, error.strerror
    else:
        match = _SYSTEM_CALL.search(str(error))
        if match is None:
            return None
        lasting, words = match[1] in _LASTING_WORDS, match[1]
    if lasting and path.parent.is_dir():
        return None
    return StorageError(f"{path} cannot be read: {words}")


def patiently(read: Callable, patience_s: float):
    """`read()`, tried again while it raises StorageError, for up to `patience_s` seconds.

    Raises:
      StorageError: the storage did not come back; says for how long it was waited for.
    """
    began, wait = time.monotonic(), FIRST_WAIT
    while True:
        try:
            return read()
        except StorageError as error:
            waited = time.monotonic() - began
            if waited + wait > patience_s:
                raise StorageError(
                    f"{error} (tried again for {waited:.0f} s). Bring the storage back and give "
                    "the same command again"
                ) from error
            logging.warning("%s; trying again in %g s", error, wait)
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)
