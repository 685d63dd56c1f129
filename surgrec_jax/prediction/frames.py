"""A video file as the clips that a model sees, cut as the clips of a prepared data set are.

A picture passes through all that a record's picture passes through: the builders' reader, shrinking
and JPEG, then decoding, the centre crop and resizing. A clip is the last one of the video so far,
as `data.loading.clips` finds it. So a score does not depend on whether a video was built first.
"""

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_builders.common.video.clock import FramePicker
from data_builders.common.video.container import DEFAULT, DecodeSpec
from data_builders.common.video.filters import FilterSpec
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.reading import shrink
from data_builders.common.video.segments import cut_video
from surgrec_jax.data.loading.clips import TIME_TOLERANCE, ClipSpec, frame_indices, num_starts
from surgrec_jax.data.loading.decode import decode_frames
from surgrec_jax.data.loading.transforms import center_crop, crop_resize_flip
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.info import stored_as
from surgrec_jax.records.schema import RecordSpec
from surgrec_jax.safety import untrusted

THUMB_HEIGHT = 112
_THUMB_QUALITY = 80


@dataclasses.dataclass(frozen=True)
class Storing:
    """How pictures are stored before a model sees them.

    Attributes:
        record: rate, short side and JPEG quality.
        crop_borders: whether black borders are cut off.
    """

    record: RecordSpec = dataclasses.field(default_factory=RecordSpec)
    crop_borders: bool = False


def storing_of(meta: Mapping[str, Any]) -> tuple[Storing, list[str]]:
    """How the training data of a checkpoint were stored, and sentences on what is not known.

    Args:
        meta: the checkpoint's JSON values, whose "sources" say it; older ones name the folder only.
    """
    own = [entry for entry in meta.get("sources", ()) if "through" not in entry]
    with untrusted.interpreting(f"the sources of the checkpoint {meta.get('name')!r}"):
        said = [e.get("stored") or stored_as(Path(e["directory"])) for e in own]
        found = [
            Storing(RecordSpec(**of["record"]), bool(of["filters"]["crop_borders"]))
            for of in said
            if of
        ]
    notes = []
    if not found:
        notes.append(
            "the checkpoint does not say how its training pictures were stored; 8 a second, short "
            "side 256 and JPEG quality 90 are taken (--stored_fps, --short_side, --jpeg_quality)"
        )
    kinds = {(s.record.fps, s.record.short_side, s.record.jpeg_quality) for s in found}
    if len(kinds) > 1:
        notes.append(
            "the training data were stored in several ways; the first source's is taken "
            "(--stored_fps, --short_side, --jpeg_quality)"
        )
    return (found or [Storing()])[0], notes


@dataclasses.dataclass(frozen=True, eq=False)
class Picture:
    """A stored picture as a model sees it.

    Attributes:
        time: float32 seconds, as records keep it.
        number: of the frame in the file, from 0.
        pixels: uint8 RGB [S, S, 3].
        whole: the stored picture, uint8 RGB [H, W, 3].
    """

    time: np.float32
    number: int
    pixels: np.ndarray
    whole: np.ndarray

    @property
    def thumbnail(self) -> bytes:
        """The whole picture, small, as JPEG."""
        height, width = self.whole.shape[:2]
        size = max(1, round(width * THUMB_HEIGHT / height)), THUMB_HEIGHT
        small = cv2.resize(self.whole, size, interpolation=cv2.INTER_AREA)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _THUMB_QUALITY]
        return cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)[1].tobytes()


def cropped(whole: np.ndarray, side: int) -> np.ndarray:
    """The centre square of a picture uint8 [H, W, 3], resized to [side, side, 3]."""
    out = np.empty((1, side, side, 3), np.uint8)
    crop_resize_flip([whole], center_crop(*whole.shape[:2]), out)
    return out[0]


def pictures_of(
    path: Path,
    side: int,
    storing: Storing,
    report: ReadReport,
    decode: DecodeSpec = DEFAULT,
) -> Iterator[Picture]:
    """Reads a video file or a folder of pictures once; holds one picture at a time.

    Args:
        side: S, of the squares that the model sees.
        report: filled along the way.
        decode: of the builders' reader; a folder of pictures needs its `native_fps`.

    Raises:
        BadInput: the video cannot be used (possibly after some pictures were given).
    """
    if path.is_dir() and decode.native_fps is None:
        raise BadInput(
            path,
            "is a folder; if it is of pictures, give their number per second with --native_fps",
        )
    segments = cut_video(
        path,
        dataclasses.replace(storing.record, frames=1),
        report=report,
        image_fps=decode.native_fps,
        image_start=None,
        filters=FilterSpec(crop_borders=storing.crop_borders),
        decode_spec=decode,
    )
    try:
        for segment in segments:
            (whole,) = decode_frames(segment.frames, [0])
            time, number = np.float32(segment.times[0]), int(segment.numbers[0])
            yield Picture(time, number, cropped(whole, side), whole)
    except (MemoryError, cv2.error) as error:
        words = " ".join(str(error).split())[:200] or "it needs too much memory"
        raise BadInput(path, f"cannot be processed: {words}") from error


