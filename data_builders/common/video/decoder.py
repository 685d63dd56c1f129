"""Decodes a picture track, goes on after damaged packets, and counts what FFmpeg reports.

Codecs that show frames again by their place in a buffer (VP8, VP9, AV1) show old ones there after
damage; for them reading goes on at the next key frame.
"""

import dataclasses
import logging
import math
from collections.abc import Iterator
from typing import NamedTuple

import av

from data_builders.common.video.container import OpenedFile
from data_builders.common.video.upright import Deinterlacer
from surgrec_jax.records.errors import safe_text

# Reading goes on after an error of the container; at a damaged end every attempt fails.
MAX_FAILED_READS = 100

av.logging.set_level(av.logging.ERROR)  # nothing below reaches us
av.logging.set_skip_repeated(False)
logging.getLogger("libav").setLevel(logging.CRITICAL + 1)  # what is not counted here is not printed


class Decoded(NamedTuple):
    """A whole frame and its raw time stamp in seconds (NaN where it has none).

    Whether, since the frame before, decoding failed, and the container's decoding times fell: its
    clock was set back.
    """

    frame: av.VideoFrame
    stamp: float
    after_damage: bool
    after_restart: bool


@dataclasses.dataclass
class Faults:
    """The faults that decoding met.

    Attributes:
        places: times that decoding failed, or the container marked what it held as damaged, and a
            frame came later, or the file ended.
        pictures: those that came marked as damaged.
        messages: errors that FFmpeg reported, of which pictures may be damaged.
        first: the first of these messages, or "".
        read_to: bytes from the start of the file to the end of the track's last packet.
    """

    places: int = 0
    pictures: int = 0
    messages: int = 0
    first: str = ""
    read_to: int = 0

    def take(self, logs: list[tuple[int, str, str]]) -> bool:
        """Counts captured messages; whether there were any."""
        self.messages += len(logs)
        if logs and not self.first:
            _, name, text = logs[0]
            self.first = safe_text(f"{name}: {' '.join(text.split())}"[:120])
        return bool(logs)


def decode(
    file: OpenedFile, faults: Faults, deinterlacer: Deinterlacer | None = None
) -> Iterator[Decoded]:
    """Yields frames in the order in which they are shown; what cannot be decoded is left out.

    Args:
        file: an opened file, at its start.
        faults: filled along the way.
        deinterlacer: makes whole pictures of interlaced frames; None keeps them as they were coded.
    """
    if deinterlacer is None:
        yield from _frames(file, faults)
        return
    for frame, *rest in _frames(file, faults):
        for whole, its_rest in deinterlacer.push(frame, rest):
            yield Decoded(whole, *its_rest)
    for whole, its_rest in deinterlacer.flush():
        yield Decoded(whole, *its_rest)


def _frames(file: OpenedFile, faults: Faults) -> Iterator[Decoded]:
    scale = float(file.stream.time_base or 0)
    unstamped = file.bare or not scale
    failing, damaged = False, False  # since the last frame: an error, or at least a message
    dts, restarted = -math.inf, False
    waiting, has_pts = False, False  # waiting for a key frame
    told = 0  # messages so far; those that come with a packet are the container's
    for packet in _packets(file, faults):
        damaged |= faults.messages > told
        frames: list[av.VideoFrame] = []
        failed = packet is None or packet.is_corrupt
        if packet is not None and packet.dts is not None:
            restarted |= packet.dts < dts
            dts = packet.dts
        if packet is not None:
            with av.logging.Capture() as logs:
                try:
                    frames = file.stream.decode(packet if packet.size else None)
                except (av.error.EOFError, av.error.BlockingIOError):
                    pass
                except av.error.MemoryError:
                    raise
                except (av.FFmpegError, ValueError):
                    failed = True
            damaged |= faults.take(logs)
        told = faults.messages
        if failed and not failing:
            failing = damaged = True
            faults.places += 1
        for frame in frames:
            faults.pictures += frame.is_corrupt
            damaged |= frame.is_corrupt
            waiting |= failing and file.shows_old_frames
            waiting &= not frame.key_frame
            if waiting:
                continue
            has_pts |= frame.pts is not None
            stamp = frame.pts if has_pts else frame.dts  # decoding times alone serve as well
            seconds = math.nan if unstamped or stamp is None else stamp * scale
            yield Decoded(frame, seconds, damaged, restarted)
            failing = damaged = restarted = False


def _packets(file: OpenedFile, faults: Faults) -> Iterator[av.Packet | None]:
    """The track's packets and an empty one at the end; None in place of each that is unreadable."""
    failed = 0
    while failed < MAX_FAILED_READS:
        packets = file.container.demux(file.stream)
        while True:
            with av.logging.Capture() as logs:
                try:
                    packet = next(packets, None)
                except av.error.MemoryError:
                    raise
                except IndexError:  # PyAV 18, at the end, of a track that began in mid-file
                    return
                except (av.FFmpegError, ValueError):
                    packet, failed = None, failed + 1
                    break
                finally:
                    faults.take(logs)
            if packet is None:
                return
            failed = 0
            faults.read_to = max(faults.read_to, (packet.pos or 0) + packet.size)
            yield packet
        yield packet
    yield av.Packet()
