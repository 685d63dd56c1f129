"""A copy of a video with its answers in a band below the picture, so that it hides nothing of it.

The band has the phase of the segment, the probability of that phase at the instant, and a ribbon of
the whole video with a mark at the instant. Everything is read from the tables of `tables`, so an
overlay costs no second answer of the model.
"""

import csv
import dataclasses
import unicodedata
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import Frame, ReadReport
from data_builders.common.video.reading import read_video
from surgrec_jax.evaluation.report.svg_tasks import palette
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import ConfigError

NAME = "overlay.mp4"
SHORT_SIDE = 720  # at most, of the picture
BAND = 64  # the least height of the band below it, pixels
# Encoders of FFmpeg, the first that is there is taken, with their options.
ENCODERS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"b": "6000000"},
}
H264 = ("libx264", "libopenh264")
_CLOCK = Fraction(1, 1000)  # seconds of a tick
_PAPER, _INK = (32, 32, 32), (235, 235, 235)  # BGR
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def find_encoder(names: Sequence[str] = tuple(ENCODERS)) -> str:
    """The first of these encoders that FFmpeg has here.

    Raises:
        ConfigError: it has none of them.
    """
    for name in names:
        try:
            return av.codec.Codec(name, "w").name
        except av.codec.codec.UnknownCodecError:
            continue
    raise ConfigError(f"--overlay: FFmpeg has none of the encoders {', '.join(names)} here")


@dataclasses.dataclass(frozen=True, eq=False)
class Told:
    """What the tables of a video say.

    Attributes:
        classes: names, in the order of the columns.
        times: float64 [n], seconds. scores: float64 [n, C], probabilities.
        segments: (first second, last second, class), in order of time.
        end: of the last segment, seconds.
    """

    classes: tuple[str, ...]
    times: np.ndarray
    scores: np.ndarray
    segments: tuple[tuple[float, float, int], ...]

    @property
    def end(self) -> float:
        return max([float(self.times[-1]), *(last for _, last, _ in self.segments), 1e-3])

    def at(self, time: float) -> int:
        """The number of the answer that holds at a time: the last one up to it."""
        return max(0, int(np.searchsorted(self.times, time + 1e-6, "right")) - 1)

    def classes_of(self, answer: int) -> list[tuple[int, float]]:
        """The classes of the segments at an answer, each with its probability there."""
        at, row = self.times[answer], self.scores[answer]
        return [
            (k, float(row[k]))
            for first, last, k in self.segments
            if first <= at < max(last, first + 1e-6)
        ]


def read_tables(folder: Path, classes: Sequence[str]) -> Told:
    """What predictions.csv and segments.csv of a folder say.

    Raises:
        DataError: they are not as `tables` writes them. OSError: they cannot be read.
    """
    number = {name: k for k, name in enumerate(classes)}
    with untrusted.interpreting(folder / "predictions.csv"):
        rows = _rows(folder / "predictions.csv")
        # A class may be called as one of the first columns is; the classes are the last ones.
        times = np.array([float(row[0]) for row in rows[1:]])
        scores = np.array([[float(v) for v in row[-len(classes) :]] for row in rows[1:]])
        if rows[0][-len(classes) :] != list(classes) or not len(times):
            raise ValueError("columns of other classes")
    with untrusted.interpreting(folder / "segments.csv"):
        rows = _rows(folder / "segments.csv")[1:]
        spans = [(float(start), float(end), number[name]) for start, end, name, _ in rows]
    return Told(tuple(classes), times, scores, tuple(sorted(spans)))


