"""Opens a video file with FFmpeg (through PyAV) and chooses its picture track.

Files are untrusted: only video containers are accepted (no play lists, which could name other
files), no protocol but the local file's own, and absurd picture sizes are refused before a picture
is allocated.
"""

import contextlib
import dataclasses
import os
import re
import stat
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av

from data_builders.common.video.dicom import DicomVideo, is_dicom, open_dicom
from surgrec_jax.records.errors import BadInput, safe_text
from surgrec_jax.safety.errors import ConfigError

MAX_PIXELS = 64 * 2**20  # pixels of one picture; 8K video has 33 million
MAX_SIDE = 16384
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,dv,h261,h263,"
    "h264,hevc,vvc,av1,obu,m4v,vc1,mjpeg,ivf,gif,rm,wtv,gxf,nut,nsv,yuv4mpegpipe"
)
# Containers of one bare stream. They keep no time stamps: FFmpeg makes some up from a rate.
BARE = frozenset(("mpegvideo", "h261", "h263", "h264", "hevc", "vvc", "m4v", "vc1", "mjpeg"))
# Containers whose clock may start anew in mid-file (AVFMT_TS_DISCONT in FFmpeg).
RESTARTING = frozenset(("mpegts", "mpeg"))
_NO_RATE = Fraction(1001, 1000)  # a rate that no camera has: FFmpeg's where a file names none
_PASSED_OVER = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails


@dataclasses.dataclass(frozen=True)
class DecodeSpec:
    """A user's decisions about decoding.

    Attributes:
        interlaced: "deinterlace" makes one whole picture of the two fields of an interlaced frame;
            "keep" stores both fields in one picture, as they were coded.
        picture_track: number (from 0) of the picture track to read, cover art not counted; None
            takes the first of those marked as default, or else the first.
        native_fps: pictures per second of what carries neither time stamps nor a rate (bare streams
            such as .h264, folders of pictures); it also replaces the rate of a bare stream.
    """

    interlaced: str = "deinterlace"
    picture_track: int | None = None
    native_fps: float | None = None

    def __post_init__(self):
        if self.interlaced not in ("deinterlace", "keep"):
            raise ConfigError(f"--interlaced is {self.interlaced!r}: choose deinterlace or keep.")
        if self.picture_track is not None and self.picture_track < 0:
            raise ConfigError(f"--picture_track is {self.picture_track}: tracks count from 0.")
        if self.native_fps is not None and not 0.01 <= self.native_fps <= 10000:
            raise ConfigError(f"--native_fps is {self.native_fps}: give 0.01 to 10000.")


DEFAULT = DecodeSpec()


@dataclasses.dataclass
class OpenedFile:
    """A container, its chosen picture track, and its clock.

    Attributes:
        container, stream: PyAV's.
        zero: seconds, in the container's stamps, that a player shows as 0: where the earliest of
            the picture and sound tracks starts.
        start: seconds at which the picture track starts; None where the container does not say.
        bare: whether it is a bare stream, without time stamps.
        dicom: the DICOM file that the container lies in, or None.
        notes: sentences on what was chosen or found.
    """

    container: av.container.InputContainer
    stream: av.VideoStream
    zero: float
    start: float | None
    bare: bool
    dicom: DicomVideo | None
    notes: list[str]

    @property
    def restarting(self) -> bool:
        """Whether the clock of this kind of container may start anew in mid-file."""
        return self.container.format.name in RESTARTING

    @property
    def interleaved(self) -> bool:
        """Whether tracks stand side by side to the end, and new ones may begin in mid-file."""
        return self.container.format.name in (*RESTARTING, "flv")

    @property
    def shows_old_frames(self) -> bool:
        """Whether the codec may show a frame of long ago where one is damaged."""
        return self.stream.codec.canonical_name in ("vp8", "vp9", "av1")

    @property
    def uncertain(self) -> bool:
        """Whether frames lost in a damaged place move what follows: there are no time stamps."""
        return self.bare or self.container.format.name in ("avi", "dv")

    @property
    def late_frames(self) -> int:
        """Frames that the first stamp may be late: an AVI with B-frames stamps by decoding time."""
        reordered = self.container.format.name == "avi" and self.stream.codec_context.has_b_frames
        return 4 if reordered else 0

    @property
    def tells_its_end(self) -> bool:
        """Whether the header's `seconds` are exact: others are estimates, or count a lead-in."""
        return self.container.format.name in ("matroska,webm", "mxf", "asf")

    @property
    def counts_pauses(self) -> bool:
        """Whether the header counts instants at which no frame is shown as frames."""
        return self.container.format.name == "avi"

    @property
    def fps(self) -> float:
        """Frames per second as the header claims; 0 where it claims none."""
        rate = self.stream.codec_context.framerate if self.bare else self.stream.average_rate
        return 0.0 if not rate or rate == _NO_RATE else float(rate)

    @property
    def seconds(self) -> float:
        """The end of the picture track that the header claims, as a player shows it; 0 if none."""
        tag = re.fullmatch(r"(\d+):(\d+):([\d.]+)", self.stream.metadata.get("DURATION", ""))
        if tag:  # Matroska: the end on its own clock
            return max(0.0, int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) - self.zero)
        if self.stream.duration and self.container.format.name == "asf":  # likewise
            return max(0.0, float(self.stream.duration * self.stream.time_base) - self.zero)
        if self.stream.duration:
            length = float(self.stream.duration * self.stream.time_base)
            return max(0.0, length + (self.zero if self.start is None else self.start) - self.zero)
        return 0.0

    @property
    def frames(self) -> int:
        """Frames of the picture track as the header claims; 0 where it claims none."""
        claimed = self.dicom.frames if self.dicom else self.stream.frames
        if claimed and self.stream.duration and self.container.format.name.startswith("mov"):
            # An edit list may show only part of the frames.
            return min(
                claimed, round(float(self.stream.duration * self.stream.time_base) * self.fps)
            )
        return claimed


