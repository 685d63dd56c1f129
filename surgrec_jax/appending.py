"""Files that a run appends to, on disks that may be full for a while."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

from absl import logging
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.record_writer import masked_crc32c


class Appender:
    """Appends to a file; what cannot be written now is kept and tried again with what comes next.

    Args:
        path: made if missing; its folder exists.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._pending, self._failing = b"", False

    def write(self, data: bytes) -> None:
        """Appends; a failure is logged once and ends nothing."""
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
        """Closes the file. Raises OSError if there is something that still cannot be written."""
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
    """Scalars for TensorBoard, written at once and in this thread.

    tensorboardX's own writer has a thread that dies of a full disk; after ten more values the
    program would wait for it forever.

    Args:
        folder: made if missing.
        purge_step: what earlier files hold from this step on is not shown.
    """

    def __init__(self, folder: Path, purge_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{time.time():.0f}.{os.uname().nodename}.{os.getpid()}"
        self._file = Appender(folder / name)
        self._write(event_pb2.Event(file_version="brain.Event:2"))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(event_pb2.Event(session_log=start, step=purge_step))

    def write(self, step: int, values: dict[str, float]) -> None:
        """One value per tag."""
        value = [summary_pb2.Summary.Value(tag=k, simple_value=v) for k, v in values.items()]
        self._write(event_pb2.Event(summary=summary_pb2.Summary(value=value), step=step))

    def close(self) -> None:
        """Closes the file; what is still not written is lost, and logged."""
        try:
            self._file.close()
        except OSError as error:
            logging.warning("%s", error)

    def _write(self, event: event_pb2.Event) -> None:
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))  # the framing of TFRecord files
        sums = (struct.pack("<I", masked_crc32c(x)) for x in (length, data))
        self._file.write(length + next(sums) + data + next(sums))
