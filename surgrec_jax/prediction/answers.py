"""The answers of a model along a video, and what is made of them: smoothing and segments."""

import concurrent.futures
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from data_builders.common.video.container import DEFAULT, DecodeSpec
from data_builders.common.video.frames import ReadReport
from surgrec_jax.evaluation.metrics.videos import segments as runs
from surgrec_jax.prediction.frames import Moment, moments, pictures_of
from surgrec_jax.prediction.model import Model
from surgrec_jax.safety.errors import ConfigError, DataError

PRESENT = 0.5  # a class of several that may apply counts as there from this probability on
UNSURE = 0.1  # the leading class is this much ahead of the next one where a model is sure


@dataclasses.dataclass(frozen=True, eq=False)
class Answers:
    """The answers along a video at n instants.

    Attributes:
        times: float64 [n], seconds.
        shown: float32 [n], time of the picture that each answer is about.
        numbers: int64 [n], the frame number of that picture in the file.
        scores: float32 [n, C].
        distance: float32 [n], to the neighbours among the training features; NaN where not known.
        thumbnails: n JPEG files as bytes: the whole picture, small.
        end: seconds, of the end of the video.
    """

    times: np.ndarray
    shown: np.ndarray
    numbers: np.ndarray
    scores: np.ndarray
    distance: np.ndarray
    thumbnails: list[bytes]
    end: float


def answer_moments(
    function: Callable[[np.ndarray], np.ndarray], asked: Iterable[Moment], size: int
) -> Iterator[tuple[Moment, np.ndarray]]:
    """Each moment with its row of `function`; a batch is computed while the next one is read.

    Args:
        function: of uint8 clips [B, T, S, S, 3], with a row for each.
        size: clips in a batch.
    """
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        ahead: tuple[list[Moment], concurrent.futures.Future] | None = None
        last = np.zeros(0, np.float32)
        for batch in _batches(asked, size):
            clips = np.stack([moment.clip for moment in batch if moment.clip is not None])
            coming = batch, pool.submit(function, clips)
            if ahead is not None:
                last = yield from _with_rows(ahead[0], ahead[1].result(), last)
            ahead = coming
        if ahead is not None:
            yield from _with_rows(ahead[0], ahead[1].result(), last)


def check_finite(model: Model, scores: np.ndarray) -> None:
    """Raises DataError for scores with NaN or infinity."""
    if not np.isfinite(scores).all():
        raise DataError(
            f"{model.name} gives NaN or infinite probabilities; was its training run stopped as "
            "non-finite?"
        )


def _batches(asked: Iterable[Moment], size: int) -> Iterator[list[Moment]]:
    """Moments in lists with at most `size` clips each; a list begins with a clip."""
    batch, clips = [], 0
    for moment in asked:
        if moment.clip is not None and clips == size:
            yield batch
            batch, clips = [], 0
        batch.append(moment)
        clips += moment.clip is not None
    if batch:
        yield batch


def _with_rows(batch: list[Moment], scores: np.ndarray, last: np.ndarray):
    """Each moment with its row of scores; one without a clip has the row before, at first `last`.

    Returns the last row.
    """
    rows = iter(scores)
    for moment in batch:
        last = last if moment.clip is None else next(rows)
        yield moment, last
    return last


def answer_video(
    path: Path,
    model: Model,
    rate: float,
    report: ReadReport,
    decode: DecodeSpec = DEFAULT,
) -> Answers:
    """The answers of a model along a video file, or a folder of pictures.

    Args:
        rate: answers per second.
        report: filled while reading.
        decode: of the builders' reader.

    Raises:
        BadInput: the video cannot be read.
    """
    model, side = model.begin(), model.clip.size
    pictures = pictures_of(path, side, model.storing, report, decode)
    found = list(_compact(model, moments(pictures, model.clip, rate, model.frame)))
    times, shown, numbers, rows, thumbnails = zip(*found, strict=True)
    check_finite(model, np.stack(rows)[:, :-1])
    return Answers(
        times=np.array(times),
        shown=np.array(shown, np.float32),
        numbers=np.array(numbers, np.int64),
        scores=np.stack(rows)[:, :-1],
        distance=np.stack(rows)[:, -1],
        thumbnails=list(thumbnails),
        end=max(report.duration, times[-1]),
    )


