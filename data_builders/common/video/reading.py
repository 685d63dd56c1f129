"""Robust reading of videos: what was really decoded, by time stamp, one frame at a time.

Headers are not believed: frame counts and rates are measured. Pictures come whole (deinterlaced),
with square pixels, upright and in 8 bits; damaged places are passed over and reported. FFmpeg does
the decoding, through PyAV (`container`, `decoder`, `upright`).
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from data_builders.common.video import sentences
from data_builders.common.video.clock import FrameClock, FramePicker
from data_builders.common.video.container import (
    DEFAULT,
    MAX_SIDE,
    DecodeSpec,
    OpenedFile,
    open_file,
)
from data_builders.common.video.decoder import Faults, decode
from data_builders.common.video.frame_labels import FrameLabels, cut_picture
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.images import none, read_images
from data_builders.common.video.kinds import recordings
from data_builders.common.video.upright import Converter, Deinterlacer
from surgrec_jax.records.errors import BadInput

# Jumps of a clock that may start anew: what FFmpeg's own tools close (-dts_delta_threshold).
CLOSED_JUMP_S = 10.0


def read_video(
    path: Path,
    *,
    fps: float = math.inf,
    short_side: int = MAX_SIDE,
    report: ReadReport | None = None,
    image_fps: float | None = None,
    image_start: int | None = 0,
    box: tuple[int, int, int, int] | None = None,
    blank: Sequence[tuple[float, float, float, float]] = (),
    decode_spec: DecodeSpec = DEFAULT,
    labels: FrameLabels | None = None,
    part: tuple[float, float, float, float] | None = None,
) -> Iterator[Frame]:
    """Decodes a video once, from start to end, and yields the frames to store.

    Args:
        path: a video file, or a folder of numbered pictures (then see `images.read_images`).
        fps: upper bound of the rate: for every k the frame at or last before k / fps seconds is
            taken, and none twice; of the frames since (k - 1) / fps one that has a label map or
            boxes goes before those without.
        short_side: upper bound of the shorter side in pixels; larger pictures are shrunk.
        report: filled along the way.
        image_fps, image_start: for a folder of pictures only.
        box: top, bottom, left, right of the part to keep; in native pixels, before shrinking.
        blank: parts made black before anything else: left, top, right, bottom as fractions of the
            native picture.
        decode_spec: interlaced frames, the picture track, and the rate of what carries none.
        labels: label maps and boxes, which are cut and shrunk as their frames are.
        part: nothing outside of it is kept: left, top, right, bottom as fractions of the native
            picture.

    Yields:
        Frames in time order, all of one size (that of the first). A picture of another size is
        fitted into it whole, with its circles round and black around it.

    Raises:
        BadInput: not a readable video, too large a picture, or not one frame could be decoded.
    """
    report = ReadReport() if report is None else report
    preferred = labels.on if labels else none
    if Path(path).is_dir():
        frames = read_images(path, fps, image_fps, image_start, report, preferred)
    else:
        frames = _read_file(Path(path), fps, report, decode_spec, preferred)
    size = None
    for frame in frames:
        height, width = frame.picture.shape[:2]
        if size is None:
            report.native_height, report.native_width = height, width
            box = _within(box, part, height, width)
            kept = (height, width) if box is None else (box[1] - box[0], box[3] - box[2])
            scale = min(1.0, short_side / min(kept))
            size = max(1, round(kept[1] * scale)), max(1, round(kept[0] * scale))
        elif (height, width) != (report.native_height, report.native_width):
            note = (
                "the picture size changes within the video; later pictures are fitted into the "
                "first one's size, black around them"
            )
            if note not in report.problems:
                report.problems.append(note)
        native = report.native_height, report.native_width
        cut = {"blank": blank, "native": native, "box": box}
        picture = cut_picture(frame.picture, 0, _fit, shrink, size=size, **cut)
        report.frames_kept += 1
        if labels:
            found = labels.placed(frame.number, (height, width), report, size=size, **cut)
            frame = frame._replace(maps=found[0], boxes=found[1])
        yield frame._replace(picture=picture)
    if not report.frames_kept:
        claim = f" (its header claims {report.header_frames})" if report.header_frames else ""
        raise BadInput(path, f"not one frame could be decoded{claim}")


def shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrinks a picture [H, W, 3] to `size` (width, height).

    Averages whole blocks of pixels first, then interpolates by the remaining factor below 2.
    OpenCV's exact area averaging by a broken factor would take longer than decoding the frame (3 ms
    against 0.25 ms from 854 x 480 to 455 x 256), for a mean difference of 0.2 to 0.4 grey levels.
    """
    height, width = picture.shape[:2]
    block = min(height // size[1], width // size[0])
    if block > 1:
        if height % block or width % block:
            return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        whole = width // block, height // block
        picture = cv2.resize(picture, whole, interpolation=cv2.INTER_AREA)
    return cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)


