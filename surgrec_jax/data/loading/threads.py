"""Threads for one process's clips, and the start of every worker process."""

import functools
import math
import multiprocessing
import multiprocessing.connection
import os
import queue
import threading
import weakref
from collections.abc import Callable

import cv2

from surgrec_jax.safety.errors import UserError


class StalledError(UserError, TimeoutError):
    """Nothing was finished for too long; the message names the calls under way."""


class Threads:
    """Runs a function over range(count) on `num_threads` threads; picklable without its threads.

    With 0 threads the caller's own does the work. The work should release the GIL. The threads are
    daemons, not an executor's: the interpreter would wait for ever for one that hangs in a dead
    file system.

    Args:
        timeout_s: seconds in which no call ends after which `run` gives up (with threads only).
    """

    def __init__(self, num_threads: int, timeout_s: float = math.inf):
        self.num_threads, self.timeout_s = num_threads, timeout_s
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = self._stalled = False
        self._lock = threading.Lock()
        weakref.finalize(self, _release, self._queue, num_threads)  # if it is never closed

    def __getstate__(self) -> dict:
        return {"num_threads": self.num_threads, "timeout_s": self.timeout_s}

    def __setstate__(self, state: dict) -> None:
        self.__init__(**state)

    def run(
        self,
        function: Callable[[int], None],
        count: int,
        describe: Callable[[int], str] = "call {}".format,
    ) -> None:
        """Returns when all calls are done; raises the error of the first number that failed.

        Args:
            describe: describes call i for StalledError.

        Raises:
            RuntimeError: `close` was called before or meanwhile.
            StalledError: no call ended for `timeout_s`.
        """
        if not self.num_threads:
            for i in range(count):
                self._call(function, i)
            return
        calls = _Calls(functools.partial(self._call, function))
        errors: dict[int, BaseException] = {}
        limit = None if math.isinf(self.timeout_s) else self.timeout_s
        try:
            for i in range(count):
                self._submit(calls, i)
            for _ in range(count):
                i, error = calls.ended.get(timeout=limit)
                if error is not None:
                    errors[i] = error
                    calls.cancelled = True
        except queue.Empty:
            self._stalled = True
            running = "; ".join(describe(i) for i in sorted(calls.running))
            raise StalledError(
                f"no clip was finished for {self.timeout_s:g} s; under way: {running}. Is "
                "the storage there? Raise data.timeout_s if it is only slow"
            ) from None
        finally:
            calls.cancelled = True
        if errors:
            raise errors[min(errors)]

    def close(self) -> None:
        """Ends the threads; a `run` still under way fails. A thread that hangs is left behind."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        _release(self._queue, self.num_threads)
        for thread in threads:
            if not self._stalled:
                thread.join()

    def _call(self, function: Callable[[int], None], i: int) -> None:
        if self._closed:
            raise RuntimeError("the batches were closed")
        function(i)

    def _submit(self, calls: "_Calls", i: int) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError("the batches were closed")
            while len(self._threads) < self.num_threads:
                thread = threading.Thread(
                    target=_work, args=[self._queue], daemon=True, name=f"clips {i}"
                )
                thread.start()
                self._threads.append(thread)
            self._queue.put((calls, i))


class _Calls:
    """The calls of one `run`. Its queue, unlike a future, has no lock that Ctrl-C leaves locked."""

    def __init__(self, call: Callable[[int], None]):
        self.call = call
        self.cancelled = False  # those that have not begun end at once
        self.running: set[int] = set()
        self.ended: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()

    def do(self, i: int) -> None:
        self.running.add(i)
        try:
            if not self.cancelled:
                self.call(i)
        except BaseException as error:
            self.ended.put((i, error))
        else:
            self.ended.put((i, None))
        finally:
            self.running.discard(i)


def _work(tasks: queue.SimpleQueue) -> None:
    """Does the tasks of a queue, in a thread, until it takes None off it."""
    while (task := tasks.get()) is not None:
        calls, i = task
        calls.do(i)
        del task, calls  # an idle thread holds no batch


def _release(tasks: queue.SimpleQueue, threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)


def start_worker(index: int, count: int) -> None:
    """Prepares a worker process, as Grain's worker_init_fn."""
    del index, count
    cv2.setNumThreads(1)  # OpenCV's own threads would only get in the way of ours
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone, as a killed parent cannot tell it to."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
