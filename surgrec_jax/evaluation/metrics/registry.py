"""Scores of predictions, with an explicit rule for every class that is absent.

All scores can be computed under *case weights*: how often each case was drawn by a bootstrap. So
one vectorised pass gives a score for every resample, and the plain score is the special case "every
case once". What is computed per case or per video (a confusion matrix, a video's F1, its average
precisions) is computed once and combined under the weights.

Rules for absent classes (they matter: test splits by case often lack a class):

* `top1` needs no rule. `top5` is undefined with five classes or fewer.
* `balanced_accuracy`: mean recall over the classes that occur in the labels (scikit-learn's rule).
* `macro_f1`, `macro_jaccard`: mean over the classes that occur in the labels or in the predictions
  (scikit-learn's rule, `labels=None`, `zero_division=0`): a class that is predicted but never true
  counts as 0, one that is neither is left out.
* `mean_average_precision`: mean over the labels with at least one positive example; a label without
  one is left out, as in ivtmetrics (scikit-learn would count it as 0). A label that is always
  positive scores 1, as it does for a constant score: compare with the majority row.
* Scores of maps: see `maps`.
* `video_*`, `relaxed_*`, `segment_*`, `edit_score`: see `metrics_video`; `triplet_*`: see
  `metrics_triplet`.
* `spearman` is undefined where labels or predictions are all alike.
* `per_class` gives NaN where a value is undefined (precision of a class never predicted, recall of
  a class never true).
* A score that has no class left to average over is NaN, never 0.

NaN in labels or scores is an error, not a rule.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from surgrec_jax.evaluation.metrics import maps as metrics_maps
from surgrec_jax.evaluation.metrics import triplets as metrics_triplet
from surgrec_jax.evaluation.metrics import videos as metrics_video
from surgrec_jax.evaluation.metrics.classes import (
    balanced_accuracy,
    confusion_matrix,
    macro_f1,
    macro_jaccard,
    mean_defined,
    per_class,
    ratio,
    spearman,
    top1,
    top_hits,
)
from surgrec_jax.safety.errors import ConfigError, DataError

__all__ = ["average_precision", "confusion_matrix", "per_class", "score"]


def average_precision(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Average precision of one binary label, sum over thresholds of (recall step) x precision.

    The definition of scikit-learn's `average_precision_score` (no interpolation; tied scores are
    one threshold).

    Args:
        labels: int [N], 1 = positive, 0 = negative.
        scores: float [N], higher = more positive.
        weights: float [..., N], how often each example counts; None = once.

    Returns:
        float [...], NaN where no positive example has weight.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.size and not np.isin(labels, (0, 1)).all():
        raise ValueError(f"labels must be 0 or 1, found {np.unique(labels).tolist()}")
    weights = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(-scores, kind="stable")
    last_of_tie = np.append(np.diff(scores[order]) != 0, True) if len(order) else order
    threshold = np.flatnonzero(last_of_tie)
    weights = weights[..., order]
    if not len(threshold):
        return np.full(weights.shape[:-1], np.nan)
    hits = np.cumsum(weights * labels[order], -1)[..., threshold]
    drawn = np.cumsum(weights, -1)[..., threshold]
    precision = hits / np.maximum(drawn, 1e-300)  # nothing drawn yet: no hit either
    found = (np.diff(hits, axis=-1, prepend=0.0) * precision).sum(-1)
    return ratio(found, hits[..., -1])


MULTI_CLASS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "top1": top1,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "macro_jaccard": macro_jaccard,
}
TOP5 = ("top5",)
ORDERED = ("spearman",)
ALONG_VIDEO = {**metrics_video.STRICT, **metrics_video.SEGMENTAL, **metrics_video.RELAXED}
MULTI_LABEL = ("mean_average_precision",)
TRIPLET = tuple(f"triplet_{component}" for component in metrics_triplet.COMPONENTS)
MAPS = {**metrics_maps.SEGMENTATION, **metrics_maps.DEPTH}
METRICS = (*MULTI_CLASS, *TOP5, *ORDERED, *ALONG_VIDEO, *MULTI_LABEL, *TRIPLET, *MAPS)
LABEL_WISE = (*MULTI_LABEL, *TRIPLET)  # these take labels [N, K]
_CHUNK = 1 << 19  # resamples x examples held at a time


@dataclasses.dataclass(frozen=True)
class Order:
    """The places of examples: video_id text [N], time float [N] in seconds."""

    video_id: np.ndarray
    time: np.ndarray

    def videos(self) -> list[np.ndarray]:
        """Positions of each video's examples in order of time; videos sorted by name."""
        order = np.lexsort((self.time, self.video_id))
        cuts = np.flatnonzero(self.video_id[order][1:] != self.video_id[order][:-1]) + 1
        return np.split(order, cuts)


def metrics_for(
    multi_label: bool, *, along_video: bool = False, ordered: bool = False, triplets: bool = False
) -> tuple[str, ...]:
    """Names of the metrics that fit a task.

    Args:
        multi_label: several labels per example instead of one class.
        along_video: predictions stand in order along videos.
        ordered: the classes are a scale.
        triplets: the labels are CholecT50's hundred triplets.
    """
    if multi_label:
        return (*MULTI_LABEL, *(TRIPLET if triplets else ()))
    names = (*MULTI_CLASS, *TOP5)
    return names + (ORDERED if ordered else ()) + (tuple(ALONG_VIDEO) if along_video else ())


def limits(metric: str) -> tuple[float, float]:
    """The least and the largest value of a metric."""
    return (-1.0, 1.0) if metric in ORDERED else (0.0, 1.0)


