"""Computes cells: each column on each task; a cell that is on disk is not computed again."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from surgrec_jax.evaluation.benchmark import cells, columns, maps
from surgrec_jax.evaluation.benchmark.answers import answer_task
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import Column, Group
from surgrec_jax.evaluation.features.clips import class_names
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.features.maps import Maps
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks import folds
from surgrec_jax.evaluation.tasks.labelled_maps import label_maps
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask, label_task
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import DataError, UserError


class Asker(Protocol):
    """A model that answers in words, with a column of its own: `evaluation.vlm` has it."""

    column: Column

    def ask(self, task: LabelledTask, sources: Mapping[str, Source]) -> Cell:
        """The cell of a task."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """A task that cannot be scored, whatever the column. The next run asks again."""

    source: str
    task: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Failure:
    """A cell that could not be computed. The next run tries again."""

    source: str
    task: str
    column: str
    reason: str


@dataclasses.dataclass
class Progress:
    """Counts cells and prints a line for each.

    Attributes:
        total: number of cells.
        say: prints a line.
    """

    total: int
    say: Callable[[str], None]
    done: int = 0

    def __call__(self, task: Task, column: str, outcome: str) -> None:
        self.done += 1
        width = len(str(self.total))
        self.say(f"[{self.done:{width}d}/{self.total}] {task.title} x {column}: {outcome}")


def key(
    task: Task, column: Column, group: Group, sources: Mapping[str, Source], settings: Settings
) -> dict:
    """All that a cell's numbers depend on, as JSON values."""
    values = settings.of_task(task)
    return {
        "source": task.source,
        "task": task.name,
        "column": column.name,
        "asks": {k: list(v) if isinstance(v, tuple) else v for k, v in vars(task).items()},
        "settings": {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()},
        "data": {split: sources[split].fingerprint for split in task.splits},
        "clip": list(group.clip),  # majority and pixels have no encoder that would tell it
        "features": column.identity(),
        "facts": column.facts.get("key", {}),
    }


def headline(outcome: Cell | Refusal | Failure) -> str:
    """An outcome in a few words."""
    if isinstance(outcome, Refusal):
        return f"refused: {outcome.reason}"
    if isinstance(outcome, Failure):
        return f"FAILED: {outcome.reason}"
    row, entry = next(iter(outcome.heads.items()))
    score = "undefined" if entry["mean"] is None else f"{100 * entry['mean']:.1f}"
    return f"{outcome.task['metric']} {score} ({row})"


def columns_to_fill(
    groups: Sequence[Group], settings: Settings, asker: Asker | None = None
) -> list[list[Column]]:
    """The columns of each group that a table has.

    The majority and a language model have no clip of their own, so they stand in the first group.
    Where encoders are trained whole, of the baselines only the majority has an answer.
    """
    kinds = ("majority", "encoder") if settings.rules.finetune else columns.KINDS
    chosen = [
        [c for c in group.columns if c.kind in kinds and (number == 0 or c.kind != "majority")]
        for number, group in enumerate(groups)
    ]
    if asker:
        chosen[0].append(asker.column)
    return chosen


@dataclasses.dataclass(frozen=True)
class Table:
    """The settings that the cells of a table are computed with, and the folder that keeps them.

    Attributes:
        folder: cells/ in it holds the cells.
        cache: folder of cached features, None = no cache.
        asker: a language model with a column of its own.
    """

    settings: Settings
    folder: str | os.PathLike
    cache: str | os.PathLike | None
    progress: Progress
    asker: Asker | None = None

    def run_source(
        self, tasks: Sequence[Task], sources: Mapping[str, Source], groups: Sequence[Group]
    ) -> Iterator[Cell | Refusal | Failure]:
        """The outcomes of one source: cells on disk, and the others, which are computed and kept.

        Args:
            tasks: of the source.
            sources: split -> source, the training split first.
            groups: the encoders and their baselines.
        """
        chosen = columns_to_fill(groups, self.settings, self.asker)
        about_maps = [task for task in tasks if task.unit == "pixel"]
        others = [task for task in tasks if task.unit != "pixel"]
        for group, columns_of_group in zip(groups, chosen, strict=True):
            if others:
                yield from _Stage(self, others, sources, group, columns_of_group).run()
            for task in about_maps:  # each has frames of its own
                yield from _MapStage(self, [task], sources, group, columns_of_group).run()


