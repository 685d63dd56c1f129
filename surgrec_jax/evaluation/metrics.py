"""Scores of predictions, with an explicit rule for every class that is absent.

All scores can be computed under *case weights*: how often each case was drawn by a bootstrap. So
one vectorised pass gives a score for every resample, and the plain score is the special case "every
case once". Multi-class scores are functions of a confusion matrix; that is what makes this cheap (a
confusion matrix per case, then one matrix product).

Rules for absent classes (they matter: test splits by case often lack a class):

* `top1` needs no rule.
* `balanced_accuracy`: mean recall over the classes that occur in the labels (scikit-learn's rule).
* `macro_f1`: mean over the classes that occur in the labels or in the predictions (scikit-learn's
  rule, `labels=None`, `zero_division=0`): a class that is predicted but never true counts as 0, one
  that is neither is left out.
* `mean_average_precision`: mean over the labels with at least one positive example; a label without
  one is left out, as in ivtmetrics (scikit-learn would count it as 0). A label that is always
  positive scores 1, as it does for a constant
  score: compare with the majority row.
* `per_class` gives NaN where a value is undefined (precision of a class never predicted, recall of
  a class never true).
* A score that has no class left to average over is NaN, never 0.

NaN in labels or scores is an error, not a rule.
"""

from collections.abc import Callable

import numpy as np


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts [C, C]: row = label, column = prediction. `labels`, `predictions`: int [N] in
    0..C-1."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} must be two equally long "
            "lists"
        )
    for name, values in (("labels", labels), ("predictions", predictions)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {values.dtype}")
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(
                f"{name} must be in 0..{num_classes - 1}, found {values.min()}..{values.max()}; "
                "remove unlabelled examples (-1) before scoring"
            )
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes).astype(np.float64)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, leaving NaN out; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))


def top1(confusion: np.ndarray) -> np.ndarray:
    """Share of correct predictions. `confusion`: [..., C, C]; returns [...]."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes with at least one label. `confusion`: [..., C, C]; returns
    [...]."""
    return _mean_defined(per_class(confusion)["recall"])


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur in labels or predictions. `confusion`: [..., C, C];
    returns [...]."""
    return _mean_defined(per_class(confusion)["f1"])


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, Jaccard, F1 and support of every class, each [..., C]; NaN where
    undefined."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, predicted = confusion.sum(-1), confusion.sum(-2)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, true),
        "jaccard": _ratio(hits, true + predicted - hits),
        "f1": _ratio(2 * hits, true + predicted),
        "support": true,
    }


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
    return _ratio(found, hits[..., -1])


MULTI_CLASS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "top1": top1,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
}
MULTI_LABEL = ("mean_average_precision",)
METRICS = (*MULTI_CLASS, *MULTI_LABEL)
_CHUNK = 1 << 19  # resamples x examples held at a time


def metrics_for(multi_label: bool) -> tuple[str, ...]:
    """Names of the metrics that fit one class per example, or several labels per example."""
    return MULTI_LABEL if multi_label else tuple(MULTI_CLASS)


def check_scores(labels: np.ndarray, scores: np.ndarray) -> None:
    """Raises ValueError for empty, non-finite or wrongly shaped input of `score`."""
    if scores.ndim != 2 or len(labels) != len(scores):
        raise ValueError(f"scores must be [N, C] for {len(labels)} labels, got {scores.shape}")
    if not len(labels):
        raise ValueError("no labelled example to score")
    bad = ~np.isfinite(scores).all(-1)
    if bad.any():
        raise ValueError(
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
) -> np.ndarray:
    """One metric, plainly or once per row of case weights.

    Args:
      metric: one of METRICS.
      labels: int [N] class ids for a multi-class metric; int [N, K] of 1, 0 or -1 (unlabelled, left
        out label by label) for `mean_average_precision`.
      scores: float [N, C] (argmax is the prediction; ties go to the lower id) or [N, K].
      case_index: int [N], the case of each example, in 0..cases-1; None with case_weights None.
      case_weights: float [R, cases], how often each case counts in each of R resamples.

    Returns:
      float [R], or a scalar array without case weights. NaN where the metric is undefined (see the
      module's rules).
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    check_scores(labels, scores)
    if (case_index is None) != (case_weights is None):
        raise ValueError("case_index and case_weights go together")
    if case_index is None:
        case_index, weights = np.zeros(len(labels), np.int64), np.ones((1, 1))
    else:
        weights = np.asarray(case_weights, np.float64)
    if metric in MULTI_CLASS:
        classes = scores.shape[1]
        predictions = scores.argmax(1)
        per_case = np.zeros((weights.shape[1], classes, classes))
        for case in range(weights.shape[1]):
            rows = case_index == case
            per_case[case] = confusion_matrix(labels[rows], predictions[rows], classes)
        confusion = np.einsum("rc,cij->rij", weights, per_case, optimize=True)  # [R, C, C]
        values = MULTI_CLASS[metric](confusion)
    elif metric == "mean_average_precision":
        if labels.shape != scores.shape:
            raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be alike")
        columns = np.empty((len(weights), labels.shape[1]))
        step = max(1, _CHUNK // len(labels))
        for k, (label, column) in enumerate(zip(labels.T, scores.T, strict=True)):
            known = label >= 0
            for start in range(0, len(weights), step):  # bounds memory
                part = slice(start, start + step)
                drawn = weights[part][:, case_index[known]]
                columns[part, k] = average_precision(label[known], column[known], drawn)
        values = _mean_defined(columns)
    else:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
    return values if case_weights is not None else values[0]
