"""Reads one video in a process of its own.

A file that crashes, stalls or bloats the decoder costs its own video and nothing else.

The process is a fork of the shard's writer: it starts in milliseconds, shares its memory, has the
limits below, and sends serialised records back. Where the writer runs other threads that a fork
could not take along (Beam's workers, a caller with JAX), videos are read in the writer's own
process instead: `read_here`.
"""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.connection
import os
import resource
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import cv2
from tensorflow_datasets.core import example_serializer

from data_builders.common.source.builder import VideoDatasetBuilder, VideoItem
from data_builders.common.video.frames import ReadReport
from surgrec_jax.records.errors import BadInput
from surgrec_jax.safety.errors import UserError

MEMORY = 2 * 2**30 - 2**28  # bytes that reading a video may take beyond what the writer has
STALL_S = 60.0  # from one decoded frame to the next
OPEN_S = 900.0  # before the first frame: annotations are read, phantoms drawn and encoded
_BEAT_S = 0.5
_PR_SET_PDEATHSIG = 1

Serialised = tuple[bytes, int]  # a record, and its number of frames


def read_here(
    builder: VideoDatasetBuilder,
    item: VideoItem,
    report: ReadReport,
    scratch: Path,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Serialised]:
    """The records of a video, serialised, read in this process; never calls `tick`.

    Raises:
        BadInput: the video cannot be used (possibly after some records were given).
    """
    features = builder.info.features
    serializer = example_serializer.ExampleSerializer(features.get_serialized_info())
    try:
        for _, example in builder.records(item, report, scratch):
            encoded = features.encode_example(example)
            # Deterministic: the order of a protobuf map is otherwise free.
            data = serializer.get_tf_example(encoded).SerializeToString(deterministic=True)
            yield data, len(example["frames"])
    except (MemoryError, cv2.error, av.FFmpegError) as error:
        words = " ".join(str(error).split())[:200] or "it needs too much memory"
        raise BadInput(item.path or item.video_id, f"cannot be processed: {words}") from error


def read_apart(
    builder: VideoDatasetBuilder,
    item: VideoItem,
    report: ReadReport,
    scratch: Path,
    tick: Callable[[], None] = lambda: None,
) -> Iterator[Serialised]:
    """`read_here` in a process of its own; `report` is complete when the records are exhausted.

    Args:
        tick: called at least every half second; it may raise to stop.

    Raises:
        BadInput: as `read_here`; or the process crashed, took too much memory, or decoded nothing
            for too long.
    """
    with forked(_serve, builder, item, scratch) as (process, channel):
        yield from _receive(process, channel, item, report, tick)


@contextlib.contextmanager
def forked(serve: Callable[..., None], *args: Any) -> Iterator[tuple[Any, Any]]:
    """A fork of this process that runs `serve(*args, ours, theirs)`; it is killed at the end.

    `ours` and `theirs` are the ends of a pipe: this process reads from `ours`, and `serve` writes.

    Yields:
        The process, and `ours`.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=serve, args=(*args, ours, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join()


def _receive(process, channel, item, report, tick) -> Iterator[Serialised]:
    what = item.path or item.video_id
    heard = time.monotonic()
    while True:
        tick()
        if not channel.poll(_BEAT_S):
            allowed = STALL_S if report.frames_read else OPEN_S
            if time.monotonic() > heard + allowed:
                raise BadInput(what, f"stalls the decoder: no frame came for {allowed:.0f} s")
            continue
        try:
            kind, value = channel.recv()
        except EOFError:
            process.join()
            raise BadInput(what, f"crashes the decoder ({_ending(process.exitcode)})") from None
        heard = time.monotonic()
        if kind == "record":
            data, frames, report.frames_read = value
            yield data, frames
        elif kind == "read":
            report.frames_read = value
        else:
            report.__dict__.update(value[0].__dict__)
            if kind == "failed":
                raise value[1]
            return


def _ending(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _serve(builder, item, scratch, ours, theirs) -> None:
    """The process: sends records, signs of life, and in the end the report."""
    ours.close()
    _end_with(os.getppid())
    _limit_memory()
    report, lock = ReadReport(), threading.Lock()

    def send(kind, value):
        try:
            with lock:
                theirs.send((kind, value))
        except BrokenPipeError:  # the writer does not want more
            os._exit(0)

    threading.Thread(target=_beat, args=(report, send), daemon=True).start()
    try:
        for data, frames in read_here(builder, item, report, scratch):
            send("record", (data, frames, report.frames_read))
    except UserError as error:
        send("failed", (report, error))
    except BaseException:  # a bug of ours: told in full, in the writer's process
        send("failed", (report, RuntimeError(traceback.format_exc())))
    else:
        send("done", (report,))
    theirs.close()


def _beat(report: ReadReport, send) -> None:
    told = 0
    while True:
        time.sleep(_BEAT_S)
        if report.frames_read != told:
            told = report.frames_read
            send("read", told)


def _end_with(parent: int) -> None:
    """Lets the system end this process when its parent is killed; a broken pipe does elsewhere."""
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (AttributeError, OSError):  # not Linux
        return
    if os.getppid() != parent:
        os._exit(1)


def _limit_memory() -> None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:  # not Linux
        return
    limit = pages * resource.getpagesize() + MEMORY
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
