"""What answers: a fine-tuned classifier, as one function of clips with the names of its classes."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from surgrec_jax.data.loading.clips import ClipSpec
from surgrec_jax.frozen.classifier import Classifier, load_classifier
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.prediction.frames import Storing, clip_of, storing_of


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A model that answers clips.

    Attributes:
        name: for the page.
        encoder: what the clips go through; it has their length, size and rate.
        tracks: the label tracks that it learnt.
        classes: names of its columns.
        multi_label: whether classes do not exclude each other.
        frame: the frame of a clip whose label it learnt, "centre" or "last".
        probabilities: uint8 clips [B, T, S, S, 3] -> float32 [B, C].
        fingerprint: a hash of all that determines the probabilities.
        storing: how its training pictures were stored.
        notes: sentences for the user.
    """

    name: str
    encoder: Encoder
    tracks: tuple[str, ...]
    classes: tuple[str, ...]
    multi_label: bool
    frame: str
    probabilities: Callable[[np.ndarray], np.ndarray]
    fingerprint: str
    storing: Storing
    notes: tuple[str, ...] = ()

    @property
    def clip(self) -> ClipSpec:
        """The clips that it takes."""
        return clip_of(self.encoder.clip)

    @property
    def online(self) -> bool:
        """Whether it learnt the last frame of a clip, so that it sees nothing of the future."""
        return self.frame == "last"

    def stored_as(self, **record: float) -> "Model":
        """This model with other values of how pictures are stored; with none it stays as it is.

        Raises:
            ConfigError: a value that is not possible.
        """
        if not record:
            return self
        storing = dataclasses.replace(
            self.storing, record=dataclasses.replace(self.storing.record, **record)
        )
        return dataclasses.replace(self, storing=storing, notes=())


def open_model(checkpoint: str | Path) -> Model:
    """Opens the classifier of a fine-tuning run.

    Args:
        checkpoint: a workdir, or one step's folder in its checkpoints.

    Raises:
        CheckpointError: no checkpoint, a damaged one, or one without a classifier.
    """
    return model_of(load_classifier(checkpoint))


def model_of(one: Classifier) -> Model:
    """A loaded classifier as what answers."""
    storing, notes = storing_of(one.encoder.meta)
    return Model(
        name=one.encoder.name,
        encoder=one.encoder,
        tracks=one.tracks,
        classes=one.classes,
        multi_label=one.multi_label,
        frame=one.frame,
        probabilities=one.probabilities,
        fingerprint=one.fingerprint,
        storing=storing,
        notes=tuple(notes),
    )
