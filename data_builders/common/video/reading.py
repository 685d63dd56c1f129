"""Robust reading of video files with OpenCV: what was really decoded, by time stamp, one frame at a
time.

Headers are not believed: frame counts and rates are measured. OpenCV applies the rotation stored in
a file, picks its main video stream and turns 10-bit pictures into 8 bits. Damaged places are passed
over and reported. Files are untrusted: only video containers are accepted (no play lists, which
could name other files), and absurd picture sizes are refused before a picture is allocated.
"""

import contextlib
import math
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.video.clock import FrameClock, FramePicker
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.images import read_images
from surgrec_jax.records.errors import BadInput

MAX_PIXELS = 64 * 2**20  # of one picture; 8K video has 33 million
MAX_SIDE = 16384
# At the end of a file every attempt fails; after a damaged packet the next one may succeed. One
# attempt already passes over many packets inside OpenCV.
MAX_FAILED_READS = 100
_CONTAINERS = (
    "mov,mp4,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,ogg,mxf,dv,h264,hevc,m4v,mjpeg,ivf,gif"
)


def read_video(
    path: Path,
    *,
    fps: float = math.inf,
    short_side: int = MAX_SIDE,
    report: ReadReport | None = None,
    image_fps: float | None = None,
    image_start: int = 0,
    box: tuple[int, int, int, int] | None = None,
    blank: Sequence[tuple[float, float, float, float]] = (),
) -> Iterator[Frame]:
    """Decodes a video once, from start to end, and yields the frames to store.

    Args:
      path: a video file, or a folder of numbered pictures (then see `images.read_images`).
      fps: upper bound of the rate: for every k the frame at or last before k / fps seconds is
        taken, and none twice.
      short_side: upper bound of the shorter side in pixels; larger pictures are shrunk.
      report: filled along the way.
      image_fps, image_start: for a folder of pictures only.
      box: top, bottom, left, right of the part to keep; in native pixels, before shrinking.
      blank: parts made black before anything else: left, top, right, bottom as fractions of the
        native picture.

    Yields:
      Frames in time order, all of one size (that of the first).

    Raises:
      BadInput: not a readable video, too large a picture, or not one frame could be decoded.
    """
    report = ReadReport() if report is None else report
    if Path(path).is_dir():
        frames = read_images(path, fps, image_fps, image_start, report)
    else:
        frames = _read_file(Path(path), fps, report)
    size = None
    for frame in frames:
        height, width = frame.picture.shape[:2]
        if size is None:
            report.native_height, report.native_width = height, width
            kept = (height, width) if box is None else (box[1] - box[0], box[3] - box[2])
            scale = min(1.0, short_side / min(kept))
            size = max(1, round(kept[1] * scale)), max(1, round(kept[0] * scale))
        elif (height, width) != (report.native_height, report.native_width):
            note = "the picture size changes within the video; all frames got the first one's size"
            if note not in report.problems:
                report.problems.append(note)
        picture = frame.picture
        for left, top, right, bottom in blank:
            rows = slice(math.floor(top * height), math.ceil(bottom * height))
            picture[rows, math.floor(left * width) : math.ceil(right * width)] = 0
        if box is not None and picture.shape[:2] == (report.native_height, report.native_width):
            picture = picture[box[0] : box[1], box[2] : box[3]]
        if picture.shape[:2] != size[::-1]:
            picture = shrink(picture, size)
        report.frames_kept += 1
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


def probe(path: Path, frames: int = 64) -> ReadReport:
    """Rate and size of a video file from its header and first frames; cheap.

    Use it where an annotation counts in seconds of a stated frame rate and the rate must be
    checked.

    Raises:
      BadInput: as `read_video`.
    """
    report = ReadReport()
    with contextlib.closing(_read_file(Path(path), math.inf, report)) as stream:
        for frame in stream:
            report.native_height, report.native_width = frame.picture.shape[:2]
            if report.frames_read >= frames:
                break
    if not report.frames_read:
        raise BadInput(path, "not one frame could be decoded")
    return report


