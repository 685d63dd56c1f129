"""Cells of a benchmark: one column on one task, on disk whole or not at all.

A cell is a JSON file (summary) and an .npz file (scores and bootstrap draws). Both names carry a
digest of the cell's key, which holds all that its numbers depend on: another checkpoint, data set
or setting is another file, and a cell that stands there is never computed again.
"""

import dataclasses
import hashlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Mapping

import numpy as np

from surgrec_jax.evaluation.benchmark import results
from surgrec_jax.evaluation.heads.run_head import Answer
from surgrec_jax.evaluation.metrics import bootstrap, registry
from surgrec_jax.evaluation.tasks.labelled_task import LabelledTask
from surgrec_jax.safety import files, untrusted

VERSION = 5  # raise when the meaning of a cell changes
_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A column's result on a task.

    Attributes:
        column: its name.
        task: `results.describe_task`.
        heads: row of the table -> `results.summarise`.
        arrays: labels, case_id, video_id, time, record of the test units; "scores/<row>" float32
            [S, U, C]; "draws/<row>" float64 [1 + R], the score as it is and
            `bootstrap.Samples.draws`; of maps, "shown/<row>" units [E] and "maps/<row>" [E, M, M],
            what the first seed predicts for them.
        extra: more that the report shows (language models: answers that could not be parsed).
    """

    column: str
    task: dict
    heads: dict
    arrays: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    extra: dict = dataclasses.field(default_factory=dict)

    def samples(self, row: str) -> bootstrap.Samples:
        """The bootstrap of a row."""
        draws = self.arrays[f"draws/{row}"]
        cases = tuple(np.unique(self.arrays["case_id"]).astype(str).tolist())
        limits = registry.limits(self.task["metric"])
        return bootstrap.Samples(float(draws[0]), draws[1:], len(cases), limits, case_ids=cases)


def make(
    labelled: LabelledTask,
    column: str,
    answers: Mapping[str, Answer],
    *,
    resamples: int,
    level: float,
    extra: dict | None = None,
) -> Cell:
    """Scores the answers of one column."""
    labels, cases = labelled.units(labelled.test)
    order = labelled.order(labelled.test)
    split = labelled.test
    records = split.record
    if labelled.task.unit == "video":
        _, first = np.unique(split.video_id, return_index=True)
        records = split.record[first]
    arrays = {"labels": labels, "case_id": cases, "record": records}
    arrays |= {"video_id": order.video_id, "time": order.time}
    heads = {}
    for row, answer in answers.items():
        samples = results.resample(labelled, answer, resamples)
        heads[row] = results.summarise(labelled, answer, samples, level=level)
        arrays[f"scores/{row}"] = answer.scores.astype(np.float32)
        arrays[f"draws/{row}"] = np.append(samples.value, samples.draws)
        if answer.shown:
            arrays[f"shown/{row}"], arrays[f"maps/{row}"] = answer.shown
    return Cell(column, results.describe_task(labelled), heads, arrays, extra or {})


def _digest(key: Mapping) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def _stem(key: Mapping) -> str:
    words = re.sub(r"[^A-Za-z0-9.@-]+", "_", f"{key['source']}--{key['task']}--{key['column']}")
    names = json.dumps([key["source"], key["task"], key["column"]])
    return f"{words[:80]}-{hashlib.sha256(names.encode()).hexdigest()[:6]}"


def save(folder: str | os.PathLike, key: Mapping, cell: Cell) -> pathlib.Path:
    """Writes a cell; its JSON file appears last and makes it exist, and its older files go."""
    folder = pathlib.Path(folder)
    stem, digest = _stem(key), _digest(key)
    arrays, path = folder / f"{stem}.{digest}.npz", folder / f"{stem}.{digest}.json"
    with files.replacing(arrays) as file:
        np.savez_compressed(file, **cell.arrays)
    fields = {f.name: getattr(cell, f.name) for f in dataclasses.fields(cell) if f.name != "arrays"}
    files.write_json(path, {"version": VERSION, "key": dict(key), **fields})
    for old in folder.glob(f"{stem}.*"):
        if old not in (arrays, path) and old.suffix in (".json", ".npz"):
            old.unlink()
    return path


def load(folder: str | os.PathLike, key: Mapping) -> Cell | None:
    """The cell of `key`; None where it is not there or cannot be used.

    A warning is logged where its file is damaged, of another version or without scores.
    """
    base = pathlib.Path(folder) / f"{_stem(key)}.{_digest(key)}.json"
    if not base.exists():
        return None
    try:
        stored = untrusted.read_json(base)
        if stored["version"] != VERSION or stored["key"] != json.loads(json.dumps(key)):
            raise ValueError(f"it is of version {stored['version']}, this one writes {VERSION}")
        if stored.get("refused"):
            raise ValueError("it holds no scores but a refusal, as earlier versions kept them")
        arrays = untrusted.read_arrays(base.with_suffix(".npz"))
        fields = {name: stored[name] for name in ("column", "task", "heads", "extra")}
        for row in fields["heads"]:
            if arrays[f"draws/{row}"].ndim != 1 or arrays[f"scores/{row}"].ndim != 3:
                raise ValueError(f"its arrays of {row} have another shape")
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.warning("ignoring cell %s (%s); computing it again", base, error)
        return None
    return Cell(**fields, arrays=arrays)
