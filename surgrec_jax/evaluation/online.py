"""A cheap probe for use during training: kNN and ridge on a small set that is decoded once.

Hyper-parameters are fixed, so the validation clips only measure. Use it to watch a run and to keep
the best checkpoint; for numbers to report use `python -m surgrec_jax.probe`, which has held-out
test cases, baselines and intervals.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features.clips import LAST
from surgrec_jax.evaluation.heads import knn, linear
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.safety.errors import ConfigError, DataError

NEIGHBOURS = 10
L2 = 0.1


@dataclasses.dataclass(frozen=True)
class LabelledClips:
    """Decoded clips with labels.

    Attributes:
        video: uint8 [M, T, H, W, 3].
        labels: track -> int [M], -1 = unlabelled.
        case_id: text [M].
    """

    video: np.ndarray
    labels: dict[str, np.ndarray]
    case_id: np.ndarray

    @classmethod
    def collect(
        cls, batches: Iterable[Mapping], tracks: Sequence[str], frame: str = "centre"
    ) -> "LabelledClips":
        """Keeps the clips that have a label in at least one of `tracks`.

        Batches are dicts as in `features.extract`; labels are of the "centre" or "last" frame.
        """
        video, cases = [], []
        labels: dict[str, list] = {track: [] for track in tracks}
        for batch in batches:
            missing = [track for track in tracks if track not in batch["labels"]]
            if missing:
                raise ConfigError(f"no label {missing}; the source has {sorted(batch['labels'])}")
            # A label of whole videos has no value of its own at the last frame.
            last = {t: t + LAST for t in tracks if frame == "last" and t + LAST in batch["labels"]}
            chosen = {track: batch["labels"][last.get(track, track)] for track in tracks}
            values = {track: np.asarray(ids, np.int64) for track, ids in chosen.items()}
            keep = np.any([v >= 0 for v in values.values()], 0)
            video.append(np.asarray(batch["video"])[keep])
            cases.append(np.asarray(batch["case_id"]).astype(str)[keep])
            for track in tracks:
                labels[track].append(values[track][keep])
        if not sum(map(len, video)):
            raise DataError(f"no clip with a label in {', '.join(tracks)}")
        joined = {track: np.concatenate(parts) for track, parts in labels.items()}
        return cls(np.concatenate(video), joined, np.concatenate(cases))


def encode_batches(
    encode: Callable[[np.ndarray], np.ndarray], video: np.ndarray, batch_size: int
) -> np.ndarray:
    """float32 [M, D] of clips [M, ...], in batches of one size: the last is filled up."""
    parts = []
    for start in range(0, len(video), batch_size):
        batch = video[start : start + batch_size]
        fill = batch_size - len(batch)
        padded = np.concatenate([batch, np.repeat(batch[-1:], fill, 0)]) if fill else batch
        parts.append(np.asarray(encode(padded), np.float32)[: len(batch)])
    return np.concatenate(parts)


def _constant(metric: str, labels: np.ndarray, classes: int) -> float:
    return float(registry.score(metric, labels, np.zeros((len(labels), classes))))


class OnlineProbe:
    """Scores features of a fixed labelled set; the same features give the same scores.

    Args:
        source: name used in the metric keys.
        train, validation: labelled clips of disjoint cases.
        num_classes: track -> number of classes.
        batch_size: of the calls to the encoder; the last batch is padded to it.

    Raises:
        ValueError: train and validation share cases, or a track has fewer than two classes in
            either.
    """

    def __init__(
        self,
        source: str,
        train: LabelledClips,
        validation: LabelledClips,
        num_classes: Mapping[str, int],
        batch_size: int = 16,
    ):
        shared = sorted(set(train.case_id.tolist()) & set(validation.case_id.tolist()))
        if shared:
            raise DataError(
                f"online probe on {source}: train and validation share cases "
                f"{', '.join(shared[:5])}; split by case"
            )
        for track in num_classes:
            for name, clips in (("train", train), ("validation", validation)):
                seen = np.unique(clips.labels[track][clips.labels[track] >= 0])
                if len(seen) < 2:
                    raise DataError(
                        f"online probe on {source}: track {track} has {len(seen)} classes in the "
                        f"{name} clips, "
                        "needs two; use more clips"
                    )
        self.source, self.train, self.validation = source, train, validation
        self.num_classes, self.batch_size = dict(num_classes), batch_size

    def describe(self) -> str:
        """What is scored, for a line at the start of a run."""
        return f"{', '.join(self.num_classes)} of {self.source}, by a frozen probe"

    def chance(self) -> dict[str, float]:
        """{"chance/<source>/<track>": what a constant answer would score}."""
        return {
            f"chance/{self.source}/{track}": _constant("balanced_accuracy", labels[labels >= 0], n)
            for track, n in self.num_classes.items()
            for labels in (self.validation.labels[track],)
        }

    def __call__(self, features: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """Balanced accuracy on the validation clips.

        Args:
            features: video uint8 [B, T, H, W, 3] -> float [B, D].

        Returns:
            {"probe/<source>/<track>/knn": float, "probe/<source>/<track>/linear": float, ...}
        """
        train, validation = (
            encode_batches(features, self.train.video, self.batch_size),
            encode_batches(features, self.validation.video, self.batch_size),
        )
        result = {}
        for track, classes in self.num_classes.items():
            use, ask = self.train.labels[track] >= 0, self.validation.labels[track] >= 0
            targets = np.eye(classes)[self.train.labels[track][use]]
            truth = self.validation.labels[track][ask]
            asked = validation[ask]
            (votes,) = knn.knn_scores(train[use], targets, asked, neighbours=(NEIGHBOURS,))
            ridge = linear.fit_ridge(train[use], targets, l2=(L2,)).scores(asked, 0)
            for head, scores in (("knn", votes), ("linear", ridge)):
                result[f"probe/{self.source}/{track}/{head}"] = float(
                    registry.score("balanced_accuracy", truth, scores)
                )
        return result


class OnlineScore:
    """Scores a classifier in training on a fixed set of validation clips.

    Args:
        source: name used in the metric key.
        validation: labelled clips.
        tracks: one track, or several binary ones (multi-label).
        num_classes: columns of the probabilities.
        batch_size: of the calls; the last batch is padded to it.
    """

    def __init__(
        self,
        source: str,
        validation: LabelledClips,
        tracks: Sequence[str],
        num_classes: int,
        batch_size: int = 16,
    ):
        self.validation, self.num_classes, self.batch_size = validation, num_classes, batch_size
        columns = [validation.labels[track] for track in tracks]
        several = len(columns) > 1
        self._labels = np.stack(columns, 1) if several else columns[0]
        self._metric = "mean_average_precision" if several else "balanced_accuracy"
        self._key = f"probe/{source}/{tracks[0] if not several else 'labels'}/{self._metric}"

    def describe(self) -> str:
        """What is scored, for a line at the start of a run."""
        return f"{self._metric.replace('_', ' ')} on {len(self._labels)} validation clips"

    def chance(self) -> dict[str, float]:
        """{"chance/<source>/<track>": what a constant answer would score}."""
        key = self._key.replace("probe/", "chance/", 1).rpartition("/")[0]
        return {key: _constant(self._metric, self._labels, self.num_classes)}

    def __call__(self, probabilities: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
        """{"probe/<source>/<track>/<metric>": float} of probabilities [B, C] of clips."""
        scores = encode_batches(probabilities, self.validation.video, self.batch_size)
        if scores.shape[1] != self.num_classes:
            raise ValueError(f"{scores.shape[1]} probabilities for {self.num_classes} classes")
        return {self._key: float(registry.score(self._metric, self._labels, scores))}
