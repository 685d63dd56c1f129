"""Whole videos in a notebook: clips, features and predictions of any file, without a build."""

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tqdm

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import ReadReport
from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.frozen.classifier import Classifier
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.prediction.answers import (
    Segment,
    Smoothing,
    answer_moments,
    answer_video,
    segments_of,
)
from surgrec_jax.prediction.frames import Moment, moments, pictures_of, storing_of
from surgrec_jax.prediction.model import Model, model_of, open_model
from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """The answers along a video at n instants.

    Attributes:
        times: float64 [n], seconds.
        scores: float32 [n, C], the model's probabilities.
        classes: names of the columns.
        segments: stretches of a class, after the smoothing.
        notes: sentences on what was wrong with the file.
    """

    times: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...]
    segments: list[Segment]
    notes: list[str]


def read_video(
    path: str | os.PathLike,
    encoder: Encoder,
    *,
    rate: float = 1.0,
    batch_size: int = 32,
    native_fps: float | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Reads a video as the clips that an encoder takes; memory is that of a batch.

    Pictures are upright, at their own times and stored as the encoder's training pictures were;
    damaged places are passed over. The clip of an instant ends there.

    Args:
        path: a video file, or a folder of pictures (then give `native_fps`).
        rate: clips per second.
        batch_size: clips in a batch, b; the last one may be smaller.
        native_fps: pictures per second of what names none.

    Yields:
        times float64 [b] in seconds, and clips uint8 [b, T, S, S, 3].

    Raises:
        BadInput: not a readable video.
    """
    times, clips, last = [], [], None
    for moment in _moments(path, encoder, rate, native_fps):
        last = last if moment.clip is None else moment.clip
        times.append(moment.time)
        clips.append(last)
        if len(clips) == batch_size:
            yield np.array(times), np.stack(clips)
            times, clips = [], []
    if clips:
        yield np.array(times), np.stack(clips)


def embed(
    path: str | os.PathLike,
    encoder: Encoder,
    *,
    rate: float = 1.0,
    native_fps: float | None = None,
    progress: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Features of a whole video, in batches of the encoder's.

    Args:
        path, rate, native_fps: as for `read_video`.
        progress: whether a bar is shown where the output is a terminal.

    Returns:
        times float64 [n] in seconds, and features float32 [n, D] of the clips that end there.

    Raises:
        BadInput: not a readable video.
    """
    asked = _moments(path, encoder, rate, native_fps)
    rows = answer_moments(encoder.features, asked, encoder.batch_size)
    shown = tqdm.tqdm(rows, desc=Path(path).name, unit="clip", disable=None if progress else True)
    times, features = zip(*((moment.time, row) for moment, row in shown), strict=True)
    return np.array(times), np.stack(features)


def predict(
    path: str | os.PathLike,
    model: str | os.PathLike | Classifier,
    *,
    head: str | os.PathLike | None = None,
    rate: float | None = None,
    smoothing: str = "mean:5",
    offline: bool = False,
    native_fps: float | None = None,
) -> Prediction:
    """Answers a video, as `python -m surgrec_jax.predict` does.

    Args:
        path: a video file, or a folder of pictures (then give `native_fps`).
        model: a workdir, or what `load_classifier` gives.
        head: of a workdir's encoder or classifier, a file that a probe has kept.
        rate: answers per second; None for 1, or what a temporal head has learnt.
        smoothing: "none", or "mean:SECONDS"; of the segments, not of the scores.
        offline: whether smoothing may look ahead.
        native_fps: pictures per second of what names none.

    Raises:
        BadInput: not a readable video.
        CheckpointError: no checkpoint with a classifier.
        ConfigError: another smoothing, or a rate that is not possible.
    """
    opened: Model = model_of(model) if isinstance(model, Classifier) else open_model(model, head)
    smooth = Smoothing.parse(smoothing, opened.online and not offline)
    report = ReadReport()
    answers = answer_video(
        Path(path), opened, opened.rate(rate), report, DecodeSpec(native_fps=native_fps)
    )
    smoothed = smooth(answers.times, answers.scores)
    return Prediction(
        answers.times,
        answers.scores,
        opened.classes,
        segments_of(answers.times, smoothed, answers.end, opened.multi_label),
        report.problems,
    )


def _moments(path, encoder: Encoder, rate: float, native_fps: float | None) -> Iterable[Moment]:
    storing, _ = storing_of(encoder.meta)
    clip, decode = clip_of(encoder.clip), DecodeSpec(native_fps=native_fps)
    pictures = pictures_of(Path(path), clip.size, storing, ReadReport(), decode)
    return moments(pictures, clip, _checked(rate))


def _checked(rate: float) -> float:
    if not 0.001 <= rate <= 1000:
        raise ConfigError(f"rate={rate!r}: give 0.001 to 1000 clips per second")
    return rate
