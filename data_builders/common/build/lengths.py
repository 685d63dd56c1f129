"""How long videos are, before they are built: by their headers, or decoded where that is doubted.

Videos are opened in a process of their own, so that a file that crashes or stalls the decoder costs
nothing but its own answer. Where the program runs other threads, which a fork could not take along,
they are opened in this process.
"""

import contextlib
import dataclasses
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_builders.common.build.decode_process import forked
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.video.container import DEFAULT, DecodeSpec
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


def measure(
    videos: Sequence[tuple[Path, ...]], *, decode: bool = False, decode_spec: DecodeSpec = DEFAULT
) -> list[Length | None]:
    """The lengths of videos; None for one that cannot be opened, or whose header tells none.

    Args:
        videos: the files of each, one or the parts in order.
        decode: decode every frame rather than believe headers; folders of pictures always are.
        decode_spec: of `read_video`.
    """
    if threading.active_count() > 1 or "jax" in sys.modules:
        return [_length(files, decode, decode_spec) for files in videos]
    found: list[Length | None] = []
    while len(found) < len(videos):
        found += _apart(videos[len(found) :], decode, decode_spec)
    return found


def _apart(
    videos: Sequence[tuple[Path, ...]], decode: bool, spec: DecodeSpec
) -> Iterator[Length | None]:
    """Lengths from another process; when it dies, None for the video that it was at."""
    given = 0
    with forked(_serve, videos, decode, spec) as (_, channel):
        while given < len(videos):
            if not channel.poll(STALL_S):
                break
            try:
                kind, value = channel.recv()
            except EOFError:
                break
            if kind == "length":
                given += 1
                yield value
        if given < len(videos):
            yield None


def _serve(videos, decode: bool, spec: DecodeSpec, ours, theirs) -> None:
    ours.close()
    with contextlib.suppress(BrokenPipeError), one_thread_and_quiet():
        for files in videos:
            length = _length(files, decode, spec, lambda: theirs.send(("alive", None)))
            theirs.send(("length", length))
    theirs.close()
    os._exit(0)


def _length(
    files: Sequence[Path], decode: bool, spec: DecodeSpec, alive=lambda: None
) -> Length | None:
    seconds, frames, fps = 0.0, 0, 0.0
    for path in files:
        try:
            report = _read(path, spec, alive) if decode else probe(path, decode_spec=spec)
        except BadInput:
            return None
        length = report.duration if decode else report.header_seconds
        if not length:
            return None
        fps = fps or report.native_fps
        claimed = report.header_frames or round(length * report.native_fps)
        frames += report.frames_read if decode else claimed
        seconds += length
    return Length(seconds, frames, fps, decode)


def _read(path: Path, spec: DecodeSpec, alive) -> ReadReport:
    report = ReadReport()
    pictures = {"image_fps": spec.native_fps, "image_start": None}
    for _ in read_video(path, fps=1.0, short_side=16, report=report, decode_spec=spec, **pictures):
        alive()
    return report
