"""The folder a data set grows in: held by one build, removed after it, listed if it stopped."""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_builders.common.build import pool
from data_builders.common.build.shards import SCRATCH, disk_trouble
from surgrec_jax.records.errors import BuildError, safe_text

WORK = ".building"  # in a data_dir: <name>/<config>/<version> below it


@contextlib.contextmanager
def claimed(work: Path) -> Iterator[None]:
    """Creates the work folder and holds it against a second build of the same data set."""
    try:
        (work / "shards").mkdir(parents=True, exist_ok=True)
        lock = open(work / "lock", "w")  # noqa: SIM115 (held, not read)
    except OSError as error:
        raise BuildError(disk_trouble(work, error.strerror)) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BuildError(
                f"another build is writing {safe_text(work)}; wait for it or stop it first."
            ) from None
        except OSError as error:  # a file system without locks
            raise BuildError(disk_trouble(work / "lock", error.strerror)) from error
        pool.wait_for_orphans(work / "shards")
        shutil.rmtree(work / "shards" / SCRATCH, ignore_errors=True)  # a killed run's
        yield


def discard(work: Path, work_root: Path) -> None:
    """Removes the work folder, and the folders above it that are empty then."""
    shutil.rmtree(work)
    for folder in work.parents:
        if not folder.is_relative_to(work_root):
            return
        try:
            folder.rmdir()
        except OSError:
            return  # another build is at work there


def unfinished(data_dir: Path) -> Sequence[str]:
    """Interrupted builds in `data_dir`, as name/config/version."""
    work_root = data_dir / WORK
    return sorted(lock.parent.relative_to(work_root).as_posix() for lock in work_root.rglob("lock"))