def _rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def write(
    path: Path, video: Path, told: Told, decode: DecodeSpec, encoder: str | None = None
) -> None:
    """Writes the overlay of a video, whole or not at all.

    The pictures are those of the builders' reader at their own times, made smaller where their
    short side has more than SHORT_SIDE pixels. There is no sound. Memory is that
    of some frames and of MP4's index, about 100 bytes a frame.

    Args:
        path: of the overlay.
        encoder: a name in ENCODERS; None for the first that is there.

    Raises:
        BadInput: the video cannot be read.
        OSError: the overlay cannot be written; it names `path`.
    """
    name = encoder or find_encoder()
    frames = read_video(
        video,
        short_side=SHORT_SIDE,
        report=ReadReport(),
        image_fps=decode.native_fps,
        image_start=None,
        decode_spec=decode,
    )
    try:
        with files.replacing(path) as file, av.open(file.name, "w", format="mp4") as out:
            stream = out.add_stream(name, options=ENCODERS[name])
            stream.codec_context.time_base = stream.time_base = _CLOCK
            band, last = None, -1
            for frame in frames:
                if band is None:
                    band = Band(told, *frame.picture.shape[:2])
                    stream.width, stream.height, stream.pix_fmt = *band.size, "yuv420p"
                tick = round(frame.time / _CLOCK)
                if tick <= last:  # two pictures of one millisecond
                    continue
                picture = av.VideoFrame.from_ndarray(band.below(frame), "bgr24")
                picture.pts, picture.time_base, last = tick, _CLOCK, tick
                out.mux(stream.encode(picture))
            out.mux(stream.encode(None))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


class Band:
    """The band below pictures of H by W.

    Attributes:
        size: (width, height) of pictures with the band, both even, as H.264 asks for.
    """

    def __init__(self, told: Told, height: int, width: int):
        self._told, self._picture = told, (height, width)
        self._height = max(BAND, round(0.12 * height))
        self.size = width + width % 2, height + self._height + (height + self._height) % 2
        self._ribbon = self._drawn_ribbon()
        self._shown: tuple[int, ...] = ()
        self._drawn = np.zeros(0)

    def below(self, frame: Frame) -> np.ndarray:
        """The picture of a frame with the band, BGR uint8 [size[1], size[0], 3]."""
        width, height = self.size
        whole = np.empty((height, width, 3), np.uint8)
        whole[:] = _PAPER
        whole[: self._picture[0], : self._picture[1]] = frame.picture
        whole[-self._height :] = self._band(frame.time)
        return whole

    def _band(self, time: float) -> np.ndarray:
        """The band at a time; it is drawn anew where it changes."""
        x = min(self.size[0] - 1, int(self.size[0] * max(0.0, time) / self._told.end))
        shown = x, self._told.at(time)
        if shown != self._shown:
            self._shown, self._drawn = shown, self._ribbon.copy()
            cv2.line(self._drawn, (x, 0), (x, self._ribbon_height), _INK, 2)
            here = self._told.classes_of(shown[1])
            words = (f"{_ascii(self._told.classes[k])} {100 * p:.0f} %" for k, p in here)
            self._write(", ".join(words) or "no class")
        return self._drawn

    @property
    def _ribbon_height(self) -> int:
        return self._height // 3

    def _drawn_ribbon(self) -> np.ndarray:
        """The band without words: a row per class where several may apply at a time, else one."""
        width, told = self.size[0], self._told
        band = np.empty((self._height, width, 3), np.uint8)
        band[:] = _PAPER
        colours = palette(len(told.classes))
        used = sorted({k for _, _, k in told.segments})
        starts = [first for first, _, _ in told.segments]
        ends = [last for _, last, _ in told.segments]
        several = any(a < b - 1e-6 for a, b in zip(starts[1:], ends[:-1], strict=True))
        for first, last, k in told.segments:
            row, rows = (used.index(k), len(used)) if several else (0, 1)
            top, bottom = (self._ribbon_height * r // rows for r in (row, row + 1))
            left, right = (round(width * t / told.end) for t in (first, last))
            band[top:bottom, left : max(left + 1, right)] = colours[k][::-1]
        return band

    def _write(self, words: str) -> None:
        """Words below the ribbon, as large as the band and the width allow."""
        space = self._height - self._ribbon_height
        (wide, tall), _ = cv2.getTextSize(words, _FONT, 1.0, 1)
        scale = min(0.5 * space / tall, 0.96 * self.size[0] / wide)
        place = round(0.02 * self.size[0]), round(self._height - 0.3 * space)
        cv2.putText(self._drawn, words, place, _FONT, scale, _INK, 1, cv2.LINE_AA)


def _ascii(name: str) -> str:
    """A name as OpenCV can draw it: accents are left out, other letters become question marks."""
    plain = unicodedata.normalize("NFKD", name)
    bare = "".join(c for c in plain if not unicodedata.combining(c))
    return bare.encode("ascii", "replace").decode()