@contextlib.contextmanager
def open_file(path: Path, spec: DecodeSpec = DEFAULT) -> Iterator[OpenedFile]:
    """Opens `path`; decoders run in one thread.

    Raises:
        BadInput: not a readable regular file, not a video, too large a picture, or no such track.
    """
    _check_file(path)
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": CONTAINERS,
        "max_pixels": str(MAX_PIXELS),
    }
    with contextlib.ExitStack() as stack:
        source, kind, dicom, notes = os.path.realpath(path), None, None, []
        if is_dicom(path):
            dicom = stack.enter_context(open_dicom(path))
            source, kind, notes = dicom.stream, dicom.format, dicom.notes
        try:
            container = stack.enter_context(_open(source, kind, options))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise BadInput(path, f"not a video that FFmpeg can open ({_reason(error)})") from error
        bare = container.format.name in BARE
        tracks = [s for s in container.streams.video if not s.disposition & _PASSED_OVER]
        stream = _chosen(path, container, tracks, spec)
        if len(tracks) > 1 and spec.picture_track is None:
            sizes = ", ".join(f"{k}: {_shape(track)}" for k, track in enumerate(tracks))
            notes.append(
                f"has {len(tracks)} picture tracks ({sizes}); track {tracks.index(stream)} was "
                "read (--picture_track N reads another)"
            )
        _check_size(path, stream)
        for other in container.streams:
            if other is not stream:
                other.discard = av.stream.Discard.all
        starts = [
            float(s.start_time * s.time_base)
            for s in (*tracks, *container.streams.audio)
            if s.start_time is not None
        ]
        start = None if stream.start_time is None else float(stream.start_time * stream.time_base)
        yield OpenedFile(container, stream, min(starts, default=0.0), start, bare, dicom, notes)


def _open(source, kind: str | None, options: dict[str, str]) -> av.container.InputContainer:
    container = av.open(source, format=kind, options=options, metadata_errors="replace")
    if container.format.name in BARE:
        # FFmpeg takes 25 frames per second for a stream that names no rate, without a word.
        rate = f"{_NO_RATE.numerator}/{_NO_RATE.denominator}"
        container.close()
        if not isinstance(source, str):
            source.seek(0)
        options = options | {"framerate": rate}
        container = av.open(source, format=kind, options=options, metadata_errors="replace")
    container.flags &= ~av.container.core.Flags.gen_pts.value  # it may read the file to its end
    return container


def _check_file(path: Path) -> None:
    try:
        info = os.stat(path)
        with open(path, "rb") if stat.S_ISREG(info.st_mode) else contextlib.nullcontext():
            pass
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(info.st_mode):
        raise BadInput(path, "is not a regular file")
    if info.st_size == 0:
        raise BadInput(path, "is empty (0 bytes)")


def _chosen(path, container, tracks, spec: DecodeSpec) -> av.VideoStream:
    if not tracks:
        raise BadInput(path, "has no picture (audio only, or a damaged header)")
    if spec.picture_track is not None:
        if spec.picture_track >= len(tracks):
            raise BadInput(
                path,
                f"has {len(tracks)} picture track(s), counted from 0, and --picture_track is "
                f"{spec.picture_track}",
            )
        stream = tracks[spec.picture_track]
    else:
        default = av.stream.Disposition.default
        moving = [track for track in tracks if track.frames != 1] or tracks  # no preview picture
        stream = next((track for track in moving if track.disposition & default), moving[0])
    context = stream.codec_context
    if context is None:
        raise BadInput(path, "has pictures in a codec that FFmpeg does not know")
    context.thread_count, context.thread_type = 1, "NONE"  # builds run one process per core
    context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def _check_size(path: Path, stream: av.VideoStream) -> None:
    width, height = stream.width, stream.height
    if width < 1 or height < 1:
        raise BadInput(
            path, f"has no picture of known size (a damaged header, or over {MAX_PIXELS} pixels)"
        )
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadInput(
            path,
            f"claims pictures of {width} x {height} pixels; at most {MAX_PIXELS} pixels "
            f"and {MAX_SIDE} a side are read",
        )


def _shape(stream: av.VideoStream) -> str:
    context = stream.codec_context
    return "unknown" if context is None else f"{context.name} {context.width}x{context.height}"


def _reason(error: Exception) -> str:
    words = getattr(error, "strerror", None) or str(error)
    return safe_text(" ".join(words.split())[:100]) or type(error).__name__
