"""Probes encoders side by side: baselines, heads, intervals, differences; ends in plain results."""

import dataclasses
import datetime
import fnmatch
import functools
import itertools
import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib import metadata

import jax
import numpy as np

from surgrec_jax.data.pipeline import ClipSpec
from surgrec_jax.data.records import Source
from surgrec_jax.evaluation import columns as columns_lib
from surgrec_jax.evaluation import protocol, results
from surgrec_jax.evaluation.clips import class_names, enlarged_share, repeated_share
from surgrec_jax.evaluation.columns import (
    FINE_TUNED,
    MAJORITY,
    PROBABILITIES,
    TOKENS,
    Candidate,
    Column,
)
from surgrec_jax.evaluation.features import Features
from surgrec_jax.evaluation.heads import HEADS
from surgrec_jax.evaluation.protocols import Settings
from surgrec_jax.evaluation.tasks import RefusedTaskError, Task

__all__ = ["Candidate", "Settings", "answers", "build", "environment", "probe"]

_REPEATS_TOLD = 0.05  # share of repeated frames that is worth a note
_PACKAGES = ("jax", "flax", "numpy", "scikit-learn", "grain", "tensorflow-datasets")


def under_protocol(task: Task, settings: Settings) -> Task:
    """The task with the headline metric that the protocol asks for."""
    metric = settings.rules.metric
    if metric is None or metric == task.metric:
        return task
    if metric not in task.metrics:
        raise RefusedTaskError(
            f"task {task.name} has no {metric}, which protocol {settings.protocol} reports"
        )
    return dataclasses.replace(task, metric=metric)