def check_scores(labels: np.ndarray, scores: np.ndarray) -> None:
    """Raises ValueError for empty, non-finite or wrongly shaped input of `score`."""
    if scores.ndim != 2 or len(labels) != len(scores):
        raise ValueError(f"scores must be [N, C] for {len(labels)} labels, got {scores.shape}")
    if not len(labels):
        raise DataError("no labelled example to score")
    bad = ~np.isfinite(scores).all(-1)
    if bad.any():
        raise DataError(
            f"{bad.sum()} of {len(bad)} examples have NaN or infinite scores (first: row "
            f"{np.argmax(bad)}); "
            "look at the features and the head that made them"
        )


def score(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    case_index: np.ndarray | None = None,
    case_weights: np.ndarray | None = None,
    *,
    order: Order | None = None,
    num_classes: int | None = None,
) -> np.ndarray:
    """One metric, plainly or once per row of case weights.

    Args:
        metric: one of METRICS.
        labels: int [N] class ids for a multi-class metric; int [N, K] of 1, 0 or -1 (unlabelled,
            left out label by label) for LABEL_WISE ones.
        scores: float [N, C] (argmax is the prediction; ties go to the lower id) or [N, K]; of MAPS
            the parts of the frames (`maps.class_parts`, `maps.depth_parts`).
        case_index: int [N], the case of each example, in 0..cases-1; None with case_weights None.
        case_weights: float [R, cases], how often each case counts in each of R resamples.
        order: where the examples stand; needed by the metrics along videos. A video must be of one
            case.
        num_classes: C, where `scores` has more columns: answers that are no class.

    Returns:
        float [R], or a scalar array without case weights. NaN where the metric is undefined (see
        the module's rules).

    Raises:
        ValueError: wrong input, an unknown metric, or no `order` for a metric that needs it.
    """
    if metric not in METRICS:
        raise ConfigError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    check_scores(labels, scores)
    if (case_index is None) != (case_weights is None):
        raise ValueError("case_index and case_weights go together")
    if case_index is None:
        case_index, weights = np.zeros(len(labels), np.int64), np.ones((1, 1))
    else:
        case_index, weights = np.asarray(case_index), np.asarray(case_weights, np.float64)
    if metric in LABEL_WISE and labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be alike")
    if metric in (*ALONG_VIDEO, *TRIPLET):
        if order is None:
            raise ValueError(f"{metric} is computed along videos: give `order`")
        values = _along_videos(metric, labels, scores, case_index, weights, order, num_classes)
    elif metric in MAPS:
        values = MAPS[metric](scores, case_index, weights)
    elif metric in (*MULTI_CLASS, *TOP5):
        values = _per_case(metric, labels, scores, case_index, weights, num_classes)
    elif metric in ORDERED:
        columns = scores[:, : num_classes or scores.shape[1]]
        values = spearman(labels, columns, weights[:, case_index])
    else:
        values = _mean_average_precision(labels, scores, case_index, weights)
    return values if case_weights is not None else values[0]


def _per_case(metric, labels, scores, case_index, weights, num_classes):
    """Metrics of a confusion matrix, or of hits: a part per case, combined under the weights."""
    answers = scores.shape[1]
    classes = num_classes or answers
    predictions = scores.argmax(1)
    cases = weights.shape[1]
    if metric in TOP5:
        hits = top_hits(labels, scores[:, :classes])
        found = np.bincount(case_index, hits, minlength=cases)
        return ratio(weights @ found, weights @ np.bincount(case_index, minlength=cases))
    per_case = np.zeros((cases, classes, answers))
    for case in range(cases):
        rows = case_index == case
        per_case[case] = confusion_matrix(labels[rows], predictions[rows], classes, answers)
    confusion = np.einsum("rc,cij->rij", weights, per_case, optimize=True)  # [R, C, P]
    return MULTI_CLASS[metric](confusion)


def _along_videos(metric, labels, scores, case_index, weights, order, num_classes):
    """Metrics of videos: a part per video, combined under the weights of their cases."""
    videos = order.videos()
    owner = np.array([case_index[rows[0]] for rows in videos])
    for rows, case in zip(videos, owner, strict=True):
        if (case_index[rows] != case).any():
            raise DataError(f"video {order.video_id[rows[0]]} stands in several cases")
    if metric in TRIPLET:
        component = metric.removeprefix("triplet_")
        parts = [
            metrics_triplet.video_ap(labels[rows], scores[rows], component, average_precision)
            for rows in videos
        ]
        return metrics_triplet.mean_ap(weights[:, owner], np.stack(parts))
    part, combine = ALONG_VIDEO[metric]
    answers = scores.shape[1]
    classes, predictions = num_classes or answers, scores.argmax(1)
    parts = [
        part(
            metrics_video.Video(labels[rows], predictions[rows], order.time[rows], classes, answers)
        )
        for rows in videos
    ]
    return combine(weights[:, owner], np.stack(parts))


def _mean_average_precision(labels, scores, case_index, weights):
    columns = np.empty((len(weights), labels.shape[1]))
    step = max(1, _CHUNK // len(labels))
    for k, (label, column) in enumerate(zip(labels.T, scores.T, strict=True)):
        known = label >= 0
        for start in range(0, len(weights), step):  # bounds memory
            part = slice(start, start + step)
            drawn = weights[part][:, case_index[known]]
            columns[part, k] = average_precision(label[known], column[known], drawn)
    return mean_defined(columns)
