"""Several files read as one video: a part begins where the part before it ended.

Recorders cut long MPEG streams into files anywhere. Then the stamps of a part go on from those of
the part before, and say when its first whole picture is shown; its sound may begin much earlier.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from data_builders.common.video.container import DEFAULT, DecodeSpec
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.reading import read_video
from surgrec_jax.records.errors import BadInput, safe_text

_SUMMED = (
    *("header_frames", "header_seconds", "frames_read", "frames_kept", "duration", "damaged"),
    "interlaced",
)

_PAUSE_S = 2.0  # at most so much later the stamps of a part go on from the part before


def read_joined(
    paths: Sequence[Path], *, report: ReadReport, decode_spec: DecodeSpec = DEFAULT, **options
) -> Iterator[Frame]:
    """The frames of `read_video` of each file in turn, on one clock and with one count of frames.

    Args:
        paths: the parts in order; one alone is read as it is.
        report: filled along the way, as if the parts were one file.
        decode_spec, options: of `read_video`.

    Raises:
        BadInput: a part cannot be read, or has pictures of another size than the first.
    """
    if len(paths) == 1:
        yield from read_video(paths[0], report=report, decode_spec=decode_spec, **options)
        return
    pictures = {name: options.get(name) for name in ("image_fps", "image_start")}
    _check_sizes(paths, decode_spec=decode_spec, **pictures)
    seconds, number, lost = 0.0, 0, 0
    ended = math.nan  # the raw stamp at which a part ended
    for path in paths:
        if options.get("labels"):
            options["labels"] = dataclasses.replace(options["labels"], start=number)
        part, before = ReadReport(), dataclasses.replace(report, problems=[], notes=[])
        first = None
        try:
            for frame in read_video(path, report=part, decode_spec=decode_spec, **options):
                _add(report, before, part)
                if first is None:
                    first = frame
                    shift = part.origin - ended
                    if -0.01 <= shift + part.begins <= _PAUSE_S:
                        seconds += shift
                        number += (
                            lost + round((shift + frame.time) * part.native_fps) - frame.number
                        )
                yield frame._replace(time=seconds + frame.time, number=number + frame.number)
        finally:
            _add(report, before, part)
            for told, of_part in ((report.problems, part.problems), (report.notes, part.notes)):
                told += [f"{safe_text(path.name)}: {text}" for text in of_part]
        seconds, ended = seconds + part.duration, part.origin + part.duration
        report.duration = seconds
        lost = part.lost_at_end
        number += part.counted or round(part.duration * part.native_fps)


def _check_sizes(paths: Sequence[Path], **options) -> None:
    first = None
    for path in paths:
        found = ReadReport()
        with contextlib.closing(read_video(path, report=found, **options)) as frames:
            next(frames)
        size = found.native_width, found.native_height
        first = first or size
        if size != first:
            raise BadInput(
                path,
                f"has pictures of {size[0]} x {size[1]} pixels, the first part of "
                f"{first[0]} x {first[1]}; give --join cases",
            )


def _add(report: ReadReport, before: ReadReport, part: ReadReport) -> None:
    """`report` as that of the parts before and this one."""
    report.native_fps = before.native_fps or part.native_fps
    report.native_height = before.native_height or part.native_height
    report.native_width = before.native_width or part.native_width
    report.header_fps = before.header_fps or part.header_fps
    for name in _SUMMED:
        setattr(report, name, getattr(before, name) + getattr(part, name))
