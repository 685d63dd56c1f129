"""Keeps what a probe chose as files: its heads, and the calibration of classifiers.

A kept head is the one that the table scored for probe seed 0, trained once more: the same training
examples and, of the same grid, the point that validation cases chose. Its temperature and its
threshold of what is far off come from validation cases, its calibration error from test cases.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from surgrec_jax.evaluation.benchmark import columns
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED, PROBABILITIES, TOKENS, Group
from surgrec_jax.evaluation.features.clips import class_names
from surgrec_jax.evaluation.features.extraction import Features, TokenRows
from surgrec_jax.evaluation.heads import kept, linear
from surgrec_jax.evaluation.heads.attentive import read_tokens
from surgrec_jax.evaluation.heads.kept import KeptHead, Network
from surgrec_jax.evaluation.heads.registry import HEADS, Rows, taught_classes
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.metrics import calibration
from surgrec_jax.evaluation.tasks.labelled_task import (
    LabelledTask,
    Split,
    label_task,
    one_hot,
    train_weights,
)
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.records.info import stored_as
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import DataError

_CLIPS = 256  # that are read at a time
# The rows that can be kept, and the kinds of what is kept.
ROWS = {name: name for name in (kept.LINEAR, *kept.NETWORKS)} | {FINE_TUNED: kept.CLASSIFIER}


def keep_heads(
    cells: Sequence[Cell],
    groups: Sequence[Group],
    tasks: Sequence[Task],
    sources: Mapping[str, Source],
    settings: Settings,
    folder: Path,
    cache: str | os.PathLike | None,
) -> list[dict[str, Any]]:
    """Writes a file for every encoder, task and row of `ROWS` that was scored.

    Args:
        cells: the table.
        groups: its columns.
        tasks, sources: of one source; split -> source, the training split first.
        folder: where the files are written.
        cache: folder of cached features.

    Returns:
        For the results file: "file", "column", "task", "row", "temperature", "error" (expected
        calibration error on test cases, before and after), "far" (the threshold of what is far, the
        cases that it is from, and the share of the trained domain's cases that exceed it, at most).
    """
    entries = []
    for group in groups:
        for column in (c for c in group.columns if c.kind == "encoder"):
            own = [c for c in cells if c.column == column.name and c.task["unit"] != "pixel"]
            if not any(row in ROWS for cell in own for row in cell.heads):
                continue
            features = columns.extract(group, [column], sources, settings, cache)
            for task in tasks:
                for cell in (cell for cell in own if cell.task["name"] == task.name):
                    entries += _keep(cell, column, group, task, sources, settings, features, folder)
    return entries


def _keep(cell, column, group, task, sources, settings, features, folder):
    def of_column(suffix: str = "") -> dict[str, Features]:
        return {split: named[column.name + suffix] for split, named in features.items()}

    splits = of_column()
    names = class_names(sources[task.splits[0]])
    asked = settings.task(task)
    labelled = label_task(asked, names, splits, clean=settings.rules.clean)
    for row in (row for row in cell.heads if row in ROWS):
        given = of_column(TOKENS) if row in HEADS and HEADS[row].tokens else splits
        head = _head(row, cell.heads[row]["chosen"], labelled, given, settings)
        given = of_column(PROBABILITIES) if row == FINE_TUNED else given
        head = _calibrated(head, labelled, given)
        owner = column.classifier if row == FINE_TUNED else column.encoders[column.name].__self__
        facts = head.facts | {
            "version": kept.VERSION,
            "kind": ROWS[row],
            "task": task.name,
            "source": task.source,
            "tracks": list(task.tracks(names)),
            "classes": list(labelled.classes),
            "multi_label": task.multi_label,
            "frame": task.frame,
            "fingerprint": owner.fingerprint,
            "clip": list(group.clip),
            "stored": stored_as(sources[task.splits[0]].directory),
        }
        words = re.sub(r"[^A-Za-z0-9.-]+", "_", f"{column.name}--{task.name}--{row}")
        path = folder / f"{words}{kept.SUFFIX}"
        kept.save(path, dataclasses.replace(head, facts=facts))
        yield {
            "file": path.name,
            "column": column.name,
            "task": task.name,
            "row": row,
            "temperature": facts["temperature"],
            "error": facts["error"],
            "far": {
                "threshold": head.near.threshold,
                "validation_cases": head.near.validation_cases,
                "training_cases": head.near.training_cases,
                "expected": head.near.rate,
                "expected_by_validation": head.near.rate_of_validation,
            },
        }


def _head(
    row: str,
    chosen: Sequence[float],
    labelled: LabelledTask,
    splits: Mapping[str, Features],
    settings: Settings,
) -> KeptHead:
    """The head before its calibration, with what is near to its training features."""
    train, validation, _ = (splits[split].features for split in labelled.task.splits)
    near = calibration.neighbourhood(
        _pooled(train[labelled.train.rows]),
        labelled.train.case_id,
        _pooled(validation[labelled.validation.rows]),
        labelled.validation.case_id,
    )
    facts: dict[str, Any] = {"chosen": "", "interval": None}
    if row == FINE_TUNED:
        return KeptHead(facts | {"temperature": 1.0, "multi_label": False}, near)
    weights = train_weights(labelled, 0, settings.train_resample)
    targets = one_hot(labelled, labelled.train.labels)
    several = labelled.task.multi_label
    taught = taught_classes(targets, weights, several)
    targets, own = targets[:, taught], train[labelled.train.rows]
    if row == kept.LINEAR:
        models = linear.fit_logistic(own, targets, multi_label=several, weights=weights, seed=0)
        at = linear.L2_GRID.index(chosen[0])
        facts["chosen"] = f"l2 {chosen[0]:g}"
        one = dataclasses.replace(
            models, kernel=models.kernel[at : at + 1], bias=models.bias[at : at + 1]
        )
        return KeptHead(facts, near, one, taught)
    head, rows = HEADS[row].train, Rows(own, labelled.train.video_id, labelled.train.time)
    mean, std, params = head.fit(rows, targets, weights, several, 0)
    at = head.settings.names.index(chosen[0])
    params = jax.tree.map(lambda leaf: np.asarray(leaf[at : at + 1]), params)
    if row == kept.TEMPORAL:
        facts["interval"] = _interval(labelled.train.video_id, labelled.train.time)
    facts["chosen"] = chosen[0]
    network = Network(row, targets.shape[1], several, params, mean, std)
    return KeptHead(facts, near, network, taught)


def _pooled(features: np.ndarray | TokenRows) -> np.ndarray:
    """Features [n, D], or the mean of each clip's tokens."""
    if len(features.shape) == 2:
        return features
    starts = range(0, len(features), _CLIPS)
    parts = (read_tokens(features, np.arange(s, min(s + _CLIPS, len(features)))) for s in starts)
    return np.concatenate([part.mean(1) for part in parts])


def _interval(video_id: np.ndarray, time: np.ndarray) -> float:
    """The median seconds between neighbouring clips of a video.

    Raises:
        DataError: no video has two.
    """
    order = np.lexsort((time, video_id))
    apart = np.diff(time[order].astype(np.float64))[video_id[order][1:] == video_id[order][:-1]]
    if not len(apart) or not np.median(apart) > 0:
        raise DataError("a temporal head cannot be kept: no training video has two clips")
    return float(np.median(apart))


def _calibrated(head: KeptHead, labelled: LabelledTask, splits: Mapping[str, Features]) -> KeptHead:
    """The head with a temperature from validation clips, and its error on test clips."""
    several, roles = labelled.task.multi_label, ("validation", "test")
    plain = dataclasses.replace(
        head, facts={**head.facts, "temperature": 1.0, "multi_label": several}
    )
    scores, labels = {}, {}
    for role, split in zip(roles, labelled.task.splits[1:], strict=True):
        part = getattr(labelled, role)
        count = len(labelled.classes)
        scores[role] = _along_videos(plain, splits[split].features[part.rows], part, count)
        labels[role] = part.labels
    temperature = calibration.fit_temperature(scores["validation"], labels["validation"])
    mended = calibration.with_temperature(scores["test"], temperature, several)
    before = calibration.reliability(scores["test"], labels["test"])
    after = calibration.reliability(mended, labels["test"])
    facts = plain.facts | {
        "temperature": temperature,
        "error": {"before": before.error, "after": after.error},
        "reliability": after.as_dict(),
    }
    return dataclasses.replace(head, facts=facts)


def _along_videos(
    head: KeptHead, given: np.ndarray | TokenRows, part: Split, classes: int
) -> np.ndarray:
    """Probabilities [n, C] of the clips of a split, video by video in order of time."""
    scores = np.zeros((len(part.rows), classes), np.float32)
    for video in np.unique(part.video_id):
        here = np.flatnonzero(part.video_id == video)
        here, follow = here[np.argsort(part.time[here], kind="stable")], head.begin()
        for start in range(0, len(here), _CLIPS):
            rows = here[start : start + _CLIPS]
            scores[rows] = follow(read_tokens(given, rows) if head.tokens else given[rows])
    return scores
