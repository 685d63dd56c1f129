"""From cells to the results of a benchmark: paired differences, means over domains, and details."""

import dataclasses
import datetime
import hashlib
import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation import bootstrap, details, results
from surgrec_jax.evaluation.cells import Cell
from surgrec_jax.evaluation.columns import MAJORITY, Column
from surgrec_jax.evaluation.matrix import Failure
from surgrec_jax.evaluation.protocols import Settings

KIND = "benchmark"


def assemble(
    cells: Sequence[Cell],
    failures: Sequence[Failure],
    columns: Sequence[Column],
    settings: Settings,
    **facts,
) -> dict:
    """The results as plain data.

    Args:
      cells: of all columns and tasks; tasks keep the order of their first cell.
      columns: in the order of the table.
      facts: more keys for the results: "protocol", "environment", "notes", "missing", "audit",
        "overlap", "seconds".

    Returns:
      A JSON-able dict: as `runner.probe` gives, and "missing" (data sets that are not prepared),
      "refused" (tasks that cannot be asked), "failed" (cells), "domains" (means over tasks),
      "pairs" (encoders against each other), and "details" of every task.
    """
    by_task: dict[tuple[str, str], dict[str, Cell]] = {}
    refused: dict[tuple[str, str], str] = {}
    for cell in cells:
        name = cell.task["source"], cell.task["name"]
        if cell.refused:
            refused[name] = cell.refused
        else:
            by_task.setdefault(name, {})[cell.column] = cell
    told = {name for of_task in by_task.values() for name in of_task}
    told |= {failure.column for failure in failures}
    columns = [column for column in columns if column.name in told or not by_task]
    tasks, pairs = [], []
    for (source, name), of_task in by_task.items():
        given = [column for column in columns if column.name in of_task]
        tasks.append(_task(of_task, given, settings))
        for pair in _pairs(of_task, given, settings):
            pairs.append({"source": source, "task": name, **pair})
    return {
        "version": results.VERSION,
        "kind": KIND,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "models": [column.describe() for column in columns],
        "tasks": tasks,
        "domains": _domains(by_task, columns, settings),
        "pairs": pairs,
        "refused": [
            {"source": source, "task": name, "reason": reason}
            for (source, name), reason in refused.items()
        ],
        "failed": [vars(failure) for failure in failures],
        **facts,
    }


def _rows(of_task: Mapping[str, Cell]) -> list[str]:
    """Rows of the table: those of the trained columns; language models have one of their own."""
    return list(dict.fromkeys(row for cell in of_task.values() for row in cell.heads))


def _task(of_task: Mapping[str, Cell], columns: Sequence[Column], settings: Settings) -> dict:
    first = of_task[columns[0].name]
    heads: dict[str, dict] = {}
    for row in _rows(of_task):
        entries = {
            c.name: of_task[c.name].heads[row] for c in columns if row in of_task[c.name].heads
        }
        constant = of_task.get(MAJORITY.name)
        if constant and MAJORITY.name not in entries:  # the same in every row
            entries[MAJORITY.name] = next(iter(constant.heads.values()))
        for column in columns:
            reference = of_task.get(column.random)
            if column.name in entries and reference and row in reference.heads:
                difference = of_task[column.name].samples(row) - reference.samples(row)
                minus = difference.interval(settings.level).as_dict()
                entries[column.name] = {**entries[column.name], "minus_random": minus}
        heads[row] = entries
    extra = {c.name: of_task[c.name].extra for c in columns if of_task[c.name].extra}
    return {
        **first.task,
        "heads": heads,
        "extra": extra,
        "details": details.of_task(of_task, columns, next(iter(heads))),
    }


def _pairs(of_task: Mapping[str, Cell], columns: Sequence[Column], settings: Settings):
    """Encoders against each other, by paired bootstrap over the same cases; a "reason" instead of a
    value where they were scored on other cases."""
    encoders = [column.name for column in columns if column.kind == "encoder"]
    for row in _rows(of_task):
        for a, b in itertools.combinations(encoders, 2):
            if row in of_task[a].heads and row in of_task[b].heads:
                one, other = of_task[a].samples(row), of_task[b].samples(row)
                if apart := sorted(set(one.case_ids) ^ set(other.case_ids)):
                    some = ", ".join(apart[:5]) + (", ..." if len(apart) > 5 else "")
                    reason = f"not paired: only one of them has labelled clips of {some}"
                    found = {"value": None, "reason": reason}
                else:
                    found = (one - other).interval(settings.level).as_dict()
                yield {"row": row, "first": a, "second": b, **found}


def _domains(by_task: Mapping, columns: Sequence[Column], settings: Settings) -> list[dict]:
    """Mean headline score per domain and over all tasks, of the tasks where every trained column
    has a score. The majority has a mean where it has all of those scores too: a constant answer
    has no rank correlation."""
    compared = [column for column in columns if column.kind != "vlm"]
    trained = [column.name for column in compared if column.kind != "majority"]
    usable: dict[str, dict[str, list]] = {}  # row -> domain -> tasks
    for (source, _), of_task in by_task.items():
        for row in _rows(of_task):
            if not all(_scored(of_task, name, row) for name in trained):
                continue
            domain = next(iter(of_task.values())).task["domain"]
            for group in dict.fromkeys((domain, "all")):
                usable.setdefault(row, {}).setdefault(group, []).append((source, of_task))
    found = []
    for row, groups in usable.items():
        for domain, chosen in groups.items():
            entry = {"row": row, "domain": domain, "tasks": len(chosen), "columns": {}}
            for name in (column.name for column in compared):
                if not all(_scored(of_task, name, row) for _, of_task in chosen):
                    continue
                samples = [_shuffled(source, cell[name].samples(row)) for source, cell in chosen]
                sources = {source: s.cases for (source, _), s in zip(chosen, samples, strict=True)}
                mean = bootstrap.Samples(
                    float(np.mean([s.value for s in samples])),
                    np.mean([s.draws for s in samples], 0),
                    sum(sources.values()),
                    limits=tuple(np.mean([s.limits for s in samples], 0).tolist()),
                    lost=len(sources),
                )
                entry["columns"][name] = mean.interval(settings.level).as_dict()
            found.append(entry)
    return sorted(found, key=lambda e: (e["row"], e["domain"] == "all", e["domain"]))


def _scored(of_task: Mapping[str, Cell], name: str, row: str) -> bool:
    """Has this column a score in this row?"""
    entry = of_task[name].heads.get(row) if name in of_task else None
    return entry is not None and entry["mean"] is not None


def _shuffled(source: str, samples: bootstrap.Samples) -> bootstrap.Samples:
    """The same draws in an order of the source's own: draws of one source stay paired, those of two
    sources with equally many cases do not."""
    seed = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8])
    order = np.random.default_rng([seed]).permutation(len(samples.draws))
    return dataclasses.replace(samples, draws=samples.draws[order])
