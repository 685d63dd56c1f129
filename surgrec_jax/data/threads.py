"""Threads for one process's clips, and what every worker process does first."""

import concurrent.futures as futures
import multiprocessing
import multiprocessing.connection
import os
import threading
from collections.abc import Callable

import cv2


class Threads:
    """Runs a function over range(count) on `num_threads` threads; picklable without its threads.

    With 0 threads the caller's own does the work. Meant for work that releases the GIL.
    """

    def __init__(self, num_threads: int):
        self.num_threads = num_threads
        self._pool: futures.ThreadPoolExecutor | None = None
        self._closed = False
        self._lock = threading.Lock()

    def __getstate__(self) -> dict:
        return {"num_threads": self.num_threads}

    def __setstate__(self, state: dict) -> None:
        self.__init__(state["num_threads"])

    def run(self, function: Callable[[int], None], count: int) -> None:
        """Returns when all calls are done; raises the error of the first number that failed.

        Raises:
          RuntimeError: `close` was called before or meanwhile.
        """
        if not self.num_threads:
            for i in range(count):
                self._call(function, i)
            return
        tasks = [self._submit(function, i) for i in range(count)]
        done, pending = futures.wait(tasks, return_when=futures.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        futures.wait(pending)
        for task in tasks:
            if task in done:
                task.result()

    def close(self) -> None:
        """Ends the threads; a `run` still under way fails."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            # Not cancel_futures: what it takes off the queue wakes no one, and `run` would wait for
            # ever. The calls still queued fail at once instead.
            pool.shutdown()

    def _call(self, function: Callable[[int], None], i: int) -> None:
        if self._closed:
            raise RuntimeError("the batches were closed")
        function(i)

    def _submit(self, function: Callable[[int], None], i: int) -> futures.Future:
        with self._lock:
            if self._closed:
                raise RuntimeError("the batches were closed")
            if self._pool is None:
                self._pool = futures.ThreadPoolExecutor(self.num_threads, "clips")
            return self._pool.submit(self._call, function, i)


def start_worker(index: int, count: int) -> None:
    """Run first in every worker process, as Grain's worker_init_fn."""
    del index, count
    cv2.setNumThreads(1)  # OpenCV's own threads would only get in the way of ours
    threading.Thread(target=_end_with_parent, name="parent watch", daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: a killed parent (kill -9) cannot tell it to."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
