"""Scores of one class per example, from confusion matrices, and of ordered classes.

A confusion matrix is [..., C, P], row = label, column = prediction. P may be larger than C: the
columns beyond the classes are answers that are no class (an answer of a language model that cannot
be parsed). They are errors of the row's class and predictions of none.
"""

import numpy as np

TOP = 5


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, num_answers: int | None = None
) -> np.ndarray:
    """Counts [C, P]: row = label, column = prediction.

    Args:
        labels: int [N] in 0..C-1.
        predictions: int [N] in 0..P-1.
        num_classes, num_answers: C and P; P = C by default.

    Raises:
        ValueError: wrong shapes, numbers that are no integers or out of range.
    """
    num_answers = num_answers or num_classes
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise ValueError(
            f"labels {labels.shape} and predictions {predictions.shape} must be two equally long "
            "lists"
        )
    for name, values, end in (
        ("labels", labels, num_classes),
        ("predictions", predictions, num_answers),
    ):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, got {values.dtype}")
        if values.size and (values.min() < 0 or values.max() >= end):
            raise ValueError(
                f"{name} must be in 0..{end - 1}, found {values.min()}..{values.max()}; "
                "remove unlabelled examples (-1) before scoring"
            )
    flat = np.bincount(labels * num_answers + predictions, minlength=num_classes * num_answers)
    return flat.reshape(num_classes, num_answers).astype(np.float64)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The numerator over the denominator, NaN where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def mean_defined(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, leaving NaN out; NaN where nothing is left."""
    defined = ~np.isnan(values)
    return ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))


def top1(confusion: np.ndarray) -> np.ndarray:
    """Share of correct predictions. `confusion`: [..., C, P]; returns [...]."""
    return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall over the classes with at least one label: [..., C, P] -> [...]."""
    return mean_defined(per_class(confusion)["recall"])


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """Mean F1 over the classes that occur in labels or predictions: [..., C, P] -> [...]."""
    return mean_defined(per_class(confusion)["f1"])


def macro_jaccard(confusion: np.ndarray) -> np.ndarray:
    """Mean Jaccard index over the classes that occur in labels or predictions."""
    return mean_defined(per_class(confusion)["jaccard"])


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall, Jaccard, F1, support of every class [..., C]; NaN where undefined."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    true = confusion.sum(-1)
    predicted = confusion.sum(-2)[..., : confusion.shape[-2]]
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, true),
        "jaccard": ratio(hits, true + predicted - hits),
        "f1": ratio(2 * hits, true + predicted),
        "support": true,
    }


def top_hits(labels: np.ndarray, scores: np.ndarray, top: int = TOP) -> np.ndarray:
    """Is the label among the `top` best scores? Ties go to the lower class id, as argmax does.

    Args:
        labels: int [N].
        scores: float [N, C].

    Returns:
        float [N] of 1 and 0; NaN where there are no more than `top` classes: any answer would do.
    """
    if scores.shape[1] <= top:
        return np.full(len(labels), np.nan)
    own = np.take_along_axis(scores, np.asarray(labels)[:, None], 1)
    tied = (scores == own) & (np.arange(scores.shape[1]) < np.asarray(labels)[:, None])
    return (((scores > own) | tied).sum(1) < top).astype(np.float64)


def spearman(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rank correlation between an ordered class and the expected class of the scores.

    The expected class is sum(c * score_c) / sum(score_c) (scores are probabilities). Ties have
    their mean rank. A weight w counts as w copies of the example, so integer weights give exactly
    what `scipy.stats.spearmanr` gives on repeated rows (a test holds this).

    Args:
        labels: int [N], class ids in order.
        scores: float [N, C] >= 0.
        weights: float [R, N].

    Returns:
        float [R] in -1..1, NaN where labels or expectations are all alike.
    """
    total = scores.sum(1)
    expected = ratio(scores @ np.arange(scores.shape[1], dtype=np.float64), total)
    if np.isnan(expected).any():
        return np.full(len(weights), np.nan)
    first, second = _ranks(np.asarray(labels), weights), _ranks(expected, weights)
    mass = weights.sum(1, keepdims=True)
    first = first - (weights * first).sum(1, keepdims=True) / mass
    second = second - (weights * second).sum(1, keepdims=True) / mass
    moments = [(weights * a * b).sum(1) for a, b in ((first, second), (first,) * 2, (second,) * 2)]
    # Ranks are multiples of a half: below this they are all alike.
    spread = np.where((moments[1] > 1e-9) & (moments[2] > 1e-9), moments[1] * moments[2], 0.0)
    return ratio(moments[0], np.sqrt(spread))


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean ranks [R, N] of values [N] under weights [R, N].

    Values within 1e-9 of the next one are tied: matrix products, as in the mean over a video's
    clips, give equal answers other last bits, which are no order.
    """
    order = np.argsort(values)
    group = np.zeros(len(values), int)
    group[order[1:]] = np.cumsum(np.diff(values[order]) > 1e-9)
    mass = np.zeros((len(weights), group.max(initial=-1) + 1))
    np.add.at(mass.T, group, weights.T)
    rank = np.cumsum(mass, 1) - mass / 2 + 0.5
    return rank[:, group]
