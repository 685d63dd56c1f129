"""The balanced mixture of a corpus in one file: leaves, sizes, weights, and their origin.

A manifest is FILE.json with FILE.order.npy beside it: the record numbers leaf by leaf, which the
sampler maps into memory (`Leaves.from_order`). Training takes it with --config.data.manifest=FILE
and records its hash.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.data.sampling.leaves import Leaves, write_order
from surgrec_jax.data.sampling.shares import check_weights
from surgrec_jax.records.source import Source
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError, MissingError, UserError

FORMAT = 1
_AGAIN = "make it with python -m surgrec_jax.curation"
_KEYS = ("hash", "sources", "levels", "paths", "sizes", "stages", "order", "inputs")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A manifest that has been read and checked.

    Attributes:
        path, content: the file and its JSON value.
        leaves: the records of every leaf.
        stages: (first draw, weights float64 [K]) of the curriculum; one stage where there is none.
    """

    path: Path
    content: dict[str, Any]
    leaves: Leaves
    stages: tuple[tuple[int, np.ndarray], ...]

    @property
    def hash(self) -> str:
        """The hash of everything in the file, and so of the order file too."""
        return self.content["hash"]

    @property
    def source_names(self) -> list[str]:
        """The sources as configs write them, in the order of the record numbers."""
        return [source["name"] for source in self.content["sources"]]

    def describe(self) -> dict[str, str | int]:
        """The entry of this mixture in a run's checkpoints."""
        leaves = len(self.leaves)
        return {"file": str(self.path), "format": FORMAT, "hash": self.hash, "leaves": leaves}

    def check_sources(self, names: Sequence[str], sources: Sequence[Source]) -> None:
        """Refuses data that the manifest was not made from.

        Raises:
            DataError: other sources, records that no longer exist, or rebuilt data; the first
                source that differs is named.
        """
        if list(names) != self.source_names:
            raise DataError(
                f"{self.path} is about {','.join(self.source_names)}, the run asks for "
                f"{','.join(names)}; give --config.data.sources={','.join(self.source_names)}"
            )
        for described, source in zip(self.content["sources"], sources, strict=True):
            name, records = described["name"], described["records"]
            if len(source) < records:
                raise DataError(
                    f"{self.path} names record {len(source)} of {name}, which no longer exists: "
                    f"the manifest counts {records} records, {source.directory} holds "
                    f"{len(source)}; {_AGAIN}"
                )
            if source.fingerprint != described["fingerprint"]:
                raise DataError(
                    f"{self.path} was made from other data of {name}: {source.directory} was "
                    f"rebuilt (fingerprint {source.fingerprint[:12]}, in the manifest "
                    f"{described['fingerprint'][:12]}); {_AGAIN}"
                )

    def keep_copy(self, workdir: Path, *, write: bool, begun: bool = True) -> None:
        """Puts a copy into a run's workdir, or holds the one there against this manifest.

        Args:
            write: whether this process writes; one of a run does.
            begun: whether steps were drawn by the copy there.

        Raises:
            DataError: the run was begun with another manifest.
        """
        copy = workdir / "manifest.json"
        if not begun or not copy.is_file():
            if write:
                files.write_text(copy, _dump(self.content))
            return
        drawn_by = untrusted.read_made_json(copy, "delete it").get("hash")
        if drawn_by != self.hash:
            raise DataError(
                f"{workdir} was begun with another manifest (hash {str(drawn_by)[:12]}) than "
                f"{self.path} is now ({self.hash[:12]}); restore that file, give another "
                "--workdir, or go on from here with the new one in another --workdir by "
                f"--config.continue_from={workdir}"
            )

    def sampler(self, seed: int) -> Sampler:
        """The sampler of this mixture."""
        return Sampler(self.leaves, [(first, list(w)) for first, w in self.stages], seed=seed)


def order_path(path: Path) -> Path:
    """The order file beside a manifest."""
    return path.with_suffix(".order.npy")


def write_manifest(
    path: Path,
    *,
    sources: Sequence[dict],
    levels: Sequence[str],
    leaf_of: np.ndarray,
    paths: np.ndarray,
    stages: Sequence[tuple[int, np.ndarray]],
    inputs: dict[str, Any],
    counts: np.ndarray | None = None,
) -> Manifest:
    """Writes a manifest and its order file, and reads them back.

    Args:
        sources: name, records and fingerprint of each, in the order of the record numbers.
        leaf_of, paths, levels: int [R], int [K, L] and L names, see `curation.balance.Leaf`.
        stages: (first draw, weights [K]).
        inputs: JSON values that describe the origin of leaves and weights.
        counts: int [R], see `leaves.write_order`.

    Raises:
        DataError: weights that cannot be used.
    """
    order = order_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = order.with_suffix(".part.npy")
    starts = write_order(part, leaf_of, len(paths), counts)
    for first, weights in stages:
        _check_weights(path, first, weights, Leaves.from_sizes(np.diff(starts)))
    path.unlink(missing_ok=True)  # no manifest may stand beside another's order file
    part.replace(order)
    described = [{k: s[k] for k in ("name", "records", "fingerprint")} for s in sources]
    content = {
        "format": FORMAT,
        "inputs": inputs,
        "sources": described,
        "source_shares": _source_shares(leaf_of, counts, described, stages, len(paths)),
        "levels": list(levels),
        "paths": np.asarray(paths).tolist(),
        "sizes": np.diff(starts).tolist(),
        "stages": [
            {"first_draw": int(first), "weights": np.asarray(w, np.float64).tolist()}
            for first, w in stages
        ],
        "order": {"file": order.name, "entries": int(starts[-1]), "sha256": _sha256(order)},
    }
    content["hash"] = content_hash(content)
    files.write_text(path, _dump(content))
    return read_manifest(path)


