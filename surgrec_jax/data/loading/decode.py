"""Decodes the JPEG frames that a clip uses; the bytes are not trusted.

Only JPEG is decoded (OpenCV would try a dozen other formats), and only once the header's size is
known to be bearable: a picture of 65,000 x 65,000 is a few hundred bytes long.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from surgrec_jax.records.maps import VOID
from surgrec_jax.safety.errors import UserError

MAX_PIXELS = 36 * 2**20  # one frame's pixels; 8K video has 33 million
MAX_CLIP_BYTES = 2**30  # all decoded frames of a clip: 43 frames of 4K video
MAX_SCANNED = 2**29  # pixels times scans: a progressive JPEG may ask for thousands of passes


class UndecodableFrameError(UserError, ValueError):
    """A frame cannot be decoded; the message names its position in the record."""


def decode_frames(frames: Sequence[bytes], indices: Sequence[int]) -> list[np.ndarray]:
    """Decodes some frames, each once.

    Args:
        frames: encoded images.
        indices: positions in `frames`, possibly repeated (a clip that runs over the end of a short
            segment repeats its last frame).

    Returns:
        One uint8 [H, W, 3] RGB array per index; repeated indices share theirs.

    Raises:
        UndecodableFrameError: bytes that are no JPEG image, frames of different sizes, or sizes
            beyond the limits above.
    """
    done: dict[int, np.ndarray] = {}
    shape = None
    for i in indices:
        i = int(i)
        if i in done:
            continue
        size = jpeg_size(frames[i])
        if size is None:
            raise UndecodableFrameError(
                f"frame {i} ({len(frames[i])} bytes) is not a readable image"
            )
        height, width = size
        # A scan takes at least ten bytes, so most frames have no room for too many of them.
        scans = len(frames[i]) // 10
        if height * width * scans > MAX_SCANNED:
            scans = frames[i].count(b"\xff\xda")  # within image data FF is followed by 00
        if height * width > MAX_PIXELS or height * width * scans > MAX_SCANNED:
            raise UndecodableFrameError(
                f"frame {i} claims {width}x{height} pixels in {scans} scan(s), beyond what is read"
            )
        shape = shape or size
        if size != shape:
            raise UndecodableFrameError(
                f"frame {i} measures {width}x{height}, others of its record {shape[1]}x{shape[0]}"
            )
        if height * width * 3 * (len(done) + 1) > MAX_CLIP_BYTES:
            raise UndecodableFrameError(
                f"frame {i} of {width}x{height} pixels makes the clip larger than {MAX_CLIP_BYTES}"
                " bytes"
            )
        done[i] = _decode(frames[i], i, shape)
    return [done[int(i)] for i in indices]


def decode_map(data: bytes, what: str, classes: int | None) -> np.ndarray:
    """Decodes a label map, a PNG file of one channel.

    Args:
        data: the file.
        what: its name in messages.
        classes: number of its classes; None for depths.

    Returns:
        uint8 [H, W] of ids below `classes` or VOID, or uint16 [H, W] of counts.

    Raises:
        UndecodableFrameError: it is no such PNG, too large, or holds an id that is no class.
    """
    width, height = (int.from_bytes(data[at : at + 4]) for at in (16, 20))
    if data[:8] != b"\x89PNG\r\n\x1a\n" or not 0 < height * width <= MAX_PIXELS:
        raise UndecodableFrameError(f"{what} ({len(data)} bytes) is no PNG of a bearable size")
    try:
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        values = None
    dtype = np.uint16 if classes is None else np.uint8
    if values is None or values.dtype != dtype or values.shape != (height, width):
        raise UndecodableFrameError(f"{what} is no map of {8 * np.dtype(dtype).itemsize} bits")
    if classes is not None:
        wrong = values[(values >= classes) & (values != VOID)]
        if wrong.size:
            raise UndecodableFrameError(f"{what} holds id {wrong[0]} of {classes} classes")
    return values


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """The (height, width) in a JPEG file's frame header (ITU-T T.81, B.2.2); None for no JPEG.

    The largest sides of several headers count: decoders differ in which they believe.
    """
    if data[:2] != b"\xff\xd8":
        return None
    at, height, width = 2, 0, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA:  # the picture itself begins
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if at + 9 > len(data):
                return None
            height = max(height, int.from_bytes(data[at + 5 : at + 7]))
            width = max(width, int.from_bytes(data[at + 7 : at + 9]))
        length = int.from_bytes(data[at + 2 : at + 4])
        at += 2 + max(2, length)
    return (height, width) if height and width else None


def _decode(data: bytes, number: int, shape: tuple[int, int]) -> np.ndarray:
    # A rotation in the file's metadata would change height and width.
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        reason = " ".join(str(error).split())[:200]
        raise UndecodableFrameError(f"frame {number} cannot be decoded: {reason}") from error
    if image is None or image.shape[:2] != shape:
        raise UndecodableFrameError(f"frame {number} ({len(data)} bytes) is not a readable image")
    return image
