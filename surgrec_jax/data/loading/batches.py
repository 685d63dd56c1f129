"""The iterator of batches that callers hold: closable, and watching the workers behind it."""

import contextlib
import math
import multiprocessing
import queue
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import grain
from absl import logging

from surgrec_jax.data.loading.faults import BadRecords
from surgrec_jax.data.loading.threads import StalledError, Threads
from surgrec_jax.safety.errors import UserError

_WORKER = "grain-process-prefetch"  # how Grain's worker processes are called
# Beyond the loader's own time-out, so that a worker's report, which names a record, comes first: it
# may take twice that time to notice.
_GRACE_S = 10.0


class WorkerDiedError(UserError, ChildProcessError):
    """A loader process ended by itself or was killed."""


class Batches(Iterator[dict]):
    """An iterator of batches that can be closed; also a context manager.

    Closing ends the threads and worker processes behind it; it closes itself at the end and after
    an error.

    Args:
      dataset: gives dicts, with BadRecords under "bad" or not.
      threads: of the loader, ended here.
      bad: takes what stands under "bad", in the order of the batches.
      watched: whether worker processes make the batches; they are watched then.
    """

    def __init__(
        self, dataset: grain.IterDataset, threads: Threads, bad: BadRecords | None, watched: bool
    ):
        self.bad = bad
        iterator = iter(dataset)
        if watched:
            iterator = _Watch(iterator, 2 * threads.timeout_s + _GRACE_S)
        self._iterator = [iterator]
        # Also when it is forgotten, or the interpreter ends: workers must not outlive it. The list
        # is emptied then, as Grain's own clean-up fails once the interpreter is half gone.
        self.close = weakref.finalize(self, _close, self._iterator, threads)

    def __next__(self) -> dict:
        if not self.close.alive:
            raise StopIteration
        try:
            batch = next(self._iterator[0])
            met = batch.pop("bad", ())
            if self.bad is not None:
                self.bad.add(met)
            return batch
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def _close(iterator: list, threads: Threads) -> None:
    iterator.pop().close()
    threads.close()


class _Watch:
    """Takes batches from Grain's worker processes in a thread, to notice when none comes."""

    def __init__(self, iterator: grain.DatasetIterator, timeout_s: float):
        self._iterator, self._timeout_s = iterator, timeout_s
        self._asked: queue.SimpleQueue = queue.SimpleQueue()
        self._given: queue.SimpleQueue = queue.SimpleQueue()
        self._busy = False
        args = iterator, self._asked, self._given
        threading.Thread(target=_take, args=args, daemon=True, name="batches").start()

    def __next__(self) -> dict:
        self._asked.put(True)
        self._busy = True
        limit = None if math.isinf(self._timeout_s) else self._timeout_s
        try:
            batch, error = self._given.get(timeout=limit)
        except queue.Empty:
            states = ", ".join(f"{child.pid} {_state(child)}" for child in _workers())
            raise StalledError(
                f"no batch came from the loader's worker processes for {limit:g} s (process "
                f"{states}). Give the same command again; raise data.timeout_s if they are only "
                "slow"
            ) from None
        self._busy = False
        if isinstance(error, RuntimeError) and "terminated unexpectedly" in str(error):
            raise WorkerDiedError(
                f"a worker process of the loader died: {error} (killed, or out of memory?) Give "
                "the same command again, with fewer data.num_workers if memory is short"
            ) from error
        if error is not None:
            raise error
        return batch

    def close(self) -> None:
        if self._busy:  # stalled: what does not answer will not end when asked either
            for child in _workers():
                logging.warning("ending loader process %d, which does not answer", child.pid)
                child.kill()
        self._asked.put(False)
        self._iterator.close()


def _take(iterator, asked: queue.SimpleQueue, given: queue.SimpleQueue) -> None:
    while asked.get():
        try:
            given.put((next(iterator), None))
        except BaseException as error:  # handed to the caller, whatever it is
            given.put((None, error))


def _workers() -> list:
    return [c for c in multiprocessing.active_children() if c.name.startswith(_WORKER)]


def _state(child) -> str:
    """What the system says of a process, e.g. stopped or waiting for a disk."""
    with contextlib.suppress(OSError, IndexError):
        letter = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
        return {
            "T": "is stopped", "D": "waits for a disk", "S": "sleeps", "R": "runs", "Z": "is dead",
        }.get(letter, letter)  # fmt: skip
    return "is alive"
