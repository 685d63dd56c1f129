"""The heads that are trained on frozen features, by name, behind one call.

Part of that call is the rule for classes without a training example: a head is not shown their
columns, and their score is 0 (as a probability). They stay in the test and count as errors.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from surgrec_jax.evaluation.heads import attentive, knn, linear, published, temporal
from surgrec_jax.safety.errors import DataError

Values = tuple[float | str, ...]


@dataclasses.dataclass(frozen=True)
class Rows:
    """The n clips that a head is shown.

    Attributes:
        features: float [n, D], or [n, N, D] tokens for heads that take tokens; an array, or
            `features.TokenRows` that reads from disk as it is indexed.
        video_id: text [n].
        time: float [n], seconds: for heads that look along a video.
    """

    features: np.ndarray
    video_id: np.ndarray
    time: np.ndarray

    def __len__(self) -> int:
        return len(self.video_id)


@dataclasses.dataclass(frozen=True)
class Head:
    """A head: (train, targets, weights, queries, multi_label, seed) -> (values, scores).

    Attributes:
        train: the function. It takes training Rows [n], targets float [n, C] (one-hot, or 0/1 with
            NaN = unlabelled for multi-label), weights float [n] (how often an example counts), the
            Rows [M] to score, and returns the hyper-parameters of the grid, from the least to the
            most regularised, and scores [G, M, C].
        tokens: it takes tokens [n, N, D] instead of pooled features [n, D].
    """

    train: Callable[..., tuple[Values, np.ndarray]]
    tokens: bool = False

    def __call__(
        self,
        train: Rows,
        targets: np.ndarray,
        weights: np.ndarray,
        queries: Rows,
        multi_label: bool,
        seed: int,
    ) -> tuple[Values, np.ndarray]:
        """Trains the grid and scores `queries`; columns that nothing teaches score 0.

        Raises:
            DataError: NaN features, or no column with a training example.
        """
        taught = taught_classes(targets, weights, multi_label)
        values, part = self.train(train, targets[:, taught], weights, queries, multi_label, seed)
        scores = np.zeros((*part.shape[:-1], len(taught)), part.dtype)
        scores[..., taught] = part
        return values, scores


def taught_classes(targets: np.ndarray, weights: np.ndarray, multi_label: bool) -> np.ndarray:
    """The classes that have a training example: bool [C] of targets [n, C] and weights [n].

    Raises:
        DataError: there is none.
    """
    counted = weights > 0
    known = ~np.isnan(targets[counted])
    taught = known.any(0) if multi_label else (np.nan_to_num(targets[counted]) > 0).any(0)
    if not taught.any():
        raise DataError("no class has a training example with a positive weight")
    return taught


def _linear(train, targets, weights, queries, multi_label, seed):
    models = linear.fit_logistic(
        train.features, targets, multi_label=multi_label, weights=weights, seed=seed
    )
    return linear.L2_GRID, models.scores(queries.features)


def _ridge(train, targets, weights, queries, multi_label, seed):
    models = linear.fit_ridge(train.features, targets, weights=weights)
    return linear.L2_GRID, models.scores(queries.features)


def _knn(train, targets, weights, queries, multi_label, seed):
    scores = knn.knn_scores(train.features, targets, queries.features, weights=weights)
    return knn.NEIGHBOURS, scores


HEADS: dict[str, Head] = {
    "linear": Head(_linear),
    "linear_adamw": Head(attentive.linear_adamw()),
    "ridge": Head(_ridge),
    "knn": Head(_knn),
    "attentive": Head(attentive.Attentive(0), tokens=True),
    "attentive_rates": Head(attentive.Attentive(0, attentive.ONE_DECAY), tokens=True),
    "attentive_1": Head(attentive.Attentive(1), tokens=True),
    "attentive_2": Head(attentive.Attentive(2), tokens=True),
    "attentive_3": Head(attentive.Attentive(3), tokens=True),
    "temporal": Head(temporal.Temporal()),
    "published": Head(published.train),
}