def read_manifest(path: Path) -> Manifest:
    """Reads and checks a manifest and its order file.

    Raises:
        FileNotFoundError: the manifest or its order file is missing.
        DataError: not a manifest of this format, changed by hand or damaged, weights that are
            negative, not finite or all zero, leaves and order that do not fit each other, an order
            that names a record beyond the sources. The file and the first offending entry are
            named.
    """
    content = untrusted.read_made_json(path, _AGAIN)
    missing = [key for key in _KEYS if key not in content]
    if content.get("format") != FORMAT or missing:
        what = f"lacks {missing[0]!r}" if missing else f"has format {content.get('format')!r}"
        raise DataError(f"{path} is not a manifest of format {FORMAT}: it {what}; {_AGAIN}")
    with untrusted.interpreting(path, f"; {_AGAIN}", DataError):
        return _checked(path, content)


def _checked(path: Path, content: dict[str, Any]) -> Manifest:
    sizes, total = np.asarray(content["sizes"]), content["order"]["entries"]
    if sizes.ndim != 1 or sizes.dtype.kind != "i" or sizes.min() < 0 or sizes.sum() != total:
        bad = int(np.argmin(sizes)) if sizes.ndim == 1 and sizes.dtype.kind == "i" else 0
        raise DataError(
            f"{path}: sizes must be whole numbers >= 0 with sum {total}; entry {bad} is "
            f"{content['sizes'][bad]}, the sum {sizes.sum()}; {_AGAIN}"
        )
    stages = []
    for stage in content["stages"]:
        weights = np.asarray(stage["weights"], np.float64)
        _check_weights(path, stage["first_draw"], weights, Leaves.from_sizes(sizes))
        stages.append((int(stage["first_draw"]), weights))
    if content_hash(content) != content["hash"]:
        raise DataError(f"{path} was changed after it was written (its hash differs); {_AGAIN}")
    order = path.parent / untrusted.plain_name(content["order"]["file"])
    if not order.is_file():
        raise MissingError(f"{order}, the other half of {path}, does not exist; {_AGAIN}")
    if _sha256(order) != content["order"]["sha256"]:
        raise DataError(f"{order} is not the order file that {path} was written with; {_AGAIN}")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    leaves = Leaves.from_order(order, starts, [s["records"] for s in content["sources"]])
    _check_order(path, order, leaves)
    names = [(source["name"], source["fingerprint"]) for source in content["sources"]]
    if not all(isinstance(text, str) for pair in names for text in pair):
        raise DataError(f"{path}: sources need a name and a fingerprint; {_AGAIN}")
    Sampler(leaves, [(first, list(w)) for first, w in stages], seed=0)
    return Manifest(path, content, leaves, tuple(stages))


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of a manifest's content without its own hash; NaN and infinity have a text too."""
    text = json.dumps({k: v for k, v in content.items() if k != "hash"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check_weights(path: Path, first: int, weights: np.ndarray, leaves: Leaves) -> None:
    try:
        check_weights(weights, leaves, f"weights from draw {first}: ")
    except UserError as error:
        raise DataError(f"{path}: {error}. {_AGAIN.capitalize()}") from None


def _check_order(path: Path, order_file: Path, leaves: Leaves) -> None:
    order = untrusted.read_array(order_file, mmap=True)
    records = int(leaves.offsets[-1])
    for at in range(0, len(order), 1 << 22):
        part = order[at : at + (1 << 22)]
        bad = (part < 0) | (part >= records)
        if bad.any():
            entry = at + int(np.argmax(bad))
            leaf = int(np.searchsorted(leaves.starts, entry, side="right")) - 1
            raise DataError(
                f"{order_file}: entry {entry} (leaf {leaf}) names record {order[entry]}, but the "
                f"sources of {path} hold {records}; {_AGAIN}"
            )


def _source_shares(leaf_of, counts, sources, stages, num_leaves) -> list[dict[str, float]]:
    """The share of every source in the draws, by stage."""
    ends = np.cumsum([s["records"] for s in sources])
    counts = np.ones(len(leaf_of)) if counts is None else counts
    mixed, begin = np.zeros((len(sources), num_leaves)), 0
    for s, end in enumerate(ends):
        part = np.asarray(leaf_of[begin:end])
        known = part >= 0
        mixed[s] = np.bincount(part[known], counts[begin:end][known], num_leaves)
        begin = end
    part_of_leaf = mixed / np.maximum(mixed.sum(0), 1)
    shares = []
    for _, weights in stages:
        share = part_of_leaf @ (np.asarray(weights) / math.fsum(weights))
        shares.append({s["name"]: float(x) for s, x in zip(sources, share, strict=True)})
    return shares


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _dump(content: dict[str, Any]) -> str:
    """Formats JSON with a key a line, the long lists on one line each."""
    lines = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in content.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"
