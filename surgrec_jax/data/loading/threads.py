"""Threads for one process's clips, and what every worker process does first."""

import concurrent.futures as futures
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
    """Nothing was finished for too long; the message names what is under way."""


class Threads:
    """Runs a function over range(count) on `num_threads` threads; picklable without its threads.

    With 0 threads the caller's own does the work. Meant for work that releases the GIL. The threads
    are daemons of our own, not an executor's: the interpreter would wait for ever for one that
    hangs in a dead file system.

    Args:
      timeout_s: after so many seconds in which no call ended, `run` gives up (with threads only).
    """

    def __init__(self, num_threads: int, timeout_s: float = math.inf):
        self.num_threads, self.timeout_s = num_threads, timeout_s
        self._queue: queue.SimpleQueue = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = self._stalled = False
        self._lock = threading.Lock()
        weakref.finalize(self, _release, self._queue, num_threads)  # also when never closed

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
          describe: what call i is at, for StalledError.

        Raises:
          RuntimeError: `close` was called before or meanwhile.
          StalledError: no call ended for `timeout_s` (found after up to twice that time).
        """
        if not self.num_threads:
            for i in range(count):
                self._call(function, i)
            return
        tasks = [self._submit(function, i) for i in range(count)]
        waiting, pending = len(tasks), tasks
        limit = None if math.isinf(self.timeout_s) else self.timeout_s
        while pending:
            done, pending = futures.wait(tasks, limit, futures.FIRST_EXCEPTION)
            if any(task.exception() for task in done):
                break
            if pending and len(pending) == waiting:
                self._stalled = True
                running = [describe(i) for i, task in enumerate(tasks) if task.running()]
                for task in pending:
                    task.cancel()
                raise StalledError(
                    f"no clip was finished for {limit:g} s; under way: {'; '.join(running)}. Is "
                    "the storage there? Raise data.timeout_s if it is only slow"
                )
            waiting = len(pending)
        for task in pending:
            task.cancel()
        futures.wait(pending)
        for task in tasks:
            if task.done() and not task.cancelled():
                task.result()

    def close(self) -> None:
        """Ends the threads; a `run` still under way fails. A thread that hangs is left behind."""
        with self._lock:
            self._closed = True
            threads, self._threads = self._threads, []
        _release(self._queue, len(threads))
        for thread in threads:
            if not self._stalled:
                thread.join()

    def _call(self, function: Callable[[int], None], i: int) -> None:
        if self._closed:
            raise RuntimeError("the batches were closed")
        function(i)

    def _submit(self, function: Callable[[int], None], i: int) -> futures.Future:
        with self._lock:
            if self._closed:
                raise RuntimeError("the batches were closed")
            while len(self._threads) < self.num_threads:
                thread = threading.Thread(
                    target=_work, args=[self._queue], daemon=True, name=f"clips {i}"
                )
                self._threads.append(thread)
                thread.start()
            future: futures.Future = futures.Future()
            self._queue.put((future, self._call, function, i))
            return future


def _work(tasks: queue.SimpleQueue) -> None:
    """What a thread does until it takes None off the queue."""
    while (task := tasks.get()) is not None:
        future, call, function, i = task
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call(function, i))
            except BaseException as error:
                future.set_exception(error)
        del task, future, call, function  # an idle thread holds no batch


def _release(tasks: queue.SimpleQueue, threads: int) -> None:
    for _ in range(threads):
        tasks.put(None)


def start_worker(index: int, count: int) -> None:
    """Run first in every worker process, as Grain's worker_init_fn."""
    del index, count
    cv2.setNumThreads(1)  # OpenCV's own threads would only get in the way of ours
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: a killed parent (kill -9) cannot tell it to."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