def _within(
    box: tuple[int, int, int, int] | None,
    part: tuple[float, float, float, float] | None,
    height: int,
    width: int,
) -> tuple[int, int, int, int] | None:
    """The box of what lies both in `box` and in `part` of a picture; None is all of it."""
    if part is None:
        return box
    left, top, right, bottom = part
    whole = round(top * height), round(bottom * height), round(left * width), round(right * width)
    if box is None:
        return whole
    return (*_overlap(box[:2], whole[:2]), *_overlap(box[2:], whole[2:]))


def _overlap(first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """What two stretches share; the second where they share nothing."""
    low, high = max(first[0], second[0]), min(first[1], second[1])
    return (low, high) if low < high else second


def _fit(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture in proportion in `size` (width, height), smaller or larger."""
    smaller = sum(size) < sum(picture.shape[:2])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def probe(path: Path, frames: int = 64, decode_spec: DecodeSpec = DEFAULT) -> ReadReport:
    """Rate and size of a video file from its header and first frames; cheap.

    Use it where an annotation counts in seconds of a stated frame rate and the rate must be
    checked.

    Raises:
        BadInput: as `read_video`.
    """
    report = ReadReport()
    with contextlib.closing(_read_file(Path(path), math.inf, report, decode_spec)) as stream:
        for frame in stream:
            report.native_height, report.native_width = frame.picture.shape[:2]
            if report.frames_read >= frames:
                break
    if not report.frames_read:
        raise BadInput(path, "not one frame could be decoded")
    return report


def check_rate(path: Path, fps: float) -> None:
    """Makes sure that frame numbers of an annotation at `fps` are frame numbers of this file.

    A copy that somebody encoded at another rate would get every label wrong. One percent is left
    for 59.94 that is called 60.

    Raises:
        BadInput: the video runs at another rate, or cannot be read.
    """
    found = probe(path).native_fps
    if abs(found - fps) > 0.01 * fps:
        raise BadInput(
            path,
            f"runs at {found:.4g} frames a second, but its labels count frames at {fps:g}; use the "
            "original file",
        )


def _read_file(
    path: Path,
    fps: float,
    report: ReadReport,
    spec: DecodeSpec,
    preferred: Callable[[int], bool] = none,
) -> Iterator[Frame]:
    with open_file(path, spec) as file:
        report.header_frames, report.header_fps = file.frames, file.fps
        report.header_seconds = file.seconds
        report.notes += file.notes
        claimed = file.dicom.fps if file.dicom else None
        if claimed and file.fps and abs(claimed / file.fps - 1) > 0.01:
            report.problems.append(
                f"the DICOM header claims {claimed:.5g} pictures per second, the video in it "
                f"{file.fps:.5g}"
            )
        clock, picker = _clock(path, file, spec), FramePicker(fps)
        deinterlacer = Deinterlacer(file.stream.time_base)
        if spec.interlaced == "keep":
            deinterlacer = None
        converter, faults = Converter(file.stream), Faults()
        held: Frame | None = None  # decoded; taken if none comes before the next instant
        for decoded in decode(file, faults, deinterlacer):
            if decoded.after_damage:
                clock.damaged()
            if decoded.after_restart:
                clock.restarted()
            report.frames_read += 1
            tick = clock.tick(decoded.stamp)
            if tick is None:
                continue
            time, number = tick
            report.native_fps = clock.fps
            report.begins = clock.first
            report.origin = clock.origin if file.restarting else math.nan
            if picker.passed(time) and held is not None:
                yield held
                held = None
            if held is not None and preferred(held.number) and not preferred(number):
                continue
            if not (preferred(number) or picker.wanted(time, clock.longest_interval)):
                held = None  # this frame is nearer to the next instant, and is not needed
                continue
            try:
                picture = converter.picture(decoded.frame)
            except av.error.MemoryError:
                raise
            except (av.FFmpegError, ValueError):
                faults.places += 1
                continue
            held = Frame(time, number, picture)
            if picker.overdue:
                yield held
                held = None
            picker.retrieved()
        if held is not None:
            after = held.time + clock.typical_interval
            if picker.passed(clock.end if preferred(held.number) else after):
                yield held
        report.duration, report.counted = clock.end, clock.counted
        report.lost_at_end = clock.lost_at_end
        report.damaged = faults.places
        report.interlaced = deinterlacer.frames if deinterlacer else 0
        report.problems += sentences.problems(report, clock, faults, file)
        if file.container.format.name.startswith("mov") and (count := recordings(path)) > 1:
            report.problems.append(
                f"holds {count} recordings one after the other, of which the first alone is read; "
                "cut the file apart, or join the recordings with FFmpeg"
            )
        report.notes += sorted(converter.notes) + sentences.notes(report, clock)


def _clock(path: Path, file: OpenedFile, spec: DecodeSpec) -> FrameClock:
    if file.bare:
        rate = spec.native_fps or (file.dicom and file.dicom.fps) or file.fps
        if not rate:
            raise BadInput(
                path,
                "carries neither time stamps nor a rate; give its pictures per second with "
                "--native_fps",
            )
        return FrameClock(rate)
    close = CLOSED_JUMP_S if file.restarting else math.inf
    late = (file.late_frames + 0.5) / file.fps if file.late_frames and file.fps else 0.0
    return FrameClock(file.fps, file.zero, file.start, close, late)