@dataclasses.dataclass(frozen=True)
class _Stage:
    """The cells of one source and one group of columns, which see the same clips."""

    table: Table
    tasks: Sequence[Task]
    sources: Mapping[str, Source]
    group: Group
    columns: Sequence[Column]
    _answer = staticmethod(answer_task)

    def run(self) -> Iterator[Cell | Refusal | Failure]:
        folder, settings = pathlib.Path(self.table.folder) / "cells", self.table.settings
        keys = {
            (task.name, column.name): key(task, column, self.group, self.sources, settings)
            for task in self.tasks
            for column in self.columns
        }
        stored = {pair: cells.load(folder, k) for pair, k in keys.items()}
        lacking = {column for _, column in (pair for pair in stored if stored[pair] is None)}
        features, broken = {}, {}
        if lacking:
            able = [column for column in self.group.columns if column.encoders]
            # The labels come with the features, whichever column they are of.
            drawn = [column for column in able if column.name in lacking] or able[:1]
            features, broken = self._extract(drawn)
        for task in self.tasks:
            labelled = self._label(task, features) if features else None
            if isinstance(labelled, Refusal):
                yield labelled
            for column in self.columns:
                pair = task.name, column.name
                if stored[pair] is not None:
                    self.table.progress(task, column.name, f"{headline(stored[pair])}, kept")
                    yield stored[pair]
                elif isinstance(labelled, Refusal):
                    self.table.progress(task, column.name, headline(labelled))
                else:
                    outcome = self._compute(task, column, labelled, features, broken)
                    if isinstance(outcome, Cell):
                        cells.save(folder, keys[pair], outcome)
                    self.table.progress(task, column.name, headline(outcome))
                    yield outcome

    def _extract(
        self, drawn: Sequence[Column]
    ) -> tuple[dict[str, dict[str, Features]], dict[str, str]]:
        """Split -> feature name -> features, and column -> the reason why it has no features.

        One pass serves all columns; if it fails, each has a pass of its own, so that a bad encoder
        spoils no other's.
        """
        try:
            return self._features(drawn), {}
        except UserError as error:
            if len(drawn) == 1:
                return {}, {drawn[0].name: str(error)}
        features: dict[str, dict[str, Features]] = {}
        broken: dict[str, str] = {}
        for column in drawn:
            own, reason = self._extract([column])
            broken |= reason
            for split, named in own.items():
                features.setdefault(split, {}).update(named)
        return features, broken

    def _features(self, drawn: Sequence[Column]) -> dict[str, dict[str, Features]]:
        """Split -> feature name -> features of some columns."""
        settings, cache = self.table.settings, self.table.cache
        features = columns.extract(self.group, drawn, self.sources, settings, cache)
        return folds.pooled(features) if settings.folds else features

    def _label(
        self, task: Task, features: Mapping[str, Mapping[str, Features]]
    ) -> LabelledTask | Refusal:
        """The task with its labels, or why it cannot be scored."""
        any_features = {split: next(iter(named.values())) for split, named in features.items()}
        classes, settings = class_names(self.sources[task.splits[0]]), self.table.settings
        try:
            task = settings.task(task)
            if settings.folds:
                return folds.label_folds(task, classes, any_features[folds.ALL], settings.folds)
            return label_task(task, classes, any_features, clean=settings.rules.clean)
        except RefusedTaskError as error:
            return Refusal(task.source, task.name, str(error))

    def _compute(
        self,
        task: Task,
        column: Column,
        labelled: LabelledTask | None,
        features: Mapping[str, Mapping[str, Features]],
        broken: Mapping[str, str],
    ) -> Cell | Failure:
        """A cell, or why it cannot be computed."""
        try:
            if labelled is None or column.name in broken:
                raise DataError(broken.get(column.name) or next(iter(broken.values())))
            if column.kind == "vlm" and task.unit != "pixel":
                return self.table.asker.ask(labelled, self.sources)
            settings = self.table.settings
            answers = self._answer(labelled, column, features, settings)
            resamples, level = settings.resamples, settings.level
            return cells.make(labelled, column.name, answers, resamples=resamples, level=level)
        except (UserError, OSError) as error:
            return Failure(task.source, task.name, column.name, str(error))


class _MapStage(_Stage):
    """The cells of one task about label maps."""

    _answer = staticmethod(maps.answer_maps)

    @functools.cached_property
    def _maps(self) -> dict[str, Maps]:
        """Split -> its maps."""
        return maps.read(self.tasks[0], self.sources, self.table.settings)

    def run(self) -> Iterator[Cell | Refusal | Failure]:
        (task,) = self.tasks
        try:
            if self.table.settings.folds:
                raise RefusedTaskError("label maps are not cross-validated: leave --config.folds=0")
            _ = self._maps
        except RefusedTaskError as error:
            refusal = Refusal(task.source, task.name, str(error))
            yield refusal
            for column in self.columns:
                self.table.progress(task, column.name, headline(refusal))
        else:
            yield from super().run()

    def _features(self, drawn: Sequence[Column]) -> dict[str, dict[str, Features]]:
        settings, cache = self.table.settings, self.table.cache
        return maps.extract(self.group, drawn, self.sources, self._maps, settings, cache)

    def _label(
        self, task: Task, features: Mapping[str, Mapping[str, Features]]
    ) -> LabelledTask | Refusal:
        settings, kinds = self.table.settings, self.sources[task.splits[0]].maps
        try:
            clean = settings.rules.clean
            return label_maps(settings.task(task), kinds, self._maps, clean=clean)
        except RefusedTaskError as error:
            return Refusal(task.source, task.name, str(error))
