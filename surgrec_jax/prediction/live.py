"""Answers while a source runs: a camera, a pipe of raw frames, or a file at its own speed.

One thread takes pictures from the source, another answers them. Where answering is too slow,
pictures are dropped and counted, and memory stays that of a clip and a short queue.
"""

import dataclasses
import json
import math
import queue
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import Frame, ReadReport
from surgrec_jax.prediction.answers import PRESENT, check_finite
from surgrec_jax.prediction.frames import Picture, moments, pictures_of, pictures_of_frames
from surgrec_jax.prediction.model import Model
from surgrec_jax.prediction.streamed import streamed
from surgrec_jax.safety.errors import ConfigError, UserError, sentence

WAITING = 16  # pictures that wait to be answered; more are dropped
KEPT = 10_000  # the latest latencies that the figures at the end are of
MAX_FRAME = 2**28  # bytes of a raw frame


@dataclasses.dataclass(frozen=True)
class RawFrames:
    """The form of frames on a pipe: BGR, 8 bits, rows from the top, nothing between frames."""

    width: int
    height: int
    fps: float

    @classmethod
    def parse(cls, text: str) -> "RawFrames":
        """The form of a text such as 1280x720@25.

        Raises:
            ConfigError: another text, or sizes that are not possible.
        """
        match = re.fullmatch(r"(\d{1,6})x(\d{1,6})@(\d{1,6}(?:\.\d+)?)", text)
        if not match:
            raise ConfigError(f"--raw={text}: give WIDTHxHEIGHT@FPS, such as 1280x720@25")
        found = cls(int(match[1]), int(match[2]), float(match[3]))
        if not found.fps > 0 or not 0 < found.width * found.height * 3 <= MAX_FRAME:
            raise ConfigError(f"--raw={text}: no such frames")
        return found

    def read(self, pipe: IO[bytes], told: list[str]) -> Iterator[Frame]:
        """The frames of a pipe until it ends; `told` gets a sentence where one is cut off."""
        size, number = self.width * self.height * 3, 0
        while data := pipe.read(size):
            if len(data) < size:
                told.append(f"the pipe ended within frame {number} ({len(data)} of {size} bytes)")
                return
            picture = np.frombuffer(data, np.uint8).reshape(self.height, self.width, 3)
            yield Frame(number / self.fps, number, picture)
            number += 1


def camera(index: int, told: list[str]) -> Iterator[Frame]:
    """The frames of a camera until it gives no more, timed as they come.

    Raises:
        ConfigError: there is no such camera.
    """
    # OpenCV would print at length what the error below says in a sentence.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    device = cv2.VideoCapture(index)
    try:
        if not device.isOpened():
            raise ConfigError(
                f"camera {index} cannot be opened: is it there, and used by no other program? A "
                "file whose name is a number is given with its folder, such as ./0"
            )
        began, number = time.monotonic(), 0
        while True:
            there, picture = device.read()
            if not there:
                told.append(f"camera {index} gives no more pictures")
                return
            yield Frame(time.monotonic() - began, number, picture)
            number += 1
    finally:
        device.release()


def open_source(
    source: str, model: Model, raw: RawFrames | None, decode: DecodeSpec, report: ReadReport
) -> Iterator[Picture]:
    """The stored pictures of a source: "-" is the pipe on stdin, a number a camera, else a file.

    Raises:
        ConfigError: a pipe whose frames' form is not given.
    """
    side, storing = model.clip.size, model.storing
    if source == "-":
        if raw is None:
            raise ConfigError("frames on a pipe need their form: --raw=WIDTHxHEIGHT@FPS")
        frames = raw.read(sys.stdin.buffer, report.problems)
    elif source.isdigit():
        frames = camera(int(source), report.problems)
    else:
        return pictures_of(Path(source), side, storing, report, decode)
    return pictures_of_frames(frames, side, storing, report)


@dataclasses.dataclass
class Feed:
    """Takes pictures from a source in a thread of its own.

    Attributes:
        pictures: of the source.
        speed: of a file: 1 is its own, 2 twice that; 0 is as fast as it is answered, and drops
            nothing. math.inf is that of a source that keeps its own time.
        stall: seconds without a picture after which the source counts as stalled.
        dropped: pictures that came while too many waited.
        began: clock time of the source's 0 seconds; NaN before its first picture.
        error: what ended the source, or None.
    """

    pictures: Iterator[Picture]
    speed: float
    stall: float
    dropped: int = 0
    began: float = math.nan
    error: BaseException | None = None

    def __iter__(self) -> Iterator[Picture]:
        waiting: queue.Queue = queue.Queue(WAITING)
        threading.Thread(target=self._take, args=(waiting,), daemon=True, name="live").start()
        while True:
            try:
                picture = waiting.get(timeout=self.stall)
            except queue.Empty:
                self.error = UserError(f"the source stalled: no picture for {self.stall:g} s")
                return
            if picture is None:
                return
            yield picture

    def _take(self, waiting: queue.Queue) -> None:
        try:
            for picture in self.pictures:
                now, at = time.monotonic(), float(picture.time)
                if 0 < self.speed < math.inf:
                    self.began = now - at if math.isnan(self.began) else self.began
                    time.sleep(max(0.0, self.began + at / self.speed - now))
                elif math.isnan(self.began):
                    self.began = now - at
                if self.speed == 0:
                    waiting.put(picture)
                    continue
                try:
                    waiting.put_nowait(picture)
                except queue.Full:
                    self.dropped += 1
        except BaseException as error:  # told where the answers are
            self.error = error
        waiting.put(None)


