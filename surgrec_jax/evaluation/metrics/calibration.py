"""How far probabilities can be believed: temperature, calibration error, and far-off features.

Temperature scaling and the expected calibration error are those of Guo et al. (2017), "On
Calibration of Modern Neural Networks": one number divides all logits, chosen by the likelihood of
held-out labels; the error is the mean distance of confidence and accuracy over bins of confidence,
weighted by their counts.
"""

import dataclasses

import numpy as np
from scipy import optimize

from surgrec_jax.safety.errors import DataError

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
_LEAST = 1e-12  # of a probability, before its logarithm
NEIGHBOURS = 5
MOST = 2000  # training features that are kept
FLAGGED = 0.05  # the share of videos of the trained domain that may be called far off


def with_temperature(scores: np.ndarray, temperature: float, multi_label: bool) -> np.ndarray:
    """Probabilities [..., C] whose logits are divided by a temperature; the order stays.

    A class with probability 0 (one that nothing taught) keeps it.
    """
    scores = np.asarray(scores, np.float64)
    logs = np.log(np.maximum(scores, _LEAST)) / temperature
    if multi_label:
        against = np.log(np.maximum(1 - scores, _LEAST)) / temperature
        return np.where(scores > 0, 1 / (1 + np.exp(np.clip(against - logs, -700, 700))), 0.0)
    odds = np.exp(logs - logs.max(-1, keepdims=True)) * (scores > 0)
    return odds / odds.sum(-1, keepdims=True)


def fit_temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the greatest likelihood of labels, in COLDEST to HOTTEST.

    Args:
        scores: float [n, C], probabilities.
        labels: int [n], or [n, C] of 1, 0 and -1 (unlabelled) where several may apply.

    Raises:
        DataError: no label.
    """
    several = labels.ndim == 2
    known = (labels >= 0).any(-1) if several else labels >= 0
    if not known.any():
        raise DataError("no labelled validation clip to calibrate with")
    scores, labels = scores[known], labels[known]

    def loss(log_temperature: float) -> float:
        found = with_temperature(scores, np.exp(log_temperature), several)
        if several:
            own = np.where(labels == 1, found, 1 - found)
            return -float(np.log(np.maximum(own, _LEAST))[labels >= 0].mean())
        own = np.take_along_axis(found, labels[:, None], 1)
        return -float(np.log(np.maximum(own, _LEAST)).mean())

    bounds = np.log([COLDEST, HOTTEST])
    best = optimize.minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(best.x))


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Bins of confidence: count, mean confidence and accuracy of each, [bins]; NaN where empty."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error."""
        apart = np.abs(self.confidence - self.accuracy)
        return float(np.nansum(apart * self.count) / self.count.sum())

    def as_dict(self) -> dict[str, list[float]]:
        """The bins that hold something, as JSON values."""
        full = self.count > 0
        return {f.name: getattr(self, f.name)[full].tolist() for f in dataclasses.fields(self)}


def reliability(scores: np.ndarray, labels: np.ndarray, bins: int = BINS) -> Reliability:
    """The leading class's probability and whether it is right, in equal bins of confidence.

    Where several may apply, every known label is an example, and its event is "present".

    Args:
        scores: float [n, C]. labels: int [n], or [n, C] of 1, 0, -1.

    Raises:
        DataError: no label.
    """
    if labels.ndim == 2:
        known = labels >= 0
        sure, right = scores[known], labels[known] == 1
    else:
        known = labels >= 0
        sure, right = scores[known].max(-1), scores[known].argmax(-1) == labels[known]
    if not len(sure):
        raise DataError("no labelled clip to measure calibration with")
    place = np.clip((sure * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = [np.bincount(place, v, minlength=bins) / count for v in (sure, right)]
    return Reliability(count, *means)


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """What is near to the training features.

    Attributes:
        mean, std: float32 [D], of the training features.
        known: float32 [m, D], some of them, standardised.
        threshold: a video whose median distance is greater is far off.
        rate: the share of cases of the trained domain that are, at most, if they are like those
            that the threshold is from.
        validation_cases, training_cases: how many of each the threshold is from.
    """

    mean: np.ndarray
    std: np.ndarray
    known: np.ndarray
    threshold: float = np.inf
    rate: float = 0.0
    validation_cases: int = 0
    training_cases: int = 0

    @property
    def rate_of_validation(self) -> float:
        """The share that validation cases alone vouch for, where training cases had to join."""
        return 1 / (self.validation_cases + 1) if self.training_cases else self.rate

    def distance(self, features: np.ndarray, among: np.ndarray | slice = slice(None)) -> np.ndarray:
        """Mean distance to the nearest training features per square root of D: float64 [n].

        Args:
            features: float [n, D].
            among: which of `known` count.
        """
        rows = (np.asarray(features, np.float64) - self.mean) / self.std
        known = self.known[among].astype(np.float64)
        nearest = min(NEIGHBOURS, len(known))
        squares, found = (known**2).sum(1), []
        for start in range(0, len(rows), 256):  # bounds memory
            part = rows[start : start + 256]
            apart = (part**2).sum(1)[:, None] + squares - 2 * part @ known.T
            near = np.partition(np.maximum(apart, 0), nearest - 1, 1)[:, :nearest]
            found.append(np.sqrt(near / rows.shape[1]).mean(1))
        return np.concatenate(found) if found else np.zeros(0)

    def far_off(self, distance: np.ndarray) -> bool:
        """Whether a video, with these distances of its clips, is far from the training data."""
        return bool(np.median(distance) > self.threshold)


def neighbourhood(
    train: np.ndarray, train_case: np.ndarray, validation: np.ndarray, validation_case: np.ndarray
) -> Neighbourhood:
    """The neighbourhood of training features, with a threshold from cases that are not among them.

    The threshold is the conformal quantile (Vovk et al. 2005) of the validation cases' median
    distances: of n cases the ceil((n + 1)(1 - FLAGGED))-th least. Fewer than 19 cases have none.
    Then the training cases join, each measured by the features of the others, and the threshold is
    no less than the greatest of a validation case. An encoder that was fine-tuned on the training
    cases may have drawn them together; the quantile is then too small, but a new case that is like
    the validation cases still exceeds all of them no more often than once in n + 1.

    Args:
        train: float [n, D]. validation: float [v, D].
        train_case, validation_case: text [n] and [v].
    """
    mean, std = train.mean(0), train.std(0)
    std = np.where(std > 1e-6 * max(std.max(), 1e-30), std, 1.0)
    chosen = np.unique(np.linspace(0, len(train) - 1, min(MOST, len(train))).round().astype(int))
    known, owner = ((train[chosen] - mean) / std).astype(np.float32), train_case[chosen]
    found = Neighbourhood(mean.astype(np.float32), std.astype(np.float32), known)
    medians = [
        np.median(found.distance(validation[validation_case == case]))
        for case in np.unique(validation_case)
    ]
    held, joined, cases = len(medians), [], np.unique(train_case)
    if held < round(1 / FLAGGED) - 1 and len(cases) > 1:
        joined = [
            np.median(found.distance(train[train_case == case], owner != case))
            for case in cases
            if (owner != case).any()
        ]
    count = held + len(joined)
    place = min(int(np.ceil((count + 1) * (1 - FLAGGED))), count)
    threshold = float(np.sort(medians + joined)[place - 1])
    if joined:
        threshold = max(threshold, *map(float, medians))
    return dataclasses.replace(
        found,
        threshold=threshold,
        rate=1 - place / (count + 1),
        validation_cases=held,
        training_cases=len(joined),
    )
