"""From cells to results: paired differences, means over domains, and facts for the report."""

import dataclasses
import datetime
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.benchmark import report_facts, results
from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import MAJORITY, Column
from surgrec_jax.evaluation.benchmark.run_cells import Failure, Refusal
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.metrics import bootstrap


def summarise(
    outcomes: Iterable[Cell | Refusal | Failure],
    columns: Sequence[Column],
    settings: Settings,
    **facts,
) -> dict:
    """The results as plain data.

    Args:
        outcomes: of all columns and tasks; tasks keep the order of their first cell.
        columns: in the order of the table.
        facts: more keys for the results, such as "protocol", "environment", "notes" and "data".

    Returns:
        A JSON-able dict with `facts` and: "models" (a description of each column), "tasks" (counts,
        scores and "details" of each), "domains" (means over tasks), "pairs" (encoders against each
        other), "refused" (tasks that cannot be scored) and "failed" (cells).
    """
    by_task: dict[tuple[str, str], dict[str, Cell]] = {}
    refused: dict[Refusal, None] = {}
    failed: list[Failure] = []
    for outcome in outcomes:
        if isinstance(outcome, Refusal):
            refused[outcome] = None
        elif isinstance(outcome, Failure):
            failed.append(outcome)
        else:
            name = outcome.task["source"], outcome.task["name"]
            by_task.setdefault(name, {})[outcome.column] = outcome
    named = {name for of_task in by_task.values() for name in of_task}
    named |= {failure.column for failure in failed}
    columns = [column for column in columns if column.name in named or not by_task]
    tasks, pairs = [], []
    for (source, name), of_task in by_task.items():
        scored = [column for column in columns if column.name in of_task]
        tasks.append(_task(of_task, scored, settings))
        for pair in _pairs(of_task, scored, settings):
            pairs.append({"source": source, "task": name, **pair})
    return {
        "version": results.VERSION,
        "kind": "benchmark",
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "models": [column.describe() for column in columns],
        "tasks": tasks,
        "domains": _domains(by_task, columns, settings),
        "pairs": pairs,
        "refused": [vars(refusal) for refusal in refused],
        "failed": [vars(failure) for failure in failed],
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
        "details": report_facts.of_task(of_task, columns, next(iter(heads))),
    }


def _pairs(
    of_task: Mapping[str, Cell], columns: Sequence[Column], settings: Settings
) -> Iterator[dict]:
    """Encoders against each other, by paired bootstrap over the same cases.

    Where two were scored on other cases, a "reason" stands instead of a value.
    """
    encoders = [column.name for column in columns if column.kind == "encoder"]
    for row in _rows(of_task):
        for a, b in itertools.combinations(encoders, 2):
            if row in of_task[a].heads and row in of_task[b].heads:
                one, other = of_task[a].samples(row), of_task[b].samples(row)
                if apart := sorted(set(one.case_ids) ^ set(other.case_ids)):
                    some = ", ".join(apart[:5]) + (", ..." if len(apart) > 5 else "")
                    reason = f"not paired: only one of them has labelled clips of {some}"
                    difference = {"value": None, "reason": reason}
                else:
                    difference = (one - other).interval(settings.level).as_dict()
                yield {"row": row, "first": a, "second": b, **difference}


def _domains(by_task: Mapping, columns: Sequence[Column], settings: Settings) -> list[dict]:
    """Mean headline score per row and domain, and over all tasks ("all").

    The mean is over the tasks where every trained column has a score. The majority has a mean where
    it has all of those scores too: a constant answer has no rank correlation.
    """
    names = [column.name for column in columns if column.kind != "vlm"]
    trained = [name for name in names if name != MAJORITY.name]
    usable: dict[tuple[str, str], list] = {}  # (row, domain) -> (source, cells of a task)
    for (source, _), of_task in by_task.items():
        domain = next(iter(of_task.values())).task["domain"]
        for row in _rows(of_task):
            if all(_scored(of_task, name, row) for name in trained):
                for group in dict.fromkeys((domain, "all")):
                    usable.setdefault((row, group), []).append((source, of_task))
    means = []
    for (row, domain), chosen in usable.items():
        scored = [n for n in names if all(_scored(of_task, n, row) for _, of_task in chosen)]
        entries = {
            name: _mean([(source, cell[name].samples(row)) for source, cell in chosen])
            .interval(settings.level)
            .as_dict()
            for name in scored
        }
        means.append({"row": row, "domain": domain, "tasks": len(chosen), "columns": entries})
    return sorted(means, key=lambda e: (e["row"], e["domain"] == "all", e["domain"]))


def _mean(of_tasks: Sequence[tuple[str, bootstrap.Samples]]) -> bootstrap.Samples:
    """The mean of one column's (source, samples) over tasks. The cases of a source count once."""
    samples = [_shuffled(source, of_task) for source, of_task in of_tasks]
    cases = {source: of_task.cases for source, of_task in of_tasks}
    return bootstrap.Samples(
        float(np.mean([s.value for s in samples])),
        np.mean([s.draws for s in samples], 0),
        sum(cases.values()),
        limits=tuple(np.mean([s.limits for s in samples], 0).tolist()),
        lost=len(cases),
    )


def _scored(of_task: Mapping[str, Cell], name: str, row: str) -> bool:
    """Whether this column has a score in this row."""
    entry = of_task[name].heads.get(row) if name in of_task else None
    return entry is not None and entry["mean"] is not None


def _shuffled(source: str, samples: bootstrap.Samples) -> bootstrap.Samples:
    """The same draws in an order of the source's own.

    Draws of one source stay paired, those of two sources with equally many cases do not.
    """
    seed = int.from_bytes(hashlib.sha256(source.encode()).digest()[:8])
    order = np.random.default_rng([seed]).permutation(len(samples.draws))
    return dataclasses.replace(samples, draws=samples.draws[order])