def ready(model: Model, rate: float, stream: bool = False) -> Model:
    """A model before the first clip of a source, with all compiled that an answer needs.

    Args:
        rate: answers per second.
        stream: whether a block-causal encoder computes every tubelet once, see `streamed`.

    Raises:
        ConfigError: as `streamed`.
    """

    def before() -> Model:
        return streamed(model.begin(), rate) if stream else model.begin()

    model.encoder.batch_size = 1  # an answer is not to wait for others
    before().rows(np.zeros((1, model.clip.frames, *2 * (model.clip.size,), 3), np.uint8))
    return before()


def answer(
    model: Model, feed: Feed, rate: float, say: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Answers a source until it ends, stalls or breaks.

    Args:
        rate: answers per second of the source.
        say: takes each answer: "time" in seconds, "class", "confidence", "probabilities",
            "latency_ms" (from the instant in the source to the answer; None at speed 0).

    Returns:
        "answers", "dropped" pictures, "latency_ms" with its median and 95 % of the latest KEPT
        answers, and "ended", a sentence.

    Raises:
        Exception: what is no fault of the source, a bug.
    """
    late, answers, row = np.full(KEPT, np.nan), 0, None
    for moment in moments(feed, model.clip, rate, model.frame):
        if moment.clip is not None:
            (row,) = model.rows(moment.clip[None])
            check_finite(model, row[:-1])
        latency = None
        if feed.speed:
            shift = moment.time / (feed.speed if math.isfinite(feed.speed) else 1.0)
            latency = 1000 * (time.monotonic() - feed.began - shift)
            late[answers % KEPT] = latency
        answers += 1
        say(_spoken(model, moment.time, row[:-1], latency))
    if feed.error is not None and sentence(feed.error) is None:
        raise feed.error
    known = late[~np.isnan(late)]
    figures = {name: float(np.quantile(known, q)) for name, q in (("median", 0.5), ("95 %", 0.95))
               if len(known)}  # fmt: skip
    return {
        "answers": answers,
        "dropped": feed.dropped,
        "latency_ms": {name: round(value, 1) for name, value in figures.items()},
        "ended": "the source ended" if feed.error is None else sentence(feed.error),
    }


def _spoken(model: Model, at: float, scores: np.ndarray, latency: float | None) -> dict[str, Any]:
    names = model.classes
    if model.multi_label:
        said = [name for name, score in zip(names, scores, strict=True) if score >= PRESENT]
    else:
        said = names[int(scores.argmax())]
    return {
        "time": round(at, 3),
        "class": said,
        "confidence": round(float(scores.max()), 4),
        "probabilities": {n: round(float(p), 4) for n, p in zip(names, scores, strict=True)},
        "latency_ms": None if latency is None else round(latency, 1),
    }


def run(
    source: str,
    model: Model,
    rate: float,
    decode: DecodeSpec,
    *,
    raw: RawFrames | None = None,
    speed: float = 1.0,
    stall: float = 10.0,
    stream: bool = False,
) -> int:
    """Prints a line of JSON per answer to stdout, and one with the figures at the end.

    With `stream` a block-causal encoder computes every tubelet once (see `streamed`). The exit code
    is 0 where the source ended by itself, else 1.
    """
    if not 0 <= speed <= 1000 or not 0 < stall <= 86400:
        raise ConfigError(f"--speed={speed:g}, --stall={stall:g}: give 0 to 1000, and seconds")
    model, report = ready(model, rate, stream), ReadReport()
    file = source != "-" and not source.isdigit()
    pictures = open_source(source, model, raw, decode, report)
    feed = Feed(pictures, speed if file or speed == 0 else math.inf, stall)

    def say(value: dict[str, Any]) -> None:
        print(json.dumps(value), flush=True)

    found = answer(model, feed, rate, say)
    say(found | {"notes": report.problems})
    print(f"predict: {found['ended']}", file=sys.stderr)
    return 0 if feed.error is None else 1