def pictures_of_frames(
    frames: Iterable[Frame], side: int, storing: Storing, report: ReadReport
) -> Iterator[Picture]:
    """The stored pictures of frames that no file holds: a camera's, or those of a pipe.

    At most `record.fps` a second are taken, shrunk and compressed, as of a file; each shows when
    the next one comes. `report` is filled along the way. Borders are not cut off.
    """
    record, picker, held, size = storing.record, FramePicker(storing.record.fps), None, None
    quality = [cv2.IMWRITE_JPEG_QUALITY, record.jpeg_quality]

    def stored(frame: Frame) -> Picture:
        picture = frame.picture
        if picture.shape[:2] != size[::-1]:
            picture = shrink(picture, size)
        data = cv2.imencode(".jpg", picture, quality)[1].tobytes()
        (whole,) = decode_frames([data], [0])
        return Picture(np.float32(frame.time), frame.number, cropped(whole, side), whole)

    for frame in frames:
        report.frames_read += 1
        report.duration = frame.time
        if size is None:
            height, width = frame.picture.shape[:2]
            report.native_height, report.native_width = height, width
            scale = min(1.0, record.short_side / min(height, width))
            size = max(1, round(width * scale)), max(1, round(height * scale))
        if picker.passed(frame.time) and held is not None:
            yield stored(held)
        held = frame
    if held is not None:
        yield stored(held)


class Window:
    """The pictures that the last clip of a video so far is made of; memory is that of one clip."""

    def __init__(self, clip: ClipSpec):
        self.clip_spec = clip
        self._span = (clip.frames - 1) / clip.fps
        self._held: collections.deque[Picture] = collections.deque()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def last(self) -> Picture:
        """The newest picture."""
        return self._held[-1]

    def add(self, picture: Picture) -> None:
        """Takes the next picture, and forgets those that no later clip needs."""
        self._held.append(picture)
        first = float(picture.time) - self._span + TIME_TOLERANCE
        while len(self._held) > 1 and float(self._held[1].time) <= first:
            self._held.popleft()

    def clip(self) -> list[Picture]:
        """The T pictures of the last clip; what a video lacks of one is its last picture again.

        They are those that `data.loading.clips` takes for the last start of a record.
        """
        times = np.array([picture.time for picture in self._held], np.float32)
        start = num_starts(times, self.clip_spec) - 1
        held = list(self._held)
        return [held[i] for i in frame_indices(times, start, self.clip_spec)]


@dataclasses.dataclass(frozen=True, eq=False)
class Moment:
    """An instant to answer.

    Attributes:
        time: seconds.
        shown: the picture of its clip whose label is asked for.
        clip: uint8 [T, S, S, 3]; None where it is that of the moment before.
    """

    time: float
    shown: Picture
    clip: np.ndarray | None


def moments(
    pictures: Iterable[Picture], clip: ClipSpec, rate: float, frame: str = "last"
) -> Iterator[Moment]:
    """The instants k / rate of a video, each with a clip of it.

    Args:
        pictures: in order of time.
        rate: answers per second.
        frame: of the clip, which lies at the instant: "last" sees nothing of the future, "centre"
            half a clip of it.
    """
    place = {"centre": clip.frames // 2, "last": clip.frames - 1}[frame]
    delay = (clip.frames - 1 - place) / clip.fps
    window, k, asked, shown = Window(clip), None, None, None

    def moment() -> Moment:
        nonlocal asked, shown
        if asked is window.last:
            return Moment(k / rate, shown, None)
        asked, found = window.last, window.clip()
        shown = found[place]
        return Moment(k / rate, shown, np.stack([picture.pixels for picture in found]))

    for picture in pictures:
        if k is None:
            k = max(0, math.ceil((float(picture.time) - TIME_TOLERANCE) * rate))
        while len(window) and k / rate + delay + TIME_TOLERANCE < float(picture.time):
            yield moment()
            k += 1
        window.add(picture)
    while len(window) and k / rate <= float(window.last.time) + TIME_TOLERANCE:
        yield moment()
        k += 1
