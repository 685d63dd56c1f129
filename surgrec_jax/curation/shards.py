"""Embeddings on disk: float16 shards with the facts of their records, and one index.

    index.json          sources, encoder and shards of the embeddings
    00000.npy           float16 [n, D], a row per record, in the order of the records
    00000.facts.npz     of the same rows: record, domain, case, video, start, labels

The index is written before the first shard; a shard exists when its .npy does, whole.
"""

import dataclasses
import functools
import hashlib
import json
import operator
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError, MissingError

FORMAT = 1
INDEX = "index.json"
_KEYS = ("encoder", "clip", "width", "sources", "shards")


def identity(index: dict) -> dict:
    """An index without the path of the checkpoint, on which no row depends."""
    encoder = index.get("encoder")
    if not isinstance(encoder, dict):
        return index
    return {**index, "encoder": {k: v for k, v in encoder.items() if k != "checkpoint"}}


@dataclasses.dataclass(frozen=True)
class Facts:
    """Groups of R records besides their embeddings.

    Attributes:
        domain, source: int8 [R], -1 unknown, and int32 [R], position among the sources.
        case, cases: int32 [R], positions among the names of the cases.
    """

    domain: np.ndarray
    source: np.ndarray
    case: np.ndarray
    cases: tuple[str, ...]


