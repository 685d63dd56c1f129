"""The benchmark: every column on every task, cell by cell; a cell that stands is not made again."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence

from surgrec_jax.data.records import Source
from surgrec_jax.evaluation import cells, columns, protocol, runner
from surgrec_jax.evaluation.cells import Cell
from surgrec_jax.evaluation.clips import class_names
from surgrec_jax.evaluation.columns import Column, Group
from surgrec_jax.evaluation.protocols import Settings
from surgrec_jax.evaluation.tasks import RefusedTaskError, Task
from surgrec_jax.safety.errors import DataError, UserError

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Failure:
    """A cell that could not be computed; it is tried again by the next run."""

    source: str
    task: str
    column: str
    reason: str


@dataclasses.dataclass
class Progress:
    """Counts cells and says a line for each."""

    total: int
    say: Say
    done: int = 0

    def __call__(self, task: Task, column: str, what: str) -> None:
        self.done += 1
        width = len(str(self.total))
        self.say(f"[{self.done:{width}d}/{self.total}] {task.title} x {column}: {what}")


def key(
    task: Task, column: Column, group: Group, sources: Mapping[str, Source], settings: Settings
) -> dict:
    """All that a cell's numbers depend on, as JSON values."""
    used = dataclasses.asdict(settings)
    return {
        "source": task.source,
        "task": task.name,
        "column": column.name,
        "asks": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(task).items()},
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in used.items()},
        "data": {split: sources[split].fingerprint for split in task.splits},
        "clip": list(group.clip),  # majority and pixels have no encoder that would tell it
        "features": column.identity(),
        "facts": column.facts.get("key", {}),
    }


def headline(cell: Cell) -> str:
    """A cell in a few words."""
    if cell.refused:
        return f"refused: {cell.refused}"
    row, entry = next(iter(cell.heads.items()))
    score = "undefined" if entry["mean"] is None else f"{100 * entry['mean']:.1f}"
    return f"{cell.task['metric']} {score} ({row})"


def _extract(
    group: Group,
    drawn: Sequence[Column],
    sources: Mapping[str, Source],
    settings: Settings,
    cache: pathlib.Path,
) -> tuple[dict, dict[str, str]]:
    """Features of the columns that give any, and of the others the reason why not.

    One pass for all; if it fails, a pass for each, so that one bad encoder spoils no other's.
    """
    try:
        return columns.extract(group, drawn, sources, settings, cache), {}
    except UserError as error:
        if len(drawn) == 1:
            return {}, {drawn[0].name: str(error)}
    found: dict[str, dict] = {}
    broken: dict[str, str] = {}
    for column in drawn:
        try:
            mine = columns.extract(group, [column], sources, settings, cache)
        except UserError as error:
            broken[column.name] = str(error)
            continue
        for split, named in mine.items():
            found.setdefault(split, {}).update(named)
    return found, broken


Ask = Callable[[protocol.Problem, Column, Mapping[str, Source]], Cell]


@dataclasses.dataclass(frozen=True)
class _Stage:
    """What the cells of one source and group are computed from.

    `found`: split -> feature name -> features; `broken`: column -> why it has none.
    """

    sources: Mapping[str, Source]
    settings: Settings
    found: Mapping
    broken: Mapping[str, str]
    ask: Ask | None

    def problem(self, task: Task) -> tuple[protocol.Problem | None, str]:
        """The task's problem, or why it cannot be asked. Any other error is none of the task's."""
        if not self.found:
            return None, ""
        try:
            classes = class_names(self.sources[task.splits[0]])
            return runner.build(task, classes, self.found, self.settings), ""
        except RefusedTaskError as error:
            return None, str(error)

    def cell(
        self, task: Task, column: Column, problem: protocol.Problem | None, refused: str
    ) -> Cell:
        """Computes a cell. Raises UserError or OSError where it cannot be."""
        if column.name in self.broken or not self.found:
            raise DataError(self.broken.get(column.name) or next(iter(self.broken.values())))
        if refused:
            about = {"name": task.name, "source": task.source, "domain": task.domain}
            return Cell(column.name, about, {}, refused)
        if column.kind == "vlm":
            return self.ask(problem, column, self.sources)
        given = runner.answers(problem, column, self.found, self.settings)
        if not given:
            raise RefusedTaskError(f"{column.name} was not trained on this task")
        resamples, level = self.settings.resamples, self.settings.level
        return cells.make(problem, column.name, given, resamples=resamples, level=level)


def _wanted(group: Group, first: bool, settings: Settings, asked: Sequence[Column]) -> list[Column]:
    """The group's columns to fill. The majority and language models have no clip of their own: once
    is enough."""
    kept = [c for c in group.columns if c.kind != "majority" or first]
    if settings.rules.finetune:  # other baselines have no classifier
        kept = [c for c in kept if c.classifier or c.kind == "majority"]
    return [*kept, *(asked if first else ())]


def run_source(
    tasks: Sequence[Task],
    sources: Mapping[str, Source],
    groups: Sequence[Group],
    settings: Settings,
    out: str | os.PathLike,
    progress: Progress,
    *,
    asked: Sequence[Column] = (),
    ask: Ask | None = None,
) -> tuple[list[Cell], list[Failure]]:
    """All cells of one source: those on disk, and the others computed and kept.

    Args:
      tasks: of the source.
      sources: split -> source, the training split first.
      groups: the encoders and their baselines.
      out: folder; cells/ and features/ in it.
      asked, ask: columns that are not trained but asked (language models), and what asks them. They
        see the clips of the first group.
    """
    out = pathlib.Path(out)
    made: list[Cell] = []
    failures: list[Failure] = []
    for number, group in enumerate(groups):
        wanted = _wanted(group, number == 0, settings, asked)
        keys = {
            (t.name, c.name): key(t, c, group, sources, settings) for t in tasks for c in wanted
        }
        there = {pair: cells.load(out / "cells", k) for pair, k in keys.items()}
        todo = [c for c in wanted if any(there[t.name, c.name] is None for t in tasks)]
        found, broken = {}, {}
        if todo:
            drawn = [c for c in todo if c.encoders] or [c for c in group.columns if c.encoders][:1]
            found, broken = _extract(group, drawn, sources, settings, out / "features")
        stage = _Stage(sources, settings, found, broken, ask)
        for task in tasks:
            missing = any(there[task.name, c.name] is None for c in wanted)
            problem, refused = stage.problem(task) if missing else (None, "")
            for column in wanted:
                cell = there[task.name, column.name]
                if cell is not None:
                    progress(task, column.name, f"{headline(cell)}, kept")
                    made.append(cell)
                    continue
                try:
                    cell = stage.cell(task, column, problem, refused)
                except (UserError, OSError) as error:
                    progress(task, column.name, f"FAILED: {error}")
                    failures.append(Failure(task.source, task.name, column.name, str(error)))
                    continue
                cells.save(out / "cells", keys[task.name, column.name], cell)
                progress(task, column.name, headline(cell))
                made.append(cell)
    return made, failures
