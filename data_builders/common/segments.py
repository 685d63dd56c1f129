"""Cuts a video into segments of encoded frames; holds one segment in memory at a time."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.errors import BadInput
from data_builders.common.records import RecordSpec
from data_builders.common.video import ReadReport, read_video


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
    image_fps: float | None = None,
    image_start: int = 0,
) -> Iterator[Segment]:
    """Reads `path` once and yields its segments in order; the last one may be shorter.

    `report` is filled along the way: its native rate and size hold from the first segment on.

    Raises:
      BadInput: the video cannot be opened or holds no readable frame.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, spec.jpeg_quality]
    frames, times, numbers, index = [], [], [], 0
    for frame in read_video(
        path,
        fps=spec.fps,
        short_side=spec.short_side,
        report=report,
        image_fps=image_fps,
        image_start=image_start,
    ):
        ok, encoded = cv2.imencode(".jpg", frame.picture, quality)
        if not ok:
            raise BadInput(path, f"frame {frame.number} could not be encoded as JPEG")
        frames.append(encoded.tobytes())
        times.append(frame.time)
        numbers.append(frame.number)
        if len(frames) == spec.frames:
            yield Segment(index, frames, np.array(times), np.array(numbers, np.int64))
            frames, times, numbers, index = [], [], [], index + 1
    if frames:
        yield Segment(index, frames, np.array(times), np.array(numbers, np.int64))
