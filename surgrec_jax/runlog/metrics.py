"""Metrics of a run: metrics.jsonl, TensorBoard, progress line, collapse monitors."""

import json
import math
import os
import shutil
import struct
import sys
import time
from pathlib import Path
from typing import IO

import numpy as np

from surgrec_jax.runlog.tensorboard import Appender, EventFile
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

FILE = "metrics.jsonl"
LOG_EVERY_S = 20


# TensorBoard's sections; probe/... has its own, and what is not named here is the objective's.
_SECTIONS = {
    "optimizer": ("lr", "weight_decay", "grad_norm", "momentum"),
    "speed": ("step_ms", "clips_per_s", "data_wait"),
    "health": (
        *("feature_std", "effective_rank", "mean_cosine", "collapsed", "nonfinite"),
        *("loss_spike", "bad_records", "failed_saves"),
    ),
}


def board_tag(key: str) -> str:
    """The name of a value in TensorBoard, which groups by what stands before the slash."""
    if "/" in key:
        return key
    section = next((name for name, keys in _SECTIONS.items() if key in keys), "objective")
    return f"{section}/{key}"


def collapse_statistics(features: np.ndarray) -> dict[str, float]:
    """Measures how far the features of a batch are from all being the same.

    Args:
        features: [B, D] pooled features of B different clips.

    Returns:
        feature_std: deviation over clips of the length-normalised features, averaged over D,
            times sqrt(D) (1 for directions spread evenly over the sphere, 0 for collapse);
        effective_rank: exp of the entropy of the centred features' normalised singular values
            (Roy and Vetterli 2007), at most min(B - 1, D);
        mean_cosine: average cosine between different clips (1 for collapse).
    """
    features = np.asarray(features, np.float64)
    count, width = features.shape
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    singular = np.linalg.svd(features - features.mean(0), compute_uv=False)
    share = singular / max(singular.sum(), 1e-12)
    entropy = -np.sum(share * np.log(np.maximum(share, 1e-300)))
    cosine = unit @ unit.T
    return {
        "feature_std": float(unit.std(0).mean() * math.sqrt(width)),
        "effective_rank": float(np.exp(entropy)) if singular.sum() > 1e-12 else 0.0,
        "mean_cosine": float((cosine.sum() - np.trace(cosine)) / max(count * (count - 1), 1)),
    }


class MetricsWriter:
    """Appends a JSON object per logged step, and the same numbers to TensorBoard.

    Opened again after a restart, it drops the lines of steps that will be run again (they come
    out the same), and a line that a crash cut short.

    Args:
        workdir: the run's folder.
        step: the step the run continues from.
    """

    def __init__(self, workdir: Path, step: int = 0):
        self.path = workdir / FILE
        lines = [line for line in read_lines(self.path) if line["step"] <= step]
        files.write_text(self.path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = Appender(self.path)
        self._board = EventFile(workdir / "tensorboard", purge_step=step + 1)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Writes a line; values that are not finite become null, which JSON can carry."""
        clean = {k: v if math.isfinite(v) else None for k, v in values.items()}
        self._file.write((json.dumps({"step": step, **clean}) + "\n").encode())
        self._board.write(step, {board_tag(key): value for key, value in values.items()})

    def picture(self, step: int, path: Path) -> None:
        """Shows a PNG file of the run in TensorBoard, too."""
        png = path.read_bytes()
        height, width = struct.unpack(">II", png[16:24])[::-1]  # of its first chunk, IHDR
        self._board.picture(step, "pictures", png, height, width)

    def close(self) -> None:
        """Closes both files. Raises OSError if lines of the metrics file are not written."""
        self._board.close()
        self._file.close()


def read_lines(path: Path) -> list[dict[str, float]]:
    """Reads the lines of a metrics file, without one that a crash cut short."""
    if not path.exists():
        return []
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = []
    for number, text in enumerate(texts, 1):
        try:
            line = untrusted.parse_json(text)
            line["step"] = int(line["step"])
            lines.append(line)
        except (ValueError, TypeError, KeyError, OverflowError):
            if number < len(texts):
                raise DataError(
                    f"{path}, line {number} is not JSON with a step: {text[:80]!r}"
                ) from None
    return lines


class Clock:
    """Step time, clips per second and the share of time the loop waits for data."""

    def __init__(self, batch_size: int):
        self.batch_size = batch_size
        self._start = self._last = self._now = time.perf_counter()
        self._waited, self._steps, self._seen = 0.0, 0, 0

    def waited(self, seconds: float) -> None:
        """Adds time spent waiting for the next batch."""
        self._waited += seconds

    def tick(self) -> None:
        """Counts a step, which has just been started or, where the device is the host, done."""
        self._steps += 1
        self._seen += 1
        self._now = time.perf_counter()

    def pause(self, seconds: float) -> None:
        """Leaves out time that was spent on probes, images and saves."""
        self._last += seconds
        self._start += seconds

    def read(self) -> dict[str, float]:
        """Returns step_ms, clips_per_s and data_wait (0 to 1) of the steps since the last reading.

        The time is that from step to step: the last one may have ended before it is read.
        """
        now = self._now
        seconds, steps = max(now - self._last, 1e-9), max(self._steps, 1)
        values = {
            "step_ms": 1000 * seconds / steps,
            "clips_per_s": self.batch_size * steps / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
        }
        self._last, self._waited, self._steps = now, 0.0, 0
        return values

    def seconds_left(self, steps: int) -> float:
        """The seconds that some steps take at the average speed so far."""
        elapsed = time.perf_counter() - self._start
        return steps * elapsed / max(self._seen, 1)


class ProgressLine:
    """A line that is rewritten on a terminal, or added to a log file every LOG_EVERY_S seconds."""

    def __init__(self, total: int, name: str, *, stream: IO[str] | None = None):
        self.total, self.name, self._stream = total, name, stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last = -math.inf

    def show(
        self, step: int, values: dict[str, float], seconds_left: float, notes: str = ""
    ) -> None:
        """Shows step, loss, clips/s, share of time waiting for data, time left, and troubles."""
        recent = time.monotonic() - self._last < LOG_EVERY_S
        if not self._terminal and recent and step < self.total:
            return
        self._last = time.monotonic()
        text = (
            f"{self.name} {step}/{self.total}  loss {values['loss']:.4f}  "
            f"{values['clips_per_s']:.1f} clips/s  data wait {values['data_wait']:.0%}  "
            f"{duration(seconds_left)} left{notes and '  ! ' + notes}"
        )
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            self._stream.write("\r" + text[:width].ljust(width))
        else:
            self._stream.write(text + os.linesep)
        self._stream.flush()

    def say(self, text: str) -> None:
        """Writes a line of its own that stays."""
        self.close()
        self._stream.write(text + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Ends the line that is being rewritten."""
        if self._terminal and self._last > -math.inf:
            self._stream.write("\n")


def duration(seconds: float) -> str:
    """Formats seconds as 45s, 12m 05s or 3h 20m."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds}s"
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    return f"{seconds // 3600}h {seconds % 3600 // 60:02d}m"
