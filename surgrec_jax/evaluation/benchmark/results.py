"""Results of a comparison as plain data: the entries of results.json, and the table as text."""

import math
import os
import pathlib
import textwrap
from collections.abc import Mapping

import numpy as np

from surgrec_jax.evaluation.benchmark.names import fitted
from surgrec_jax.evaluation.heads.rules import RULES
from surgrec_jax.evaluation.heads.run_head import Answer
from surgrec_jax.evaluation.metrics import bootstrap, maps, registry
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import DataError, MissingError

VERSION = 1
WIDTH = 100  # characters of a terminal's line


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def resample(labelled: LabelledTask, answer: Answer, num_resamples: int) -> bootstrap.Samples:
    """Headline scores of an answer in resamples of the test cases."""
    labels, cases = labelled.units(labelled.test)
    return bootstrap.resample(
        labelled.task.metric,
        labels,
        answer.scores,
        cases,
        num_resamples=num_resamples,
        order=labelled.order(labelled.test),
        num_classes=len(labelled.classes),
    )


def summarise(
    labelled: LabelledTask,
    answer: Answer,
    samples: bootstrap.Samples,
    level: float = 0.95,
) -> dict:
    """Score, spread, interval and details of one answer.

    Args:
        labelled, answer: the task and the answer to it.
        samples: `resample(labelled, answer, ...)`.
        level: coverage of the intervals.

    Returns:
        A JSON-able dict: "mean" and "std" of the headline metric over seeds, "seeds" (each),
        "interval" over test cases of the mean, "metrics" (all that fit), "per_class" (mean over
        seeds), "chosen", "validation", "missing_classes", "train_cases".
    """
    task = labelled.task
    labels, _ = labelled.units(labelled.test)
    each = {
        name: [labelled.score(name, labelled.test, s) for s in answer.scores]
        for name in task.metrics
    }
    values = each[task.metric]
    return {
        "mean": _number(np.mean(values)),
        "std": _number(np.std(values, ddof=1)) if len(values) > 1 else None,
        "seeds": [_number(v) for v in values],
        "interval": samples.interval(level).as_dict(),
        "metrics": {name: _number(np.mean(of_seeds)) for name, of_seeds in each.items()},
        "per_class": _per_class(labelled, labels, answer.scores),
        "chosen": list(answer.chosen),
        "validation": list(answer.validation),
        "missing_classes": list(answer.missing),
        "train_cases": list(answer.train_cases),
    }


def _per_class(labelled: LabelledTask, labels: np.ndarray, scores: np.ndarray) -> dict[str, dict]:
    """Class -> support, and the mean over seeds of precision, recall, jaccard, f1 (or of AP)."""
    if labelled.task.unit == "pixel":
        return {} if labelled.depth else maps.per_class(scores, labelled.classes)
    if labelled.task.multi_label:
        table = {}
        for k, name in enumerate(labelled.classes):
            known = labels[:, k] >= 0
            values = [registry.average_precision(labels[known, k], s[known, k]) for s in scores]
            table[name] = {
                "support": int((labels[:, k] == 1).sum()),
                "average_precision": _number(np.mean(values)),
            }
        return table
    each = [registry.per_class(c) for c in confusions(labels, scores, len(labelled.classes))]
    return {
        name: {
            "support": int(each[0]["support"][k]),
            **{
                key: _number(np.mean([e[key][k] for e in each]))
                for key in ("precision", "recall", "jaccard", "f1")
            },
        }
        for k, name in enumerate(labelled.classes)
    }


def confusions(labels: np.ndarray, scores: np.ndarray, classes: int) -> list[np.ndarray]:
    """A confusion matrix [C, P] per seed of scores [S, U, P]."""
    answers = scores.shape[-1]
    return [registry.confusion_matrix(labels, s.argmax(1), classes, answers) for s in scores]


def describe_task(labelled: LabelledTask) -> dict:
    """Counts per split, classes and unseen classes of a task, JSON-able."""
    task = labelled.task
    counts = {}
    for role in ("train", "validation", "test"):
        split = getattr(labelled, role)
        counts[role] = {
            "cases": len(np.unique(split.case_id)),
            "videos": len(np.unique(split.video_id)),
            "clips": len(split.rows),
            "unlabelled_clips": split.unlabelled_clips,
            "unlabelled_videos": split.unlabelled_videos,
        }
    return {
        "name": task.name,
        "source": task.source,
        "track": task.track,
        **{key: getattr(task, key) for key in ("metric", "unit", "kind", "domain")},
        "splits": list(task.splits),
        **({"folds": len(labelled.folds)} if labelled.folds else {}),
        "classes": list(labelled.classes),
        "counts": counts,
        "unseen_test_classes": list(labelled.unseen),
        "leaks": list(labelled.leaks),
    }


def read_json(path: str | os.PathLike) -> dict:
    """Reads results.json; raises DataError for another version, MissingError where it is not."""
    path = pathlib.Path(path)
    if not path.exists():
        raise MissingError(f"no probe results at {path}; run python -m surgrec_jax.probe")
    results = untrusted.read_json(path)
    if results.get("version") != VERSION:
        raise DataError(f"{path} is not a results file of version {VERSION}; run the probe again")
    return results


def _cell(entry: Mapping) -> str:
    if entry["mean"] is None:
        return "undefined"
    spread = "" if entry["std"] is None else f" ± {100 * entry['std']:.1f}"
    return f"{100 * entry['mean']:z.1f}{spread}"


