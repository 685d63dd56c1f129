"""Cuts a video into segments of encoded frames; holds one segment in memory at a time."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.video.borders import find_box
from data_builders.common.video.container import DEFAULT, DecodeSpec
from data_builders.common.video.filters import FilterSpec, dropped
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.joined import read_joined
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.schema import RecordSpec

NO_FILTERS = FilterSpec()


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """Consecutive stored frames of one video.

    Attributes:
        index: 0, 1, 2, ... within the video.
        frames: N JPEG files as bytes.
        times: float64 [N], seconds from the start of the video.
        numbers: int64 [N], frame numbers in the original video, from 0.
    """

    index: int
    frames: list[bytes]
    times: np.ndarray
    numbers: np.ndarray


def cut_video(
    path: Path,
    spec: RecordSpec,
    *,
    report: ReadReport,
    more: Sequence[Path] = (),
    image_fps: float | None = None,
    image_start: int | None = 0,
    filters: FilterSpec = NO_FILTERS,
    outside: Callable[[Frame], bool] | None = None,
    blank: Sequence[tuple[float, float, float, float]] = (),
    decode_spec: DecodeSpec = DEFAULT,
) -> Iterator[Segment]:
    """Reads `path` once and yields its segments in order; the last one may be shorter.

    `report` is filled along the way: its native rate and size hold from the first segment on.
    Files of `more` go on where `path` ends. Where `filters` leave frames out, a segment ends and
    the next one begins; `outside` tells frames out of body. The boxes of `blank` (left, top, right,
    bottom as fractions of the native picture) are black before anything looks at a picture.

    Raises:
        BadInput: the video cannot be opened, holds no readable frame, or none that the filters
            keep.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, spec.jpeg_quality]
    frames, times, numbers, index = [], [], [], 0
    report.filtered |= dict.fromkeys(filters.switched_on(), 0)
    box = find_box(path, decode_spec) if filters.crop_borders else None
    if box is not None:
        report.filtered["crop_borders"] = 1
    stream = read_joined(
        (path, *more),
        fps=spec.fps,
        short_side=spec.short_side,
        report=report,
        image_fps=image_fps,
        image_start=image_start,
        box=box,
        blank=blank,
        decode_spec=decode_spec,
    )
    for frame, gap in dropped(stream, filters, report.filtered, outside):
        if gap and frames:
            yield Segment(index, frames, np.array(times), np.array(numbers, np.int64))
            frames, times, numbers, index = [], [], [], index + 1
        ok, encoded = cv2.imencode(".jpg", frame.picture, quality)
        if not ok:
            raise BadInput(path, f"frame {frame.number} could not be encoded as JPEG")
        frames.append(encoded.tobytes())
        times.append(frame.time)
        numbers.append(frame.number)
        if len(frames) == spec.frames:
            yield Segment(index, frames, np.array(times), np.array(numbers, np.int64))
            frames, times, numbers, index = [], [], [], index + 1
    if not frames and not index:
        left_out = ", ".join(f"{name} {count}" for name, count in report.filtered.items())
        raise BadInput(path, f"the filters leave no frame ({left_out})")
    if frames:
        yield Segment(index, frames, np.array(times), np.array(numbers, np.int64))
