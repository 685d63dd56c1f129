"""Facts of a task for the report, besides scores: confusion, ribbons along videos, hard cases."""

import base64
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from surgrec_jax.evaluation.benchmark.cells import Cell
from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED, Column
from surgrec_jax.evaluation.benchmark.results import confusions
from surgrec_jax.evaluation.metrics import maps, registry
from surgrec_jax.evaluation.metrics.videos import segments

MAX_CLASSES = 24  # a larger confusion matrix is not legible
VIDEOS, CASES, EXAMPLES = 4, 3, 3


def of_task(cells: Mapping[str, Cell], columns: Sequence[Column], row: str) -> dict:
    """The facts of a task, JSON-able.

    Args:
        cells: column name -> cell.
        row: the leading row of the table.

    Returns:
        "row", "leader" (the encoder with the best score, or the best column where there is none),
        "confusion" (column -> [C, P] mean counts over seeds), "ribbons" and "hardest"; empty where
        they do not fit the task.
    """
    shown = [column for column in columns if row in cells[column.name].heads]
    shown += [c for c in columns if c.kind == "vlm" and c not in shown]
    named = {column.name: _scores(cells[column.name], row) for column in shown}
    encoders = [c.name for c in shown if c.kind == "encoder"] or [c.name for c in shown]
    leader = max(encoders, key=lambda name: _mean(cells[name], row))
    cell = cells[leader]
    classes, labels = cell.task["classes"], cell.arrays["labels"]
    facts = {"row": row, "leader": leader, "confusion": {}, "ribbons": [], "hardest": []}
    if labels.ndim == 1:
        if len(classes) <= MAX_CLASSES:
            for name, scores in named.items():
                counts = confusions(cells[name].arrays["labels"], scores, len(classes))
                facts["confusion"][name] = np.round(np.mean(counts, 0), 2).tolist()
        if cell.task["unit"] == "frame":
            classifiers = {
                f"{name}, {FINE_TUNED}": _scores(cell, FINE_TUNED)
                for name, cell in cells.items()
                if FINE_TUNED in cell.heads and row != FINE_TUNED and name in named
            }
            facts["ribbons"] = _ribbons(cells, named | classifiers, leader)
    pixels = cell.task["unit"] == "pixel"
    facts["hardest"] = _hardest_maps(cell, row) if pixels else _hardest(cell, named[leader])
    return facts


def _scores(cell: Cell, row: str) -> np.ndarray:
    """Scores [S, U, P] of a row, or of the only row that a language model has."""
    row = row if row in cell.heads else next(iter(cell.heads))
    return cell.arrays[f"scores/{row}"]


def _mean(cell: Cell, row: str) -> float:
    value = cell.heads[row]["mean"] if row in cell.heads else None
    return -np.inf if value is None else value


def _spans(classes: np.ndarray, times: np.ndarray) -> list[list[float]]:
    """[class, first second, last second] of each run; a frame stands until the next one."""
    step = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    edges = np.append(times, times[-1] + step)
    runs = zip(*segments(classes), strict=True)
    return [[int(c), round(float(edges[a]), 2), round(float(edges[b]), 2)] for c, a, b in runs]


def _ribbons(cells: Mapping[str, Cell], named: Mapping[str, np.ndarray], leader: str) -> list[dict]:
    """Truth and predictions (first seed) along some videos, from the leader's worst to its best."""
    arrays = cells[leader].arrays
    right = (named[leader].argmax(-1) == arrays["labels"]).mean(0)
    order = registry.Order(arrays["video_id"], arrays["time"])
    videos = sorted(order.videos(), key=lambda rows: right[rows].mean())
    chosen = np.unique(
        np.linspace(0, len(videos) - 1, min(VIDEOS, len(videos))).round().astype(int)
    )
    ribbons = []
    for rows in (videos[i] for i in chosen):
        video, times = str(arrays["video_id"][rows[0]]), arrays["time"][rows]
        predictions = {}
        for name, scores in named.items():
            own = cells[name.removesuffix(f", {FINE_TUNED}")].arrays
            mine = np.flatnonzero(own["video_id"] == video)
            mine = mine[np.argsort(own["time"][mine], kind="stable")]
            if len(mine):
                predictions[name] = _spans(scores[0, mine].argmax(-1), own["time"][mine])
        ribbons.append({
            "video": video,
            "case": str(arrays["case_id"][rows[0]]),
            "accuracy": float(right[rows].mean()),
            "truth": _spans(arrays["labels"][rows], times),
            "predictions": predictions,
        })  # fmt: skip
    return ribbons