def _bracket(interval: Mapping | None, sign: str = "") -> str:
    if interval is None:
        return ""
    if interval["low"] is None:
        return "[needs 2 cases]"
    return f"[{100 * interval['low']:{sign}z.1f}, {100 * interval['high']:{sign}z.1f}]"


def _difference(interval: Mapping | None) -> str:
    if interval is None or interval["value"] is None:
        return ""
    return f"{100 * interval['value']:+z.1f} {_bracket(interval, '+')}"


def lines(results: Mapping) -> list[list[str]]:
    """The table as rows of plain text, empty in columns that a row lacks.

    Each task and row has three lines: score, interval, difference to random.
    """
    names = [model["name"] for model in results["models"]]
    rows = [["task", "head", *names]]
    several = len({task["source"] for task in results["tasks"]}) > 1

    def each(entries: Mapping, show) -> list[str]:
        return [show(entries[name]) if name in entries else "" for name in names]

    for task in results["tasks"]:
        test = task["counts"]["test"]
        title = f"{task['source']}: {task['name']}" if several else task["name"]
        about = [title, task["metric"].replace("_", " "), f"{test['cases']} test cases"]
        for head, entries in task["heads"].items():
            shown = [
                [head, *each(entries, _cell)],
                ["interval", *each(entries, lambda e: _bracket(e["interval"]))],
                ["- random", *each(entries, lambda e: _difference(e.get("minus_random")))],
            ]
            rows += [[label, *line] for label, line in zip(about, shown, strict=True)]
            about = ["", "", ""]
    return rows


def _spread_words(protocol: Mapping) -> str:
    """A score and its ± in words."""
    rules = RULES[protocol["protocol"]]
    if rules.finetune:
        return "of one training run each"
    drawn = {
        "cases": "training cases resampled",
        "clips": "one random clip of each training record",
        "none": "all training clips; only initial values and order differ",
    }[protocol["train_resample"]]
    if len(rules.shares) > 1:
        drawn = f"training cases drawn anew; of 100 % {drawn}"
    return f"mean ± standard deviation over {_count(protocol['seeds'], 'probe seed')} ({drawn})"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def caption(results: Mapping) -> str:
    """The meaning of the numbers, in words for every table and page."""
    protocol = results["protocol"]
    text = (
        f"Scores in percent, {_spread_words(protocol)}; then the {100 * protocol['level']:.0f} % "
        "bootstrap interval over test cases (not clips)"
    )
    if not RULES[protocol["protocol"]].finetune:  # which has neither
        text += (
            "; then the paired difference to a random-initialised encoder of the same shape "
            f"({_count(protocol['init_seeds'], 'initialisation')}). Hyper-parameters are chosen on "
            "validation cases"
        )
    if any(model["kind"] == "vlm" for model in results["models"]):
        text += ". Of a vision-language model ± is the spread over phrasings"
    return f"{text}."


def not_scored(results: Mapping) -> dict[str, list[str]]:
    """Title -> lines of everything that has no score."""
    parts = {
        "Missing: not prepared": [(e["source"], e) for e in results["missing"]],
        "Refused": [(f"{e['source']}, {e['task']}", e) for e in results["refused"]],
        "Failed": [(f"{e['source']}, {e['task']}, {e['column']}", e) for e in results["failed"]],
    }
    return {
        title: [f"{name}: {entry['reason']}" for name, entry in entries]
        for title, entries in parts.items()
        if entries
    }


def markdown(results: Mapping) -> str:
    """The table as Markdown, one line per task and row, with everything that was not scored."""

    def cell(text: str) -> str:
        return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")

    title = results["protocol"].get("title", results["protocol"]["protocol"])
    rows = lines(results)
    text = [f"# Benchmark, protocol {cell(title)}", "", caption(results), ""]
    text += [f"- {cell(note)}" for note in results["notes"]] + [""]
    text.append("| " + " | ".join(cell(name) for name in rows[0]) + " |")
    text.append("|" + "---|" * len(rows[0]))
    task = ""
    for first, second, third in zip(rows[1::3], rows[2::3], rows[3::3], strict=True):
        task = f"{first[0]} ({second[0]}, {third[0]})" if first[0] else task
        cells = [task, first[1]]
        for column in range(2, len(first)):
            parts = [first[column], second[column]]
            parts += [f"{third[column]} to random"] if third[column] else []
            cells.append("<br>".join(part for part in parts if part) or "-")
        text.append("| " + " | ".join(map(cell, cells)) + " |")
    parts = not_scored(results)
    parts["Pretraining and test cases"] = [
        f"{model}, {source}: {overlap['text']}"
        for model, of_model in results["overlap"].items()
        for source, overlap in of_model.items()
    ]
    for title, entries in parts.items():
        if entries:
            text += ["", f"## {title}", "", *(f"- {cell(entry)}" for entry in entries)]
    return "\n".join(text) + "\n"


def table(results: Mapping) -> str:
    """Scores, intervals and differences to random; columns that do not fit stand below."""
    rows = fitted(lines(results))
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    blocks, text = [[0, 1]], []
    for column in range(2, len(widths)):
        if len(blocks[-1]) > 2 and sum(widths[i] for i in (*blocks[-1], column)) > WIDTH + 2:
            blocks.append([0, 1])
        blocks[-1].append(column)
    for block in blocks:
        for i, row in enumerate(rows):
            text.append("".join(row[k].ljust(widths[k]) for k in block).rstrip())
            if i == 0 or (i % 3 == 0 and i < len(rows) - 1):
                text.append("-" * (sum(widths[k] for k in block) - 2))
        text.append("")
    below = [caption(results), *results["notes"]]
    return "\n".join(text + [textwrap.fill(sentence, WIDTH) for sentence in below])