def _read_file(path: Path, fps: float, report: ReadReport) -> Iterator[Frame]:
    with open_capture(path) as capture:
        _check_size(path, capture)
        report.header_frames = max(0, int(_finite(capture.get(cv2.CAP_PROP_FRAME_COUNT))))
        report.header_fps = max(0.0, _finite(capture.get(cv2.CAP_PROP_FPS)))
        clock, picker = FrameClock(report.header_fps), FramePicker(fps)
        held: Frame | None = None  # decoded; taken if none comes before the next instant
        failed = 0
        while failed < MAX_FAILED_READS:
            if not capture.grab():
                failed += 1
                continue
            if failed:
                clock.damaged()
                report.damaged += 1
                failed = 0
            time, number = clock.tick(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            report.frames_read += 1
            report.native_fps = clock.fps
            if picker.passed(time) and held is not None:
                yield held
                held = None
            if not picker.wanted(time, clock.longest_interval):
                held = None  # this frame is nearer to the next instant, and is not needed
                continue
            ok, picture = capture.retrieve()
            if not ok or picture is None or not picture.size:
                report.damaged += 1
                continue
            held = Frame(time, number, as_bgr(picture))
            if picker.overdue:
                yield held
                held = None
            picker.retrieved()
        if held is not None and picker.passed(held.time + clock.typical_interval):
            yield held
        report.duration = clock.end
        report.problems += _problems(report, clock)


def _problems(report: ReadReport, clock: FrameClock) -> list[str]:
    problems = []
    if report.damaged:
        problems.append(
            f"damaged in {report.damaged} place(s); {report.frames_read} frames up to "
            f"{clock.end:.1f} s could be decoded"
        )
    short = report.header_frames - report.frames_read
    if report.frames_read and short > max(2, 0.02 * report.header_frames):
        problems.append(
            f"the header claims {report.header_frames} frames, {report.frames_read} could be "
            f"decoded (up to {clock.end:.1f} s)"
        )
    if clock.repaired:
        problems.append(
            f"{clock.repaired} time stamps missing or not increasing; "
            f"{clock.fps:.3g} frames per second assumed there"
        )
    if clock.longest_jump > 1.0:
        problems.append(f"time stamps jump by {clock.longest_jump:.1f} s at {clock.jump_at:.1f} s")
    return problems


@contextlib.contextmanager
def open_capture(path: Path) -> Iterator[cv2.VideoCapture]:
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
    with contextlib.ExitStack() as stack:
        name = os.fspath(path.resolve())
        try:
            name.encode("utf-8")
        except (
            UnicodeEncodeError
        ):  # OpenCV takes only UTF-8 names: read through a link that has one
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="surgrec_"))
            os.symlink(name, os.path.join(folder, "video"))
            name = os.path.join(folder, "video")
        with _ffmpeg_options():
            # One decoder thread: builds run one process per core.
            capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
        stack.callback(capture.release)
        if not capture.isOpened():
            raise BadInput(
                path, "not a video that OpenCV can open (damaged header, or an unsupported codec)"
            )
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        yield capture


@contextlib.contextmanager
def _ffmpeg_options():
    """OpenCV hands options to FFmpeg through the environment, read when a file is opened."""
    name = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
    before = os.environ.get(name)
    os.environ[name] = f"format_whitelist;{_CONTAINERS}|max_pixels;{MAX_PIXELS}"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_size(path: Path, capture: cv2.VideoCapture) -> None:
    width = _finite(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = _finite(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if width < 1 or height < 1:
        raise BadInput(path, "has no picture (audio only, or a damaged header)")
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise BadInput(
            path,
            f"claims pictures of {width:.0f} x {height:.0f} pixels; at most {MAX_PIXELS} pixels "
            f"and {MAX_SIDE} a side are read",
        )


def as_bgr(picture: np.ndarray) -> np.ndarray:
    if picture.ndim == 2 or picture.shape[2] == 1:
        return cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
    return picture[:, :, :3]


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0


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
