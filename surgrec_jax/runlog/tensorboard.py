"""Files that a run appends to, on disks that may be full for a while."""

import os
import struct
import time
from pathlib import Path

import numpy as np
from absl import logging


class Appender:
    """Appends to a file; bytes that cannot be written are tried again with the next ones.

    Args:
        path: path of the file, made if missing; its folder exists.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._pending, self._failing = b"", False

    def write(self, data: bytes) -> None:
        """Appends bytes; a failure is logged once and ends nothing."""
        self._pending += data
        try:
            self._drain()
        except OSError as error:
            if not self._failing:
                logging.warning(
                    "%s cannot be written: %s; kept to be tried again", self.path, error
                )
            self._failing = True
        else:
            self._failing = False

    def close(self) -> None:
        """Closes the file. Raises OSError if bytes still cannot be written."""
        try:
            self._drain()
        except OSError as error:
            lost = f"{self.path}: the last {len(self._pending)} bytes could not be written"
            raise OSError(error.errno, f"{lost}: {error.strerror}") from error
        finally:
            os.close(self._file)

    def _drain(self) -> None:
        while self._pending:
            self._pending = self._pending[os.write(self._file, self._pending) :]


class EventFile:
    """Scalars and pictures for TensorBoard, written at once and in this thread.

    Events are encoded here: tensorboardX imports torch where there is one, which takes as long as
    all the rest of a start, and its writer has a thread that dies of a full disk; after ten more
    values the program would wait for it forever.

    Args:
        folder: folder of the file, made if missing.
        purge_step: step from which on the values of earlier files are not shown.
    """

    def __init__(self, folder: Path, purge_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{os.uname().nodename}.{os.getpid()}"
        self._file = Appender(folder / name)
        self._write(_bytes(3, b"brain.Event:2"))  # file_version
        self._write(_number(2, purge_step) + _bytes(7, _number(1, 1)))  # session_log: START

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes a value per tag."""
        summary = b"".join(
            _bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values.items()
        )
        self._write(_number(2, step) + _bytes(5, summary))

    def picture(self, step: int, tag: str, png: bytes, height: int, width: int) -> None:
        """Writes a picture, given as the bytes of a PNG file, RGB."""
        sizes = _number(1, height) + _number(2, width) + _number(3, 3)
        image = _bytes(4, sizes + _bytes(4, png))
        self._write(_number(2, step) + _bytes(5, _bytes(1, _bytes(1, tag.encode()) + image)))

    def close(self) -> None:
        """Closes the file; bytes that are still not written are lost, and logged."""
        try:
            self._file.close()
        except OSError as error:
            logging.warning("%s", error)

    def _write(self, event: bytes) -> None:
        data = _double(1, time.time()) + event
        length = struct.pack("<Q", len(data))  # the framing of TFRecord files
        self._file.write(length + _masked_crc32c(length) + data + _masked_crc32c(data))


# The wire format of protocol buffers, and the fields of tensorboard/compat/proto/event.proto and
# summary.proto that are used: Event wall_time 1, step 2, file_version 3, summary 5, session_log 7;
# Summary value 1; its Value tag 1, simple_value 2, image 4; Image height 1, width 2, colorspace 3,
# encoded_image_string 4; SessionLog status 1.


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _double(field: int, value: float) -> bytes:
    return _varint(field << 3 | 1) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    with np.errstate(over="ignore"):  # inf is shown where float32 ends
        return _varint(field << 3 | 5) + np.array(value, "<f4").tobytes()


def _varint(value: int) -> bytes:
    """Encodes a number of at least 0, seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _crc32c_table() -> list[int]:
    """The table of CRC-32C (Castagnoli, RFC 3720), one entry per byte."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


_CRC32C = _crc32c_table()


def _masked_crc32c(data: bytes) -> bytes:
    """The checksum of TFRecord files: a CRC, rotated and moved, as data may hold CRCs."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
