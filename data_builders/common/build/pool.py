"""Runs shard jobs, in this process or in several, with one progress bar and a clean stop."""

import contextlib
import fcntl
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from pathlib import Path

import cv2
from tqdm import tqdm

from data_builders.common.build.shards import ShardJob, ShardResult, write_shard
from data_builders.common.source.builder import VideoDatasetBuilder
from surgrec_jax.records.errors import BuildError

ALIVE = "workers"  # a file beside the shards that every living worker holds a lock on
_worker: dict = {}  # a worker process's state: its builder, its ends of the channels


class Stopped(Exception):
    """Raised inside a worker when the build is being stopped."""


def run_jobs(
    builder: VideoDatasetBuilder,
    jobs: Sequence[ShardJob],
    *,
    num_workers: int,
    strict: bool,
    progress: bool,
) -> dict[Path, ShardResult]:
    """Writes all shards, the largest first; results by the shard's path.

    Raises:
        BuildError: a shard cannot be written, or a worker died; finished shards are kept.
        KeyboardInterrupt: stopped by the user; finished shards are kept.
    """
    jobs = sorted(
        jobs, key=lambda job: -job.source_bytes
    )  # stable: large ones last would cost time
    if not jobs:
        return {}
    with _Bar(sum(len(job.items) for job in jobs), builder.name, progress) as bar:
        if num_workers == 1:
            with one_thread_and_quiet():
                return {
                    job.path: write_shard(builder, job, strict=strict, progress=bar.update)
                    for job in jobs
                }
        return _run_in_processes(builder, jobs, min(num_workers, len(jobs)), strict, bar)


def _run_in_processes(builder, jobs, num_workers, strict, bar) -> dict[Path, ShardResult]:
    context = multiprocessing.get_context("spawn")
    channel, stop = context.Queue(), context.Event()
    executor = futures.ProcessPoolExecutor(
        num_workers,
        context,
        initializer=_start_worker,
        initargs=(builder, channel, stop, strict, jobs[0].path.parent / ALIVE),
    )
    try:
        with _signals_held() as deliver:
            waiting = {executor.submit(_work, job): job for job in jobs}
            results: dict[Path, ShardResult] = {}
            while waiting:
                deliver()
                done, _ = futures.wait(waiting, timeout=0.2, return_when=futures.FIRST_COMPLETED)
                bar.drain(channel)
                for future in done:
                    job = waiting.pop(future)
                    results[job.path] = future.result()
        bar.drain(channel)
        return results
    except futures.process.BrokenProcessPool as error:
        raise BuildError(
            "a worker process died (killed, or out of memory); run the same command again, with "
            "fewer --workers if memory is short (finished shards are kept)."
        ) from error
    finally:
        stop.set()  # the others stop at their next record
        executor.shutdown(wait=True, cancel_futures=True)
        channel.cancel_join_thread()
        channel.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[Callable[[], None]]:
    """Holds Ctrl-C and SIGTERM back until the function that it yields is called, or the end.

    KeyboardInterrupt between two lines of the executor can leave a lock of it locked, for which
    its shutdown then waits for ever.
    """
    held: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():  # no other one runs handlers
        both = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {number: handler for number, handler in both.items() if callable(handler)}

    def deliver() -> None:
        while held:
            number = held.pop(0)
            before[number](number, None)

    for number in before:
        signal.signal(number, lambda number, _: held.append(number))
    try:
        yield deliver
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        deliver()


def wait_for_orphans(folder: Path) -> None:
    """Waits until no worker of a killed build writes in `folder`; they end by themselves."""
    with open(folder / ALIVE, "w") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)


def _start_worker(builder, channel, stop, strict, alive: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    lock = open(alive, "w")  # noqa: SIM115 (held as long as this process lives)
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not multiprocessing.parent_process().is_alive():
        os._exit(1)
    _worker.update(builder=builder, channel=channel, stop=stop, strict=strict, lock=lock)
    _worker["quiet"] = contextlib.ExitStack()
    _worker["quiet"].enter_context(one_thread_and_quiet())
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot stop its workers: they end themselves."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _work(job: ShardJob) -> ShardResult:
    def progress(frames: int, videos: int) -> None:
        if _worker["stop"].is_set():
            raise Stopped
        _worker["channel"].put((frames, videos))

    # A worker is a fresh process whose threads only wait: it may fork one for every video.
    return write_shard(
        _worker["builder"], job, strict=_worker["strict"], progress=progress, isolated=True
    )


@contextlib.contextmanager
def one_thread_and_quiet() -> Iterator[None]:
    """One OpenCV thread (processes share the cores), and no messages of OpenCV (we report)."""
    threads, level = cv2.getNumThreads(), cv2.utils.logging.getLogLevel()
    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
        cv2.utils.logging.setLogLevel(level)


class _Bar:
    """Videos done, source frames read per second, time left."""

    def __init__(self, videos: int, name: str, shown: bool):
        # A terminal's line is redrawn several times a second; a log file gets a line now and then.
        self._terminal = sys.stderr.isatty()
        self._bar = tqdm(
            total=videos,
            desc=name,
            unit="video",
            disable=not shown,
            file=sys.stderr,
            smoothing=0.1,
            mininterval=0.1 if self._terminal else 15,
            maxinterval=10 if self._terminal else 30,
        )
        self._frames, self._start = 0, time.monotonic()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *exc) -> None:
        self._bar.close()

    def update(self, frames: int, videos: int) -> None:
        self._frames += frames
        rate = self._frames / max(1e-3, time.monotonic() - self._start)
        self._bar.set_postfix_str(f"{self._frames} frames, {rate:.0f} frames/s", refresh=False)
        self._bar.update(videos)

    def drain(self, channel) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self.update(*channel.get_nowait())
        if self._terminal:
            self._bar.refresh()