def _compact(model: Model, asked: Iterable[Moment]) -> Iterator[tuple]:
    """Each moment without its clip, and with a thumbnail of its picture once a second."""
    small, second = b"", -1
    for moment, row in answer_moments(model.rows, asked, model.encoder.batch_size):
        if int(moment.time) != second:
            small, second = moment.shown.thumbnail, int(moment.time)
        yield moment.time, moment.shown.time, moment.shown.number, row, small


@dataclasses.dataclass(frozen=True)
class Smoothing:
    """A moving mean of the probabilities; 0 seconds is none.

    Online it is over the last `seconds` up to an instant; offline, half of them lie after it.
    """

    seconds: float = 0.0
    online: bool = True

    def __post_init__(self):
        if not 0 <= self.seconds <= 3600:
            raise ConfigError(f"--smoothing=mean:{self.seconds:g}: give 0 to 3600 seconds")

    @classmethod
    def parse(cls, text: str, online: bool) -> "Smoothing":
        """The smoothing of a text: "none", or "mean:SECONDS".

        Raises:
            ConfigError: another text.
        """
        if text == "none":
            return cls(0.0, online)
        match = re.fullmatch(r"mean:(\d+(?:\.\d+)?)", text)
        if not match:
            raise ConfigError(f"--smoothing={text}: give none, or mean:SECONDS such as mean:5")
        return cls(float(match[1]), online)

    def __str__(self) -> str:
        if not self.seconds:
            return "none"
        reach = "up to each instant" if self.online else "around each instant"
        return f"mean of the probabilities over {self.seconds:g} s {reach}"

    def __call__(self, times: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Smoothed scores, float64 [n, C], of scores [n, C] at rising times [n]."""
        if not self.seconds:
            return scores.astype(np.float64)
        after = 0.0 if self.online else self.seconds / 2
        first = np.searchsorted(times, times - (self.seconds - after) + 1e-9)
        last = np.searchsorted(times, times + after + 1e-9, side="right")
        sums = np.concatenate([np.zeros((1, scores.shape[1])), np.cumsum(scores, 0, np.float64)])
        return (sums[last] - sums[first]) / (last - first)[:, None]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A stretch of one class: [start, end) in seconds, and its mean probability there."""

    start: float
    end: float
    label: int
    confidence: float


def segments_of(
    times: np.ndarray, scores: np.ndarray, end: float, multi_label: bool
) -> list[Segment]:
    """The stretches of the leading class, or of every class that is present, in order of time.

    Args:
        times: float [n]. scores: float [n, C].
        end: of the video, seconds.
    """
    edges = np.append(times, max(end, times[-1]))
    if multi_label:
        decided = [(k, scores[:, k] >= PRESENT) for k in range(scores.shape[1])]
    else:
        decided = [(None, scores.argmax(1))]
    found = []
    for column, values in decided:
        for value, first, last in zip(*runs(values), strict=True):
            if column is not None and not value:
                continue
            label = int(value) if column is None else column
            sure = float(scores[first:last, label].mean())
            found.append(Segment(float(edges[first]), float(edges[last]), label, sure))
    return sorted(found, key=lambda s: (s.start, s.label))


def unsure(scores: np.ndarray, multi_label: bool) -> np.ndarray:
    """Where a model was unsure: bool [n] of scores [n, C].

    The leading class is less than UNSURE ahead of the next one; of several that may apply, one is
    within half of that of PRESENT.
    """
    if multi_label:
        return (np.abs(scores - PRESENT) < UNSURE / 2).any(1)
    if scores.shape[1] < 2:
        return np.zeros(len(scores), bool)
    second, first = np.sort(scores, 1)[:, -2:].T
    return first - second < UNSURE
