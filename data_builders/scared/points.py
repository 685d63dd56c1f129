"""Depths from SCARED's files of scene points: TIFF files of 32-bit x, y and z in millimetres."""

import dataclasses
import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np

from data_builders.common.video.images import MAX_BYTES
from data_builders.common.video.maps import MapFiles, depths
from surgrec_jax.records.errors import BadInput, safe_text

MILLIMETRES = 0.01  # of one count: 16 bits reach to 655 mm
NAME = re.compile(r"scene_points(\d{6})\.tiff")
MOST_BYTES = 2**37  # of what an archive unpacks to; a thousand frames are 31 GB
_BLOCK = 512  # bytes that a tar archive is made of
_PIECE = 2**20


def depth_of_points(stored: np.ndarray) -> np.ndarray:
    """Counts of depth, uint16 [H, W], from points as OpenCV reads them, float32 [H, W, 3].

    OpenCV turns the order of channels round, so that z is the first. What is no number, not in
    front of the camera, or too far for 16 bits is not measured: 0.

    Raises:
        ValueError: no picture of three channels of 32-bit floats.
    """
    if stored.dtype != np.float32 or stored.ndim != 3 or stored.shape[2] != 3:
        raise ValueError("is no picture of points, three channels of 32-bit floats")
    counts = stored[..., 0] / np.float32(MILLIMETRES)
    known = (counts >= 1) & (counts < 65535)  # False for what is no number
    return np.where(known, np.rint(np.where(known, counts, 0)), 0).astype(np.uint16)


@dataclasses.dataclass(frozen=True)
class ArchivedDepths(MapFiles):
    """Depths whose files were made from an archive, by whose names they are called."""

    archive: Path = Path()

    def where(self, number: int) -> str:
        return f"{safe_text(self.archive)}: scene_points{number:06d}.tiff"


def unpack(archive: Path, folder: Path, every: int) -> tuple[ArchivedDepths, list[str]]:
    """Reads every so manieth scene points of a scene_points.tar.gz, one at a time.

    Args:
        folder: gets a PNG file of depths for each.
        every: frames from one map to the next; the first is that of frame 0.

    Returns:
        The maps, and sentences on members that are no points and on an archive that ends early.

    Raises:
        BadInput: the archive is no archive, or unpacks to more than 128 GiB.
    """
    files, problems, total = {}, [], 0
    try:
        with gzip.open(archive, "rb") as stream:
            for name, size, content in _members(stream):
                total += size
                if total > MOST_BYTES:
                    raise BadInput(archive, f"unpacks to more than {MOST_BYTES // 2**30} GiB")
                match = NAME.fullmatch(name.rpartition("/")[2])
                if match is None or int(match[1]) % every:
                    continue
                try:
                    counts = depth_of_points(_picture(content, size))
                except ValueError as error:
                    problems.append(f"{safe_text(archive)}: {match[0]} {error}")
                    continue
                files[int(match[1])] = folder / f"{match[1]}.png"
                cv2.imwrite(str(files[int(match[1])]), counts)
    except (OSError, EOFError, zlib.error, tarfile.HeaderError) as error:
        if not files:
            raise BadInput(archive, f"is no archive that can be read: {error}") from error
        problems.append(
            f"{safe_text(archive)}: cannot be read beyond frame {max(files)} ({error}); maps up to "
            "there were taken"
        )
    return ArchivedDepths(files, depths, MILLIMETRES, archive), problems


def _members(stream: BinaryIO) -> Iterator[tuple[str, int, BinaryIO]]:
    """(name, size, stream at its first byte) of the plain files of a tar archive.

    `tarfile` itself would take as much memory as a header claims for a long name.
    """
    while (header := stream.read(_BLOCK)).strip(b"\0"):
        member = tarfile.TarInfo.frombuf(header, "utf-8", "backslashreplace")
        end = stream.tell() + -(-member.size // _BLOCK) * _BLOCK
        if member.isreg():
            yield member.name, member.size, stream
        while stream.tell() < end:
            if not stream.read(min(_PIECE, end - stream.tell())):
                raise EOFError("it ends within a file")


def _picture(stream: BinaryIO, size: int) -> np.ndarray:
    if not 0 < size <= MAX_BYTES:
        raise ValueError("is no file of a readable size")
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("it ends within a file")
    try:
        stored = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        stored = None
    if stored is None:
        raise ValueError("is no readable picture")
    return stored
