"""The table of a comparison: encoders and their baselines on the tasks of data sets."""

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from surgrec_jax.evaluation.benchmark import columns, notes
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.benchmark.run_cells import (
    Asker,
    Failure,
    Progress,
    Refusal,
    Table,
    columns_to_fill,
)
from surgrec_jax.evaluation.benchmark.summarise import summarise
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import UserError

Train = Callable[[Candidate, Task], Candidate]


class Audits(Protocol):
    """The audit of data sets, as JSON-able facts."""

    def verdict(self, source: Source) -> dict: ...

    def overlap(self, meta: Mapping, source: Source) -> dict: ...


def compare(
    encoders: Sequence[Candidate],
    tasks: Mapping[str, Sequence[Task]],
    sources: Mapping[str, Mapping[str, Source]],
    settings: Settings,
    out: str | os.PathLike,
    audits: Audits,
    *,
    cache: bool = True,
    asker: Asker | None = None,
    train: Train | None = None,
) -> tuple[dict, list[Cell]]:
    """Computes the table of encoders and their baselines on tasks of data sets.

    Args:
      tasks: source -> its tasks.
      sources: source -> split -> opened source, the training split first.
      out: folder of cells/ and features/; cells that stand there are not computed again.
      audits: says what is wrong with a data set, and whether an encoder was pretrained on it.
      cache: whether features are kept.
      asker: a language model.
      train: gives the encoder that is trained on a task, under a protocol that trains them whole.

    Returns:
      The results (see `summarise`), and the cells they are made of.
    """
    start = time.monotonic()
    groups = columns.groups(encoders, settings)
    width = sum(map(len, columns_to_fill(groups, settings, asker)))
    progress = Progress(sum(len(tasks[name]) for name in sources) * width, _say)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    table = Table(settings, out, out / "features" if cache else None, progress, asker)
    outcomes: list[Cell | Refusal | Failure] = []
    for name, splits in sources.items():
        if train is None:
            outcomes += table.run_source(tasks[name], splits, groups)
            continue
        for task in tasks[name]:
            trained, failures = _train_all(encoders, task, train)
            outcomes += failures
            if trained:
                outcomes += table.run_source([task], splits, columns.groups(trained, settings))
    cells = [outcome for outcome in outcomes if isinstance(outcome, Cell)]
    tests = {name: splits[tasks[name][0].splits[2]] for name, splits in sources.items()}
    firsts = {name: next(iter(splits.values())) for name, splits in sources.items()}
    classes = {(cell.task["source"], cell.task["name"]): cell.task["classes"] for cell in cells}
    scored = [
        (task, classes[pair])
        for name in sources
        for task in tasks[name]
        if (pair := (task.source, task.name)) in classes
    ]
    return summarise(
        outcomes,
        columns.ordered(groups) + ([asker.column] if asker else []),
        settings,
        protocol={**dataclasses.asdict(settings), "title": settings.rules.title},
        environment=notes.environment(),
        notes=notes.notes(tests, groups, settings, scored),
        data={
            name: {split: source.fingerprint for split, source in splits.items()}
            for name, splits in sources.items()
        },
        missing=[],
        audit={name: audits.verdict(first) for name, first in firsts.items()},
        overlap={
            one.name: {
                name: audits.overlap(one.encoder.meta, first) for name, first in firsts.items()
            }
            for one in encoders
        },
        seconds=round(time.monotonic() - start, 1),
    ), cells


def _train_all(
    encoders: Sequence[Candidate], task: Task, train: Train
) -> tuple[list[Candidate], list[Failure]]:
    """The encoders trained on a task, and those whose training failed."""
    trained, failures = [], []
    for one in encoders:
        try:
            trained.append(train(one, task))
        except UserError as error:
            failures.append(Failure(task.source, task.name, one.name, str(error)))
            _say(f"{task.title} x {one.name}: FAILED: {error}")
    return trained, failures


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
