"""What answers: a fine-tuned classifier, or a frozen encoder with a kept head, as one function."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from surgrec_jax.data.loading.clips import ClipSpec, clip_of
from surgrec_jax.evaluation.heads import kept
from surgrec_jax.frozen.classifier import Classifier, load_fitting
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.prediction.frames import Storing, storing_of
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import ConfigError, DataError, MissingError

HEADS = ("probe", "heads")  # where a probe keeps heads, in the workdir of its checkpoint


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
        rows: uint8 clips [B, T, S, S, 3] -> float32 [B, C + 1]: probabilities, and the distance to
            the training features' neighbours (NaN without a kept head).
        fingerprint: a hash of all that determines the answers.
        storing: how its training pictures were stored.
        notes: sentences for the user.
        head: the kept head or calibration, or None.
        of_features: the rows of the encoder's features float32 [B, D] instead of clips; None where
            a head takes tokens.
        interval: seconds between the clips that a temporal head looks along; None of others.
    """

    name: str
    encoder: Encoder
    tracks: tuple[str, ...]
    classes: tuple[str, ...]
    multi_label: bool
    frame: str
    rows: Callable[[np.ndarray], np.ndarray]
    fingerprint: str
    storing: Storing
    notes: tuple[str, ...] = ()
    head: kept.KeptHead | None = None
    of_features: Callable[[np.ndarray], np.ndarray] | None = None
    interval: float | None = None

    def begin(self) -> "Model":
        """This model before the first clip of a video; only a temporal head remembers clips."""
        if self.interval is None:
            return self
        of_features = _head_rows(self.head, self.head.begin())
        encode = self.encoder.features
        return dataclasses.replace(
            self, rows=lambda video: of_features(encode(video)), of_features=of_features
        )

    def rate(self, asked: float | None) -> float:
        """Answers per second: as asked, else 1, or what a temporal head has learnt.

        Raises:
            ConfigError: a rate that is not possible, or not that of a temporal head.
        """
        own = 1.0 if self.interval is None else 1 / self.interval
        rate = own if asked is None else asked
        if not 0.001 <= rate <= 1000:
            raise ConfigError(f"--rate={rate:g}: give 0.001 to 1000 answers per second")
        if self.interval is not None and abs(rate / own - 1) > 0.01:
            raise ConfigError(
                f"--rate={rate:g}: the temporal head has learnt from clips {self.interval:.4g} s "
                "apart; leave --rate out"
            )
        return rate

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


def open_model(checkpoint: str | Path, head: str | Path | None = None) -> Model:
    """Opens a classifier, or an encoder with a head that a probe has kept.

    Args:
        checkpoint: a workdir, or one step's folder in its checkpoints.
        head: a kept head of this encoder, or the calibration of this classifier. None: a classifier
            as it is, or the only head beside the encoder's own probe.

    Raises:
        CheckpointError: no checkpoint, or a damaged one.
        MissingError, DataError: no such head, several, or one of another encoder.
    """
    encoder, classifier = load_fitting(checkpoint)
    if classifier is not None and head is None:
        return model_of(classifier)
    path = Path(head) if head is not None else _only_head(Path(checkpoint))
    found = kept.load(path)
    owner = encoder if classifier is None else classifier
    what = "an encoder" if found.models is not None else "a classifier"
    if (found.models is None) == (classifier is None) or found.facts["fingerprint"] != (
        owner.fingerprint
    ):
        raise DataError(f"{path} was kept for {what} that {checkpoint} is not; keep one of its own")
    return _with_head(encoder, classifier, found, path)


def model_of(one: Classifier) -> Model:
    """A loaded classifier as what answers."""
    storing, notes = storing_of(one.encoder.meta)

    def with_distance(scores: np.ndarray) -> np.ndarray:
        return np.concatenate([scores, np.full((len(scores), 1), np.nan, np.float32)], 1)

    return Model(
        name=one.encoder.name,
        encoder=one.encoder,
        tracks=one.tracks,
        classes=one.classes,
        multi_label=one.multi_label,
        frame=one.frame,
        rows=lambda video: with_distance(one.probabilities(video)),
        fingerprint=one.fingerprint,
        storing=storing,
        notes=tuple(notes),
        of_features=(lambda features: with_distance(one.of_features(features)))
        if one.takes_features
        else None,
    )


def _with_head(
    encoder: Encoder, classifier: Classifier | None, head: kept.KeptHead, path: Path
) -> Model:
    facts = head.facts
    storing, notes = storing_of({"sources": [{"stored": facts["stored"], "directory": ""}]})

    of_head = _head_rows(head, head.probabilities)

    def rows(video: np.ndarray) -> np.ndarray:
        if classifier is not None:
            return of_head(encoder.features(video), classifier.probabilities(video))
        if head.tokens:
            tokens = kept.rounded(encoder.tokens(video))
            return of_head(tokens.mean(1), tokens)
        return of_head(encoder.features(video))

    def of_features(features: np.ndarray) -> np.ndarray:
        return of_head(features, None if classifier is None else classifier.of_features(features))

    pooled = not head.tokens and (classifier is None or classifier.takes_features)
    digest = hashlib.sha256(untrusted.read_bytes(path, 2**30)).hexdigest()[:16]
    return Model(
        name=f"{encoder.name}, {facts['kind']} head of task {facts['task']}",
        encoder=encoder,
        tracks=tuple(facts["tracks"]),
        classes=tuple(facts["classes"]),
        multi_label=facts["multi_label"],
        frame=facts["frame"],
        rows=rows,
        fingerprint=f"{facts['fingerprint']}-{digest}",
        storing=storing,
        notes=tuple(notes),
        head=head,
        of_features=of_features if pooled else None,
        interval=facts["interval"],
    )


def _head_rows(head: kept.KeptHead, probabilities: Callable[[np.ndarray], np.ndarray]) -> Callable:
    """Rows of clips' features [B, D], and of what the head takes, where that is something else."""

    def rows(features: np.ndarray, given: np.ndarray | None = None) -> np.ndarray:
        distance = head.near.distance(features).astype(np.float32)
        scores = probabilities(features if given is None else given)
        return np.concatenate([scores, distance[:, None]], 1)

    return rows


def _only_head(workdir: Path) -> Path:
    """The head that the workdir's own probe has kept."""
    folder = workdir.joinpath(*HEADS)
    found = sorted(folder.glob(f"*{kept.SUFFIX}"))
    if not found:
        raise MissingError(
            f"{workdir} has no classifier, and {folder} no kept head: fine-tune it "
            "(configs/finetune.py), or keep a head (python -m surgrec_jax.probe "
            f"--config=configs/probe.py --config.checkpoint={workdir} --config.keep_heads)"
        )
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder} has several heads: choose one with --head (there: {names})")
    return found[0]
