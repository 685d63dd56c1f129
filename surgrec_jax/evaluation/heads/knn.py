"""Cosine k-nearest-neighbour probe: without training, it shows the features' own geometry."""

from collections.abc import Sequence

import numpy as np

from surgrec_jax.safety.errors import DataError

NEIGHBOURS = (1, 5, 10, 20, 50)
# Of the votes, as in Wu et al. 2018 (instance discrimination) and DINO's evaluation.
TEMPERATURE = 0.07


def _unit_rows(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    centred = features - mean
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.maximum(norm, 1e-12)


def knn_scores(
    train: np.ndarray,
    targets: np.ndarray,
    queries: np.ndarray,
    *,
    neighbours: Sequence[int] = NEIGHBOURS,
    weights: np.ndarray | None = None,
    chunk: int = 1024,
) -> np.ndarray:
    """Votes of the nearest training examples, weighted by exp(cosine / TEMPERATURE).

    Features are centred on the training mean first: averaged tokens share a large common direction
    that would press all cosines towards 1 and make the weights equal.

    Args:
        train: float [N, D].
        targets: float [N, C]: one-hot classes, or 0/1 labels; a NaN entry is unlabelled and does
            not vote for its column.
        queries: float [M, D].
        neighbours: the values of k; each is cut to the number of training examples that count.
        weights: float [N], how often each training example counts (0 = not at all); None = once.
        chunk: queries handled at a time (bounds memory to chunk x N).

    Returns:
        float64 [len(neighbours), M, C], the weighted share of the votes for each column (0 where no
        neighbour is labelled).
    """
    for name, values in (("train", train), ("queries", queries)):
        if not np.isfinite(values).all():
            raise DataError(f"{name} features contain NaN or infinity")
    weights = np.ones(len(train)) if weights is None else np.asarray(weights, np.float64)
    counted = weights > 0
    if not counted.any():
        raise DataError("no training example has a positive weight")
    train, targets, weights = train[counted], np.asarray(targets)[counted], weights[counted]
    mean = np.average(train, axis=0, weights=weights)
    known = (~np.isnan(targets)).astype(np.float64)
    filled = np.nan_to_num(targets)
    keys, queries = _unit_rows(train, mean), _unit_rows(queries, mean)
    ks = [min(k, len(keys)) for k in neighbours]
    result = np.zeros((len(ks), len(queries), targets.shape[1]))
    for start in range(0, len(queries), chunk):
        cosine = queries[start : start + chunk] @ keys.T  # [m, N]
        nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : max(ks)]  # ties: lower index
        similarity = np.take_along_axis(cosine, nearest, 1).astype(np.float64)
        # The largest cosine is taken out before exp; it cancels in the share.
        vote = np.exp((similarity - similarity[:, :1]) / TEMPERATURE) * weights[nearest]
        for row, k in enumerate(ks):
            chosen = nearest[:, :k]
            yes = np.einsum("mk,mkc->mc", vote[:, :k], filled[chosen])
            total = np.einsum("mk,mkc->mc", vote[:, :k], known[chosen])
            result[row, start : start + chunk] = np.divide(
                yes, total, out=np.zeros_like(yes), where=total > 0
            )
    return result
