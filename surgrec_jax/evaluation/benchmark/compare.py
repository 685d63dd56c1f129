"""The table of a comparison: encoders and their baselines on the tasks of data sets."""

import dataclasses
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence

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


def compare(
    encoders: Sequence[Candidate],
    tasks: Mapping[str, Sequence[Task]],
    sources: Mapping[str, Mapping[str, Source]],
    settings: Settings,
    out: str | os.PathLike,
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
        cache: whether features are kept.
        asker: a language model.
        train: gives the encoder that is trained on a task, under a protocol that trains them whole.

    Returns:
        The results (see `summarise`; those of the audit are not among them), and their cells.
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
    by_name = {(task.source, task.name): task for name in sources for task in tasks[name]}
    scored = {by_name[c.task["source"], c.task["name"]]: c.task["classes"] for c in cells}
    return summarise(
        outcomes,
        columns.ordered(groups) + ([asker.column] if asker else []),
        settings,
        protocol={**dataclasses.asdict(settings), "title": settings.title},
        environment=notes.environment(),
        notes=notes.notes(tests, groups, settings, scored.items()),
        data={
            name: {split: source.fingerprint for split, source in splits.items()}
            for name, splits in sources.items()
        },
        missing=[],
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
