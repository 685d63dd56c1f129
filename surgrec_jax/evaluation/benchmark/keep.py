"""Keeps what a probe chose as files: linear heads, and the calibration of classifiers.

A kept head is the one that the table scored for probe seed 0: the same training examples, and the
penalty that validation cases chose. Its temperature and its threshold of what is far off come from
validation cases, its calibration error from test cases.
"""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from surgrec_jax.evaluation.benchmark import columns
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED, PROBABILITIES, Group
from surgrec_jax.evaluation.features.clips import class_names
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.heads import kept, linear
from surgrec_jax.evaluation.heads.kept import KeptHead
from surgrec_jax.evaluation.heads.registry import taught_classes
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.metrics import calibration
from surgrec_jax.evaluation.tasks.labelled_task import (
    LabelledTask,
    label_task,
    one_hot,
    train_weights,
)
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.records.info import stored_as
from surgrec_jax.records.source import Source

ROWS = {"linear": kept.LINEAR, FINE_TUNED: kept.CLASSIFIER}  # the rows that can be kept


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
        calibration error on test cases, before and after).
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
    splits = {split: named[column.name] for split, named in features.items()}
    names = class_names(sources[task.splits[0]])
    asked = settings.task(task)
    labelled = label_task(asked, names, splits, clean=settings.rules.clean)
    for row in (row for row in cell.heads if row in ROWS):
        head = _head(row, cell.heads[row]["chosen"], labelled, splits, settings)
        given = splits
        if row == FINE_TUNED:
            given = {split: named[column.name + PROBABILITIES] for split, named in features.items()}
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
        train[labelled.train.rows],
        labelled.train.case_id,
        validation[labelled.validation.rows],
        labelled.validation.case_id,
    )
    if row == FINE_TUNED:
        return KeptHead({"chosen": "", "temperature": 1.0, "multi_label": False}, near)
    weights = train_weights(labelled, 0, settings.train_resample)
    targets = one_hot(labelled, labelled.train.labels)
    several = labelled.task.multi_label
    taught = taught_classes(targets, weights, several)
    models = linear.fit_logistic(
        train[labelled.train.rows], targets[:, taught], multi_label=several, weights=weights, seed=0
    )
    at = linear.L2_GRID.index(chosen[0])
    one = dataclasses.replace(
        models, kernel=models.kernel[at : at + 1], bias=models.bias[at : at + 1]
    )
    return KeptHead({"chosen": f"l2 {chosen[0]:g}"}, near, one, taught)


def _calibrated(head: KeptHead, labelled: LabelledTask, splits: Mapping[str, Features]) -> KeptHead:
    """The head with a temperature from validation clips, and its error on test clips."""
    several, roles = labelled.task.multi_label, ("validation", "test")
    plain = dataclasses.replace(
        head, facts={**head.facts, "temperature": 1.0, "multi_label": several}
    )
    scores, labels = {}, {}
    for role, split in zip(roles, labelled.task.splits[1:], strict=True):
        part = getattr(labelled, role)
        scores[role] = plain.probabilities(splits[split].features[part.rows])
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