def build(
    task: Task,
    classes: Mapping[str, Sequence[str]],
    found: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> protocol.Problem:
    """The task's problem on extracted clips. Raises as `protocol.build_problem`."""
    any_features = {split: next(iter(named.values())) for split, named in found.items()}
    task = under_protocol(task, settings)
    return protocol.build_problem(task, classes, any_features, clean=settings.rules.clean)


def answers(
    problem: protocol.Problem,
    column: Column,
    found: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> dict[str, protocol.Answer]:
    """Row of the table -> answer of one column.

    Raises:
      RefusedTaskError: as `protocol.run_head`.
    """
    if column.kind == "majority":
        rows = [row for row, _, _ in settings.rows()] or [FINE_TUNED]
        return {row: protocol.majority(problem) for row in rows}
    given = fine_tuned(problem, column, found, settings)
    for row, head, share in settings.rows():
        suffix = TOKENS if HEADS[head].tokens else ""
        parts = [
            protocol.run_head(
                head,
                problem,
                {split: found[split][name + suffix].features for split in problem.task.splits},
                seeds=range(settings.seeds),
                resample=settings.train_resample,
                share=share,
            )
            for name in column.encoders
        ]
        given[row] = functools.reduce(protocol.Answer.joined, parts)
    return given


def _taught(column: Column, task: Task) -> bool:
    """Whether the column has a classifier of the task's labels."""
    one = column.classifier
    return one is not None and all(fnmatch.fnmatch(track, task.track) for track in one.tracks)


def unfit(column: Column, task: Task, classes: Sequence[str]) -> str:
    """Why the column's classifier of the task's labels cannot answer it: it has other classes, or
    was trained on the labels of another frame of the clip. "" where it can, or there is none."""
    one = column.classifier
    if not _taught(column, task):
        return ""
    if one.classes != tuple(classes) or one.multi_label != task.multi_label:
        return (
            f"{column.name} was fine-tuned on the classes {', '.join(one.classes)}, task "
            f"{task.name} of {task.source} has {', '.join(classes)}: its classifier is not asked "
            f"(fine-tune on {task.source})"
        )
    if task.unit == "video" or one.frame == task.frame:
        return ""
    return (
        f"{column.name} was fine-tuned on the label of a clip's {one.frame} frame, "
        f"task {task.name} of {task.source} scores that of the {task.frame} one: its classifier "
        f"is not asked (fine-tune with --config.classify.frame={task.frame})"
    )


def fine_tuned(
    problem: protocol.Problem,
    column: Column,
    found: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> dict[str, protocol.Answer]:
    """The answer of a column's classifier, where it was trained on this task's labels.

    Raises:
      RefusedTaskError: nothing but it is asked, and it has other classes or was trained for another
        frame of the clip.
    """
    task = problem.task
    if not _taught(column, task):
        return {}
    if why := unfit(column, task, problem.classes):
        if settings.rules.finetune:
            raise RefusedTaskError(why)
        return {}  # the encoder is probed all the same; the notes say why
    split = found[task.splits[-1]]
    scores = split[column.name + PROBABILITIES].features[problem.test.rows]
    return {FINE_TUNED: protocol.Answer(problem.pool(problem.test, scores)[None])}


def _probe_task(
    problem: protocol.Problem,
    columns: Sequence[Column],
    found: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> tuple[dict, dict[str, np.ndarray]]:
    """One task, all columns of one clip: its part of the results and its predictions."""
    labels, cases = problem.units(problem.test)
    predictions = {"labels": labels, "case_id": cases}
    given = {column.name: answers(problem, column, found, settings) for column in columns}
    random_of = {column.name: column.random for column in columns}
    heads: dict[str, dict] = {}
    rows = dict.fromkeys(row for answered in given.values() for row in answered)
    constant = next(iter(given[MAJORITY.name].values()))
    given[MAJORITY.name] = dict.fromkeys(rows, constant)  # the same in every row
    for row in rows:
        samples = {
            n: results.resample(problem, a[row], settings.resamples)
            for n, a in given.items()
            if row in a
        }
        heads[row] = {
            name: results.summarise(
                problem, one[row], samples[name], samples.get(random_of[name]), settings.level
            )
            for name, one in given.items()
            if row in one
        }
        predictions |= {
            f"{row}/{name}": one[row].scores.astype(np.float32)
            for name, one in given.items()
            if name != MAJORITY.name and row in one
        }
    return {**results.describe_problem(problem), "heads": heads}, predictions


def probe(
    candidates: Sequence[Candidate],
    sources: Mapping[str, Source],
    tasks: Sequence[Task],
    settings: Settings,
    *,
    cache: str | os.PathLike | None = None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Probes encoders and their baselines on tasks of one source.

    Encoders with the same clip are compared on the same clips in one decoding pass. Those with
    another clip (frames, size, rate) have their own pixels and random columns.

    Args:
      candidates: the encoders; names must differ.
      sources: split -> source, the training split first.
      tasks: tasks of that source.
      settings: how.
      cache: folder of cached features, None = no cache.

    Returns:
      results (see results.py for the JSON) and predictions: "<task>/labels", "<task>/case_id" and
      "<task>/<head>/<model>" float32 [seeds, units, classes]; with several clips the key starts
      with "<frames>x<size>@<fps>/".

    Raises:
      LeakedSplitError, ValueError: a task cannot be asked; raised before any head is trained.
    """
    start = time.monotonic()
    found_groups = columns_lib.groups(candidates, settings)
    first = next(iter(sources.values()))
    classes = class_names(first)
    for task in tasks:
        task.classes(classes)
    entries: dict[str, dict] = {}
    predictions = {}
    for group in found_groups:
        found = columns_lib.extract(group, group.columns, sources, settings, cache)
        problems = [build(task, classes, found, settings) for task in tasks]
        for problem in problems:
            entry, scores = _probe_task(problem, group.columns, found, settings)
            kept = entries.setdefault(entry["name"], entry)
            for row, columns in entry["heads"].items():
                kept["heads"][row] = columns | kept["heads"].get(row, {})  # one majority
            name = problem.task.name
            prefix = f"{group.label}/{name}" if len(found_groups) > 1 else name
            predictions |= {f"{prefix}/{key}": value for key, value in scores.items()}
    return {
        "version": results.VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "source": first.name,
        "data": {split: source.fingerprint for split, source in sources.items()},
        "protocol": dataclasses.asdict(settings),
        "environment": environment(),
        "notes": notes(
            {first.name: list(sources.values())[-1]},
            found_groups,
            settings,
            [(task, task.classes(classes)) for task in tasks],
        ),
        "models": [column.describe() for column in columns_lib.ordered(found_groups)],
        "tasks": list(entries.values()),
    }, predictions


def notes(
    asked: Mapping[str, Source],
    found: Sequence[columns_lib.Group],
    settings: Settings,
    tasks: Sequence[tuple[Task, Sequence[str]]],
) -> list[str]:
    """What every reader of the table must know.

    Args:
      asked: name -> test split of the data sets.
      found: the groups of encoders.
      tasks: of all data sets, each with its classes.
    """
    said = list(settings.rules.notes)
    if any(name.startswith("phantom") for name in asked):
        said.append("Phantom data, not clinical: procedurally drawn video, not surgery.")
    if len(found) > 1:
        said.append("Encoders with another clip are scored on their own clips of the same cases.")
    pairs = itertools.product(columns_lib.ordered(found), tasks)
    said += [f"{why}." for column, task in pairs if (why := unfit(column, *task))]
    for group in found:
        frames, size, fps = group.clip
        spec = ClipSpec(frames=frames, fps=fps, size=size)
        for name, source in asked.items():
            share = repeated_share(source, spec, of_videos=settings.clips_per_video > 0)
            if share > _REPEATS_TOLD:
                said.append(
                    f"{share:.0%} of the frames of clips {group.label} from {name} repeat the one "
                    "before: it stores fewer frames per second, or segments shorter than such a "
                    "clip."
                )
            if small := enlarged_share(source, spec):
                said.append(
                    f"{small:.0%} of the records of {name} have frames smaller than clips "
                    f"{group.label}: they are enlarged."
                )
    return said


def environment() -> dict[str, str]:
    """Versions and device, for the results file."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0]
    return {"python": platform.python_version(), "device": device.device_kind, **versions}
