"""Reads a folder of numbered pictures as a video."""

import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from data_builders.common.video.clock import FramePicker
from data_builders.common.video.frames import Frame, ReadReport
from surgrec_jax.records.errors import BadInput, check_inside

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MAX_BYTES = 256 * 2**20
_LAST_NUMBER = re.compile(r"(\d{1,12})\D*$")


def none(number: int) -> bool:
    """For a video no frame of which is preferred."""
    return False


def read_images(
    folder: Path,
    fps: float,
    image_fps: float | None,
    image_start: int | None,
    report: ReadReport,
    preferred: Callable[[int], bool] = none,
) -> Iterator[Frame]:
    """Yields the pictures of `folder` to store, in the order of the last number in their names.

    The picture with number n is frame n - image_start, at (n - image_start) / image_fps seconds: a
    missing picture leaves a gap and shifts nothing. None as image_start takes the lowest number.
    `preferred`: as in `reading.read_video`.

    Raises:
        BadInput: no rate given, a name without a number, or a number that stands twice.
    """
    if image_fps is None or not 0 < image_fps < math.inf:
        raise BadInput(folder, f"is a folder of pictures and needs image_fps (got {image_fps!r})")
    numbered: dict[int, str] = {}
    for name in sorted(os.listdir(folder)):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() not in IMAGE_SUFFIXES or name.startswith("."):
            continue
        match = _LAST_NUMBER.search(stem)
        if not match or int(match[1]) < (image_start or 0):
            raise BadInput(
                folder / name, f"has no frame number of {image_start or 0} or more in its name"
            )
        if int(match[1]) in numbered:
            raise BadInput(folder / name, f"has the same number as {numbered[int(match[1])]}")
        numbered[int(match[1])] = name
    if image_start is None:  # a folder of nobody's known layout
        image_start = min(numbered, default=0)
        report.notes += _numbering(sorted(numbered), image_fps)
    report.native_fps = report.header_fps = image_fps
    picker, unreadable = FramePicker(fps), []
    held: Frame | None = None
    for number in sorted(numbered):
        frame_number = number - image_start
        time = frame_number / image_fps
        report.duration = time + 1 / image_fps
        picture = read_picture(folder / numbered[number])
        if picture is None:
            unreadable.append(numbered[number])
            continue
        report.frames_read += 1
        if picker.passed(time) and held is not None:
            yield held
            held = None
        if held is None or preferred(frame_number) or not preferred(held.number):
            held = Frame(time, frame_number, picture)
    if held is not None:
        end = report.duration if preferred(held.number) else held.time + 1 / image_fps
        if picker.passed(end):
            yield held
    if unreadable:
        report.damaged = len(unreadable)
        report.problems.append(f"{len(unreadable)} unreadable picture(s), first {unreadable[0]}")


def _numbering(numbers: Sequence[int], image_fps: float) -> list[str]:
    """Notes on numbers that begin late or do not go up by one."""
    gaps = [after - number for number, after in itertools.pairwise(numbers)]
    step, notes = min(gaps, default=1), []
    if numbers and numbers[0] > 1:
        notes.append(f"picture {numbers[0]} is the first, and so frame 0 of tables, at 0 s")
    if step > 1:
        notes.append(
            f"the numbers of pictures go up by {step}: at {image_fps:g} numbers a second they are "
            f"{step / image_fps:g} s apart"
        )
    wide = [gap for gap in gaps if gap > step]
    if wide:
        absent = sum(gap // step - 1 for gap in wide)
        notes.append(f"{absent} pictures are missing in {len(wide)} gap(s) of their numbers")
    return notes


def why_no_series(names: Iterable[str]) -> str | None:
    """Why pictures of these names are not one series, such as those of two videos; else None.

    Before the last number, which is that of the picture, names must have the same words; and where
    other numbers change, they must not tell another order.
    """
    numbered = [(match, name) for name in names if (match := _LAST_NUMBER.search(Path(name).stem))]
    first: tuple[str, str] | None = None
    for match, name in numbered:
        words = re.sub(r"\d+", "0", match.string[: match.start()] + "0")
        first = first or (words, name)
        if words != first[0]:
            return f"holds pictures of two series, such as {first[1]} and {name}"
    found = sorted((int(match[1]), name) for match, name in numbered)
    for (_, name), (_, after) in itertools.pairwise(found):
        if _numbers(name) > _numbers(after):
            return f"holds pictures whose numbers tell two orders, such as {name} and {after}"
    return None


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", Path(name).stem)]


def check_links(folder: Path, root: Path) -> None:
    """Raises BadInput when a file of `folder` is a link that leads out of `root`."""
    with os.scandir(folder) as entries:
        for name in sorted(entry.name for entry in entries if entry.is_symlink()):
            check_inside(folder / name, root)


def read_picture(path: Path) -> np.ndarray | None:
    """The picture, BGR uint8 [H, W, 3]; None where there is none that can be read."""
    if not path.is_file() or not 0 < path.stat().st_size <= MAX_BYTES:
        return None
    data = np.fromfile(path, np.uint8)  # by bytes: OpenCV takes only UTF-8 names
    try:
        return cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error:  # more pixels than OpenCV takes (data_builders/__init__.py), or no memory
        return None


def check_exact(start: bytes) -> None:
    """Raises ValueError where decoding a file would change the values that were written.

    JPEG and the lossy WebP blur them, and grey PNG files of 1, 2 or 4 bits are stretched to 8.

    Args:
        start: the first 32 bytes of the file.
    """
    if start.startswith(b"\xff\xd8") or (start[:4] == b"RIFF" and start[8:16] == b"WEBPVP8 "):
        raise ValueError("is a JPEG or WebP file, which blurs ids; save maps as PNG")
    if start.startswith(b"\x89PNG") and start[25:26] == b"\0" and start[24] < 8:
        raise ValueError(f"has {start[24]} bits a pixel, not 8 or 16; save maps with 8 bits")
