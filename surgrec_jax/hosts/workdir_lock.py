"""One run per workdir: a lock that a dead process does not hold."""

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from absl import logging

from surgrec_jax.safety.errors import UserError

FILE = "lock"


class WorkdirInUseError(UserError, RuntimeError):
    """Another process trains in this workdir."""


@contextlib.contextmanager
def held(workdir: Path) -> Iterator[None]:
    """Holds the lock of a workdir; the kernel releases it when the process ends, however it ends.

    It is `flock(2)`: Linux carries it over NFS (v4, or v3 with a lock service) to other hosts, and
    Lustre where it is mounted with -o flock. On a file system without locks a run starts all the
    same, with a warning.

    Raises:
        WorkdirInUseError: with process id, host and starting time of the one that holds it.
    """
    # Not truncated by opening: what the holder wrote is still to be read.
    with open(workdir / FILE, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read(1000).strip() or "a process that has not said which"
            raise WorkdirInUseError(
                f"{workdir} is in use by {holder}; wait for it, stop it, or give another --workdir"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
            logging.warning(
                "%s has no file locks (%s): nothing keeps a second run out of it", workdir, error
            )
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}, started "
            f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n"
        )
        file.flush()
        yield
