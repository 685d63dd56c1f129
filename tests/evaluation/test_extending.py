"""A head, a metric and a task that docs/extending.md adds, through the same doors, to the table."""

import numpy as np
import pytest

from surgrec_jax.evaluation.benchmark import cells
from surgrec_jax.evaluation.benchmark.answers import answer_task
from surgrec_jax.evaluation.benchmark.columns import Column
from surgrec_jax.evaluation.heads.registry import HEADS, Head
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.metrics import registry as metrics
from surgrec_jax.evaluation.metrics.classes import mean_defined, ratio
from surgrec_jax.evaluation.tasks.task import Task
from tests.evaluation.arrays import TRACKS, made_task


def nearest_mean(train, targets, weights, queries, multi_label, seed):
    """Scores by the distance to the mean of each class's training clips."""
    counted = np.nan_to_num(targets) * weights[:, None]  # [n, C]
    means = counted.T @ train.features / counted.sum(0)[:, None]  # [C, D]
    distance = ((queries.features[:, None] - means) ** 2).mean(-1)  # [M, C]
    temperatures = (0.1, 1.0)  # the grid, from the least to the most regularised
    scores = [np.exp(-distance / t) for t in temperatures]
    return temperatures, np.stack([s / s.sum(-1, keepdims=True) for s in scores])


def specificity(confusion):
    """Mean over the classes that occur of TN / (TN + FP), of confusion matrices [..., C, P]."""
    square = confusion[..., : confusion.shape[-2]]
    support, predicted = confusion.sum(-1), square.sum(-2)
    negatives = confusion.sum((-2, -1))[..., None] - support
    false = predicted - np.diagonal(square, axis1=-2, axis2=-1)
    return mean_defined(np.where(support > 0, ratio(negatives - false, negatives), np.nan))


def test_a_head_a_metric_and_a_task_from_outside(monkeypatch):
    monkeypatch.setitem(HEADS, "nearest_mean", Head(nearest_mean))
    monkeypatch.setitem(metrics.MULTI_CLASS, "specificity", specificity)
    monkeypatch.setattr(metrics, "METRICS", (*metrics.METRICS, "specificity"))
    task = Task("stage", "made", "phase", "specificity", "clip", kind="phase")
    labelled, splits = made_task(task)
    features = {split: {"mine": clips} for split, clips in splits.items()}
    column = Column("mine", "encoder", {"mine": lambda video: video})
    settings = Settings(heads=("nearest_mean",), seeds=2)
    answers = answer_task(labelled, column, features, settings)
    cell = cells.make(labelled, "mine", answers, resamples=50, level=0.95)
    entry = cell.heads["nearest_mean"]
    assert entry["mean"] > 0.8 and entry["interval"]["low"] > 0.5 and entry["chosen"][0] in (0.1, 1)

    labels, predicted = labelled.test.labels, answers["nearest_mean"].scores[0].argmax(-1)
    by_hand = [
        ((predicted != k) & (labels != k)).sum() / (labels != k).sum()
        for k in range(len(TRACKS["phase"]))
    ]
    assert entry["seeds"][0] == pytest.approx(np.mean(by_hand))
