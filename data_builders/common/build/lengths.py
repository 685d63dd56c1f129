"""How long videos are, before they are built: by their headers, or decoded where that is doubted.

Videos are opened in a process of their own, so that a file that crashes or stalls the decoder costs
nothing but its own answer. Where the program runs other threads, which a fork could not take along,
they are opened in this process.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import probe, read_video
from surgrec_jax.records.errors import BadInput

STALL_S = 60.0  # from one second of video to the next


@dataclasses.dataclass(frozen=True)
class Length:
    """The length of a video, or of the parts of one together.

    Attributes:
      seconds, frames: from the start to the end of the last frame; the number of frames.
      fps: frames per second.
      decoded: whether every frame was decoded; else the header claims it.
    """

    seconds: float
    frames: int
    fps: float
    decoded: bool


def measure(videos: Sequence[tuple[Path, ...]], *, decode: bool = False) -> list[Length | None]:
    """The lengths of videos; None for one that cannot be opened, or whose header tells none.

    Args:
      videos: the files of each, one or the parts in order.
      decode: decode every frame rather than believe headers.
    """
    if threading.active_count() > 1 or "jax" in sys.modules:
        return [_length(files, decode) for files in videos]
    found: list[Length | None] = []
    while len(found) < len(videos):
        found += _apart(videos[len(found) :], decode)
    return found


def _apart(videos: Sequence[tuple[Path, ...]], decode: bool) -> Iterator[Length | None]:
    """Lengths from another process; when it dies, None for the video that it was at."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(videos, decode, ours, theirs))
    process.start()
    theirs.close()
    given = 0
    try:
        while given < len(videos):
            if not ours.poll(STALL_S):
                break
            try:
                kind, value = ours.recv()
            except EOFError:
                break
            if kind == "length":
                given += 1
                yield value
        if given < len(videos):
            yield None
    finally:
        ours.close()
        if process.is_alive():
            process.kill()
        process.join()


def _serve(videos, decode: bool, ours, theirs) -> None:
    ours.close()
    with contextlib.suppress(BrokenPipeError), one_thread_and_quiet():
        for files in videos:
            theirs.send(("length", _length(files, decode, lambda: theirs.send(("alive", None)))))
    theirs.close()
    os._exit(0)


def _length(files: Sequence[Path], decode: bool, alive=lambda: None) -> Length | None:
    seconds, frames, fps = 0.0, 0, 0.0
    for path in files:
        try:
            if decode:
                report = ReadReport()
                for _ in read_video(path, fps=1.0, short_side=16, report=report):
                    alive()
            else:
                report = probe(path)
        except BadInput:
            return None
        count = report.frames_read if decode else report.header_frames
        if count <= 1 and not decode:
            return None
        fps = fps or report.native_fps
        frames += count
        seconds += report.duration if decode else count / report.native_fps
    return Length(seconds, frames, fps, decode)