def _hardest(cell: Cell, scores: np.ndarray) -> list[dict]:
    """The cases with the most errors of the leader, each with its surest errors.

    An error is 1 - share of right answers over seeds; for several labels the mean absolute
    difference between score and label.
    """
    arrays = cell.arrays
    labels = arrays["labels"]
    if labels.ndim == 1:
        error = 1 - (scores.argmax(-1) == labels).mean(0)
        mean = scores.mean(0)
        own = np.take_along_axis(mean, labels[:, None], 1)[:, 0]
        sure = error + mean.max(1) - own
    else:
        known = labels >= 0
        apart = np.abs(scores.mean(0) - labels) * known
        error = apart.sum(1) / np.maximum(known.sum(1), 1)
        sure = error
    cases, index = np.unique(arrays["case_id"], return_inverse=True)
    per_case = np.bincount(index, error) / np.bincount(index)
    hardest = []
    for case in np.argsort(-per_case, kind="stable")[:CASES]:
        rows = np.flatnonzero(index == case)
        wrong = rows[error[rows] > 0]
        if not len(wrong):
            break  # all is right from here on
        worst = wrong[np.argsort(-sure[wrong], kind="stable")][:EXAMPLES]
        hardest.append({
            "case": str(cases[case]),
            "error": float(per_case[case]),
            "units": len(rows),
            "examples": [_example(cell, scores, int(i)) for i in worst],
        })  # fmt: skip
    return hardest


def _hardest_maps(cell: Cell, row: str) -> list[dict]:
    """The frames whose predicted maps the cell keeps, by case; see `run_map_head.hardest`."""
    if f"shown/{row}" not in cell.arrays:
        return []
    arrays, metric = cell.arrays, cell.task["metric"]
    values = maps.frame_values(metric, arrays[f"scores/{row}"][0].astype(np.float64))
    hardest: dict[str, dict] = {}
    for unit, answer in zip(arrays[f"shown/{row}"], arrays[f"maps/{row}"], strict=True):
        case = str(arrays["case_id"][unit])
        of_case = arrays["case_id"] == case
        mean = float(np.nanmean(values[of_case])) if np.isfinite(values[of_case]).any() else 1.0
        entry = {"case": case, "error": 1 - mean, "units": int(of_case.sum()), "examples": []}
        shows = np.asarray(cell.task["classes"])[arrays["labels"][unit] == 1]
        png = cv2.imencode(".png", answer if answer.dtype == np.uint8 else _counts(answer))[1]
        hardest.setdefault(case, entry)["examples"].append({
            "video": str(arrays["video_id"][unit]),
            "record": int(arrays["record"][unit]),
            "time": float(arrays["time"][unit]),
            "truth": ", ".join(shows),
            "answer": f"{metric.replace('_', ' ')} {100 * values[unit]:.1f} %",
            "map": base64.b64encode(png.tobytes()).decode(),
        })  # fmt: skip
    return list(hardest.values())


def _counts(millimetres: np.ndarray) -> np.ndarray:
    """Depths as 16 bits, in tenths of a millimetre."""
    return np.clip(np.round(millimetres * 10), 0, 65535).astype(np.uint16)


def _example(cell: Cell, scores: np.ndarray, i: int) -> dict:
    classes, labels = cell.task["classes"], cell.arrays["labels"]
    if labels.ndim == 1:
        # The commonest wrong answer over seeds; the right one where all are right.
        truth, answers = classes[labels[i]], [int(k) for k in scores[:, i].argmax(-1)]
        answers = [k for k in answers if k != labels[i]] or answers
        common = max(sorted(set(answers)), key=answers.count)
        answer = classes[common] if common < len(classes) else "no answer"
    else:
        truth = ", ".join(np.asarray(classes)[labels[i] == 1]) or "none"
        answer = ", ".join(np.asarray(classes)[scores.mean(0)[i] > 0.5]) or "none"
    return {
        "video": str(cell.arrays["video_id"][i]),
        "record": int(cell.arrays["record"][i]),
        "time": None if cell.task["unit"] == "video" else float(cell.arrays["time"][i]),
        "truth": truth,
        "answer": answer,
    }
