"""Answers of a block-causal encoder that computes every tubelet once, for clips that follow."""

import dataclasses

import numpy as np

from surgrec_jax.prediction.model import Model
from surgrec_jax.safety.errors import ConfigError


def streamed(model: Model, rate: float) -> Model:
    """A model that gives the same kind of answers, clip after clip, by `Encoder.stream`.

    The answers up to the first full clip are the model's own. From then on attention is over a
    sliding window: a tubelet keeps what it had read of frames that have left the clip, so that
    answers are near the model's own rather than equal (see `models.streaming`).

    Args:
        rate: answers per second.

    Raises:
        ConfigError: an encoder that is not block-causal or whose positions end with a clip, a head
            that does not take pooled features, or answers that lie no whole tubelets apart.
    """
    config, fps = model.encoder.config, model.encoder.fps
    if model.of_features is None:
        raise ConfigError(
            f"--stream: the head of {model.name} takes the tokens of a whole clip; leave --stream "
            "out, or fine-tune with --config.classify.head=linear"
        )
    if config.position.startswith("sincos"):
        raise ConfigError(
            f"--stream: positions {config.position} end with a clip of {config.num_frames} frames; "
            "leave --stream out, or train with --config.model.position=rope_3d"
        )
    step = fps / rate
    if abs(step / config.tubelet - round(step / config.tubelet)) > 1e-6:
        raise ConfigError(
            f"--stream: answers at --rate={rate:g} lie {step:g} frames of {fps:g} a second apart, "
            f"and the encoder takes {config.tubelet} at a time; give --rate="
            f"{fps / config.tubelet:g}, or that divided by a whole number"
        )
    return dataclasses.replace(model, rows=StreamedRows(model))


class StreamedRows:
    """The rows of single clips [1, T, S, S, 3] that follow one another (see `Model.rows`).

    A clip that goes on from the one before costs its new tubelets. Any other clip, as at the
    beginning of a video and after dropped pictures, is encoded whole.

    Attributes:
        stream: of the encoder; its count is that of tubelets since a clip was encoded whole.
    """

    def __init__(self, model: Model):
        self.stream = model.encoder.stream()
        self._tubelet, self._rows = model.encoder.config.tubelet, model.of_features
        self._last: np.ndarray | None = None
        self._features: np.ndarray | None = None

    def __call__(self, video: np.ndarray) -> np.ndarray:
        (clip,) = video
        new = self._new_frames(clip)
        if new == len(clip):
            self.stream.reset()
        self._last = None  # until the clip has been taken whole
        for start in range(len(clip) - new, len(clip), self._tubelet):
            _, self._features = self.stream.push(clip[None, start : start + self._tubelet])
        self._last = clip
        return self._rows(self._features)

    def _new_frames(self, clip: np.ndarray) -> int:
        """How many frames at the end of a clip the stream has not seen, after all others of it."""
        frames, last = len(clip), self._last
        if last is None:
            return frames
        steps = range(0, frames, self._tubelet)
        return next((n for n in steps if np.array_equal(last[n:], clip[: frames - n])), frames)
