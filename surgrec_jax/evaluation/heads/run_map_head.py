"""The probing procedure for maps: train, choose a rate on validation cases, score test frames."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.features.extraction import TokenRows
from surgrec_jax.evaluation.heads import dense
from surgrec_jax.evaluation.heads.run_head import Answer
from surgrec_jax.evaluation.metrics import maps as metrics
from surgrec_jax.evaluation.tasks.labelled_maps import LabelledMaps
from surgrec_jax.evaluation.tasks.labelled_task import train_weights
from surgrec_jax.evaluation.tasks.task import RefusedTaskError
from surgrec_jax.records.maps import VOID
from surgrec_jax.safety.errors import ConfigError

CASES, EXAMPLES = 3, 3  # the cases and their frames whose predictions are kept to be shown


def run_map_head(
    head: str,
    labelled: LabelledMaps,
    features: Mapping[str, np.ndarray | TokenRows],
    tokens: tuple[int, int],
    *,
    seeds: Sequence[int],
    resample: str = "cases",
    share: float = 1.0,
) -> Answer:
    """Trains the grid per seed, chooses a point on validation cases, and counts test frames.

    Args:
        head: a name in MAP_HEADS.
        features: split -> tokens [M, N, D], rows as in the maps that the task was labelled by.
        tokens: (h, w), with h w = N.
        seeds, resample, share: as for `run_head`.

    Returns:
        An Answer whose scores are the parts of `metrics.maps`, with the predictions of some frames.

    Raises:
        ConfigError: every head of the grid diverged.
        RefusedTaskError: the metric is undefined on the validation cases.
    """
    train, validation, test = labelled.task.splits
    mine = {
        name: features[name][split.rows]
        for name, split in zip(
            labelled.task.splits, (labelled.train, labelled.validation, labelled.test), strict=True
        )
    }
    answers = []
    for number, seed in enumerate(seeds):
        weights = train_weights(labelled, seed, resample, share)
        fitted = dense.fit(head, labelled, train, mine[train], tokens, weights, seed)
        quality = _quality(labelled, validation, fitted, mine[validation])
        best = len(quality) - 1 - int(np.argmax(quality[::-1]))  # ties: the most regularised
        alone = fitted.chosen(best)
        parts = _parts(labelled, test, alone, mine[test])[0]
        shown = _shown(labelled, parts, alone, mine[test]) if number == 0 else ()
        name = dense.GRID.names[best]
        answers.append(Answer.of_seed(labelled, weights, parts, name, quality[best], shown))
    return functools.reduce(Answer.joined, answers)


def _parts(labelled: LabelledMaps, split: str, fitted: dense.Fitted, features) -> np.ndarray:
    """The parts [G, n, K] of all frames of a split."""
    chunks = []
    for rows, found in fitted.maps(features, np.arange(len(labelled.maps[split]))):
        chunks.append(np.stack([labelled.parts(split, rows, of_head) for of_head in found]))
    return np.concatenate(chunks, 1)


def _quality(labelled: LabelledMaps, split: str, fitted: dense.Fitted, features) -> np.ndarray:
    """The headline score of every point of the grid on validation cases; -inf if it diverged."""
    finite, metric = fitted.finite, labelled.task.metric
    if not finite.any():
        raise ConfigError("every head of the grid diverged: look at the features")
    scores = _parts(labelled, split, fitted, features)
    quality = np.array([labelled.score(metric, labelled.validation, s) for s in scores])
    if np.isnan(quality[finite]).all():
        raise RefusedTaskError(
            f"task {labelled.task.name}: {metric} is undefined on the validation cases; it cannot "
            "choose a rate"
        )
    return np.where(finite, np.nan_to_num(quality, nan=-np.inf), -np.inf)


def _shown(labelled: LabelledMaps, parts: np.ndarray, fitted: dense.Fitted, features) -> tuple:
    """(units [E], predicted maps [E, M, M]) of the worst frames of the worst cases."""
    rows = hardest(labelled.task.metric, parts, labelled.test.case_id)
    found = [maps[0] for _, maps in fitted.maps(features, rows)]
    maps = np.concatenate(found)
    return rows, maps.astype(np.float32) if labelled.depth else maps


def hardest(metric: str, parts: np.ndarray, case_id: np.ndarray) -> np.ndarray:
    """Units: of the cases with the worst frames on average, the worst frames, case by case."""
    values = np.nan_to_num(metrics.frame_values(metric, parts), nan=1.0)
    _, index = np.unique(case_id, return_inverse=True)
    mean = np.bincount(index, values) / np.bincount(index)
    chosen = []
    for case in np.argsort(mean, kind="stable")[:CASES]:
        rows = np.flatnonzero(index == case)
        chosen.append(rows[np.argsort(values[rows], kind="stable")[:EXAMPLES]])
    return np.concatenate(chosen)


def constant_map(labelled: LabelledMaps) -> Answer:
    """The commonest class of the training pixels, or the median of their depths, everywhere."""
    train, _, test = labelled.task.splits
    values = labelled.maps[train].values
    if labelled.depth:
        scale = labelled.maps[train].millimetres[:, None, None]
        known = values > 0
        answer = float(np.median((values * scale.astype(np.float32))[known]))
    else:
        counts = np.bincount(values[values != VOID], minlength=len(labelled.classes))
        answer = int(counts.argmax())
    rows = np.arange(len(labelled.maps[test]))
    side = values.shape[1]
    dtype = np.float32 if labelled.depth else np.uint8
    each = [
        labelled.parts(test, rows[k : k + 1], np.full((1, side, side), answer, dtype)) for k in rows
    ]
    return Answer(np.concatenate(each)[None])
