"""Real encoded videos whose frames carry their own number, for tests of builders.

The number stands in the picture as a grid of black and white blocks, so that it survives
compression and shrinking, and a test can read from a stored frame which frame of the source it is.
"""

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

_ROWS, _COLUMNS = 4, 6  # 16 bits of the number, 8 bits of checksum
_BITS = 16


def draw_number(number: int, size: tuple[int, int] = (128, 96)) -> np.ndarray:
    """A BGR uint8 [height, width, 3] picture showing `number` (below 65536); size is (w, h)."""
    bits = _code(number)
    width, height = size
    rows = np.arange(height) * _ROWS // height
    columns = np.arange(width) * _COLUMNS // width
    blocks = np.array(bits, np.uint8).reshape(_ROWS, _COLUMNS) * 200 + 30
    return np.repeat(blocks[np.ix_(rows, columns)][:, :, None], 3, axis=2)


def read_number(picture: np.ndarray) -> int:
    """The number that a (re-encoded, resized) picture shows; fails when it cannot be read."""
    gray = picture.mean(axis=2)
    height, width = gray.shape
    bits = []
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            y0, y1 = height * row // _ROWS, height * (row + 1) // _ROWS
            x0, x1 = width * column // _COLUMNS, width * (column + 1) // _COLUMNS
            margin_y, margin_x = (y1 - y0) // 4, (x1 - x0) // 4
            block = gray[y0 + margin_y : y1 - margin_y, x0 + margin_x : x1 - margin_x]
            bits.append(int(block.mean() > 128))
    number = int("".join(map(str, bits[:_BITS])), 2)
    assert bits == _code(number), f"no frame number can be read from this picture: {bits}"
    return number


def write_video(
    path: Path,
    frames: int | Iterable[np.ndarray],
    *,
    fps: float = 25.0,
    size: tuple[int, int] = (128, 96),
    fourcc: str = "mp4v",
) -> Path:
    """Encodes `frames` (a count: numbered pictures from 0) to `path`; size is (width, height)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*fourcc), fps, size)
    assert writer.isOpened(), f"OpenCV cannot write {path} with {fourcc}"
    pictures = (draw_number(k, size) for k in range(frames)) if isinstance(frames, int) else frames
    for picture in pictures:
        writer.write(picture)
    writer.release()
    return path


def write_images(
    folder: Path, numbers: Iterable[int], *, name: str = "{:06d}.png", shown_minus: int = 0
) -> Path:
    """A folder of pictures named by `numbers`, each showing its number minus `shown_minus`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        cv2.imwrite(str(folder / name.format(number)), draw_number(number - shown_minus))
    return folder


def set_intervals(path: Path, intervals: Sequence[float]) -> Path:
    """Gives an mp4 a variable frame rate: `intervals` are the seconds each frame is shown."""
    data = bytearray(path.read_bytes())
    tree = ["moov", "trak", "mdia"]
    start, _ = _box(data, [*tree, "mdhd"])
    (scale,) = struct.unpack_from(">I", data, start + 8 + 12)
    edits, _ = _box(data, ["moov", "trak", "edts"])  # it would cut the video at its old length
    data[edits + 4 : edits + 8] = b"free"
    table = b"".join(struct.pack(">II", 1, round(seconds * scale)) for seconds in intervals)
    body = struct.pack(">II", 0, len(intervals)) + table
    return _replace_box(path, data, [*tree, "minf", "stbl", "stts"], body)


def set_rotation(path: Path, degrees: int) -> Path:
    """Marks an mp4 as recorded with the camera turned: players turn it clockwise by `degrees`."""
    data = bytearray(path.read_bytes())
    start, _ = _box(data, ["moov", "trak", "tkhd"])
    one = 1 << 16
    cos, sin = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[degrees]
    struct.pack_into(">9i", data, start + 8 + 40, cos, sin, 0, -sin, cos, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def damage(path: Path, begin: float, end: float, seed: int = 0) -> Path:
    """Overwrites the bytes between two fractions of a file with noise."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = np.random.default_rng([seed]).bytes(last - first)
    path.write_bytes(data)
    return path


def truncate(path: Path, keep: float) -> Path:
    """Keeps only the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def _code(number: int) -> list[int]:
    assert 0 <= number < 1 << _BITS
    check = (number * 167 + 91) % 256
    return [int(bit) for bit in f"{number:016b}{check:08b}"]


def _boxes(data: bytes, start: int, end: int):
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield start, start + size, kind.decode("latin-1")
        start += size


def _box(data: bytes, path: Sequence[str]) -> tuple[int, int]:
    """First and last byte of an mp4 box."""
    start, end, inner = 0, len(data), 0
    for kind in path:
        start, end = next((s, e) for s, e, k in _boxes(data, inner, end) if k == kind)
        inner = start + 8
    return start, end


def _replace_box(path: Path, data: bytearray, tree: Sequence[str], body: bytes) -> Path:
    # FFmpeg writes `moov` last, so that a box in it can grow without moving the pictures.
    start, end = _box(data, tree)
    grown = 8 + len(body) - (end - start)
    for depth in range(1, len(tree) + 1):
        at, _ = _box(data, tree[:depth])
        (size,) = struct.unpack_from(">I", data, at)
        struct.pack_into(">I", data, at, size + grown)
    data[start + 8 : end] = body
    path.write_bytes(data)
    return path
