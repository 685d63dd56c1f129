"""Cuts a video into segments of encoded frames; holds one segment in memory at a time."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from data_builders.common.video.borders import find_box
from data_builders.common.video.boxes import Boxes
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
        maps: name -> (position of the frame, PNG file) of each label map.
        boxes: name -> (position of the frame, boxes) of each frame that was looked at.
    """

    index: int
    frames: list[bytes]
    times: np.ndarray
    numbers: np.ndarray
    maps: dict[str, list[tuple[int, bytes]]]
    boxes: dict[str, list[tuple[int, Boxes]]]


def cut_video(
    path: Path,
    spec: RecordSpec,
    *,
    report: ReadReport,
    more: Sequence[Path] = (),
    filters: FilterSpec = NO_FILTERS,
    outside: Callable[[Frame], bool] | None = None,
    decode_spec: DecodeSpec = DEFAULT,
    **options: Any,
) -> Iterator[Segment]:
    """Reads `path` once and yields its segments in order; the last one may be shorter.

    `report` is filled along the way: its native rate and size hold from the first segment on.
    Files of `more` go on where `path` ends. Where `filters` leave frames out, a segment ends and
    the next one begins; `outside` tells frames out of body. `options` are those of `read_video`:
    how a folder of pictures is read, which boxes are black before anything looks at a picture, the
    label maps and boxes of frames, and the part of a picture to keep.

    Raises:
        BadInput: the video cannot be opened, holds no readable frame, or none that the filters
            keep.
    """
    quality = [cv2.IMWRITE_JPEG_QUALITY, spec.jpeg_quality]
    kept: list[tuple[Frame, bytes]] = []
    index = 0
    report.filtered |= dict.fromkeys(filters.switched_on(), 0)
    box = find_box(path, decode_spec) if filters.crop_borders else None
    if box is not None:
        report.filtered["crop_borders"] = 1
    stream = read_joined(
        (path, *more),
        fps=spec.fps,
        short_side=spec.short_side,
        report=report,
        box=box,
        decode_spec=decode_spec,
        **options,
    )
    for frame, gap in dropped(stream, filters, report.filtered, outside):
        if gap and kept:
            yield _segment(index, kept)
            kept, index = [], index + 1
        ok, encoded = cv2.imencode(".jpg", frame.picture, quality)
        if not ok:
            raise BadInput(path, f"frame {frame.number} could not be encoded as JPEG")
        kept.append((frame._replace(picture=None), encoded.tobytes()))
        if len(kept) == spec.frames:
            yield _segment(index, kept)
            kept, index = [], index + 1
    if not kept and not index:
        left_out = ", ".join(f"{name} {count}" for name, count in report.filtered.items())
        raise BadInput(path, f"the filters leave no frame ({left_out})")
    if kept:
        yield _segment(index, kept)


def _segment(index: int, kept: Sequence[tuple[Frame, bytes]]) -> Segment:
    maps: dict[str, list[tuple[int, bytes]]] = {}
    boxes: dict[str, list[tuple[int, Boxes]]] = {}
    for place, (frame, _) in enumerate(kept):
        for name, values in (frame.maps or {}).items():
            png = cv2.imencode(".png", values)[1].tobytes()
            maps.setdefault(name, []).append((place, png))
        for name, found in (frame.boxes or {}).items():
            boxes.setdefault(name, []).append((place, found))
    return Segment(
        index,
        [encoded for _, encoded in kept],
        np.array([frame.time for frame, _ in kept]),
        np.array([frame.number for frame, _ in kept], np.int64),
        maps,
        boxes,
    )