class Embeddings:
    """An embedding folder opened for reading; its rows are memory-mapped.

    Attributes:
        folder, index: the folder, and the content of index.json.
        offsets: int64 [S + 1]; record r of source s is row `offsets[s] + r`.

    Raises:
        FileNotFoundError: there is no index, or shards are not made yet.
        DataError: the index has another format, or a shard is not what it says.
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = Path(folder)
        again = "run the embedding again"
        self.index = untrusted.read_made_json(self.folder / INDEX, again)
        if self.index.get("format") != FORMAT or any(k not in self.index for k in _KEYS):
            raise DataError(f"{self.folder / INDEX} is not an index of format {FORMAT}; {again}")
        with untrusted.interpreting(self.folder / INDEX, f"; {again}", DataError):
            self.offsets = _offsets(self.index["sources"])
            self._shards = [self._open(shard) for shard in self.index["shards"]]
            self._starts = _offsets(self.index["shards"])
            for shard in self.index["shards"]:
                _ = shard["source"], operator.index(shard["first"])
        if self._starts[-1] != self.offsets[-1]:
            raise DataError(
                f"{self.folder / INDEX}: shards hold {self._starts[-1]} records, sources "
                f"{self.offsets[-1]}; {again}"
            )

    def __len__(self) -> int:
        return int(self.offsets[-1])

    @property
    def width(self) -> int:
        """The number D of features."""
        return self.index["width"]

    @property
    def where(self) -> str:
        """The folder, for error messages."""
        return str(self.folder)

    @functools.cached_property
    def hash(self) -> str:
        """The hash of the index's `identity`: of encoder, clips and data."""
        text = json.dumps(identity(self.index), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop - 1, float16 [n, D]."""
        parts = []
        shard = int(np.searchsorted(self._starts, start, side="right")) - 1
        while start < stop:
            end = min(stop, int(self._starts[shard + 1]))
            first = int(self._starts[shard])
            parts.append(self._shards[shard][start - first : end - first])
            start, shard = end, shard + 1
        return np.concatenate(parts) if len(parts) != 1 else np.asarray(parts[0])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Any rows in the given order, float16 [n, D]; read in ascending order."""
        rows = np.asarray(rows, np.int64)
        out = np.empty((len(rows), self.width), np.float16)
        order = np.argsort(rows, kind="stable")
        shard = np.searchsorted(self._starts, rows[order], side="right") - 1
        for s in np.unique(shard):
            at = order[shard == s]
            out[at] = self._shards[s][rows[at] - self._starts[s]]
        return out

    def facts(self) -> Facts:
        """The facts of all records.

        Raises:
            DataError: a facts file is missing, damaged, or of other rows than its shard.
        """
        domain, case = [], []
        cases: dict[str, int] = {}
        for shard in self.index["shards"]:
            facts = self._read_facts(shard)
            domain.append(facts["domain"].astype(np.int8))
            prefix = "" if len(self.index["sources"]) == 1 else f"{shard['source']}:"
            unique, code = np.unique(facts["case"], return_inverse=True)
            numbers = [cases.setdefault(f"{prefix}{name}", len(cases)) for name in unique]
            case.append(np.asarray(numbers, np.int32)[code])
        source = np.repeat(np.arange(len(self.offsets) - 1, dtype=np.int32), np.diff(self.offsets))
        return Facts(np.concatenate(domain), source, np.concatenate(case), tuple(cases))

    def _open(self, shard: dict) -> np.ndarray:
        path = self.folder / untrusted.plain_name(shard["file"])
        expected = (shard["records"], self.index["width"])
        if not path.is_file():
            raise MissingError(f"{path} is not made yet; run the embedding to its end")
        try:
            rows = untrusted.read_array(path, mmap=True)
        except (DataError, OSError) as error:
            raise DataError(f"{error}; delete it and run the embedding again") from None
        if rows.shape != expected or rows.dtype != np.float16:
            first = f"{shard['first'] + len(rows)} of {shard['source']}"
            missing = f"; its first missing record is {first}"
            raise DataError(
                f"{path} holds {rows.dtype} {list(rows.shape)}, its index says float16 "
                f"{list(expected)}{missing if len(rows) < expected[0] else ''}; delete it and run "
                "the embedding again"
            )
        return rows

    def _read_facts(self, shard: dict) -> dict[str, np.ndarray]:
        path = facts_path(self.folder / shard["file"])
        try:
            facts = untrusted.read_arrays(path)
        except (DataError, OSError) as error:
            remedy = f"delete {shard['file']} and run the embedding again"
            raise DataError(f"{error}; {remedy}") from None
        expected = np.arange(shard["first"], shard["first"] + shard["records"])
        if not np.array_equal(facts.get("record", ()), expected):
            raise DataError(
                f"{path} is not about records {expected[0]} to {expected[-1]} of "
                f"{shard['source']}; delete {shard['file']} and run the embedding again"
            )
        for key in ("domain", "case", "video", *facts):
            if key not in facts or facts[key].shape != expected.shape:
                raise DataError(
                    f"{path} has no {key!r} for each of {len(expected)} records; delete "
                    f"{shard['file']} and run the embedding again"
                )
        return facts


def _offsets(parts: Sequence[dict]) -> np.ndarray:
    """The first record of each of some parts, and the end of all: int64 [N + 1]."""
    sizes = np.array([part["records"] for part in parts], np.int64)
    if sizes.size and sizes.min() < 0:
        raise ValueError(f"{sizes.min()} records")
    return np.concatenate([[0], np.cumsum(sizes)])


def facts_path(shard: Path) -> Path:
    """The facts file beside a shard."""
    return shard.with_suffix(".facts.npz")


def write_shard(path: Path, rows: np.ndarray, facts: dict[str, np.ndarray]) -> None:
    """Writes a shard and its facts; the .npy comes last and whole, so that it means "done"."""
    with files.replacing(facts_path(path)) as file:
        np.savez(file, **facts)
    with files.replacing(path) as file:
        np.save(file, rows)


def plan_shards(sources: Sequence[dict], shard_records: int) -> list[dict]:
    """The shards of the sources: file, source, first record and number of records of each."""
    shards = []
    for source in sources:
        for first in range(0, source["records"], shard_records):
            count = min(shard_records, source["records"] - first)
            name = f"{len(shards):05d}.npy"
            shards.append(
                {"file": name, "source": source["name"], "first": first, "records": count}
            )
    return shards
