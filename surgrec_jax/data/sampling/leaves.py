"""Leaves: which records belong together, for the sampler. Memory is O(leaves), not O(records)."""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import DataError

MEAN_COUNT = 4.0  # a larger one would resolve finer ratios and make a longer order file
_CHUNK = 1 << 22  # records sorted at a time by write_order


@dataclasses.dataclass(frozen=True)
class Leaves:
    """K lists of records over S sources.

    Records are numbered through all sources: record r of source s is `offsets[s] + r`. Leaf j holds
    entries `starts[j]` to `starts[j + 1]` of the order; without an order file the order is the
    numbering itself. A record may stand several times in a leaf (an integer weight: `write_order`).

    Attributes:
        starts: int64 [K + 1], from 0, not decreasing.
        offsets: int64 [S + 1], from 0, not decreasing.
        names: names of the leaves, for error messages.
        order_path: a .npy file of record numbers, memory-mapped by each process at its first use.
    """

    starts: np.ndarray
    offsets: np.ndarray
    names: tuple[str, ...] = ()
    order_path: Path | None = None

    @classmethod
    def from_sizes(cls, sizes: Sequence[int], names: Sequence[str] = ()) -> "Leaves":
        """Makes a leaf of every source, of `sizes` records each."""
        starts = _offsets(sizes)
        return cls(starts, starts, tuple(names))

    @classmethod
    def from_order(
        cls, order_path: Path | str, starts: Sequence[int], sizes: Sequence[int]
    ) -> "Leaves":
        """Opens leaves of an order file (see `write_order`) over sources of `sizes` records.

        Raises:
            ValueError: `starts` not rising from 0, or a file that is not a vector of integers of
                the length that `starts` asks for.
        """
        starts = np.asarray(starts, np.int64)
        if starts.ndim != 1 or len(starts) < 2 or starts[0] != 0 or np.any(np.diff(starts) < 0):
            raise ValueError(f"starts must be a vector that rises from 0, got {starts[:5]}...")
        leaves = cls(starts, _offsets(sizes), (), Path(order_path))
        order = leaves._order
        if order.ndim != 1 or order.dtype.kind not in "iu" or len(order) != starts[-1]:
            raise DataError(
                f"{order_path}: expected {starts[-1]} integers (the last of starts), found"
                f" {order.dtype} of shape {order.shape}; write it with write_order"
            )
        return leaves

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def sizes(self) -> np.ndarray:
        """Entries per leaf, int64 [K]."""
        return np.diff(self.starts)

    def name(self, leaf: int) -> str:
        return self.names[leaf] if self.names else f"leaf {leaf}"

    def lookup(self, leaf: np.ndarray, ordinal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(source int32 [N], record int64 [N]) of entry `ordinal` of `leaf`.

        Raises:
            ValueError: the order file names a record beyond the last one.
        """
        number = self.starts[leaf] + ordinal
        if self.order_path is not None:
            number = self._order[number].astype(np.int64)
            if number.size and (number.min() < 0 or number.max() >= self.offsets[-1]):
                at = int(np.argmax((number < 0) | (number >= self.offsets[-1])))
                raise DataError(
                    f"{self.order_path}: leaf {leaf[at]} names record {number[at]}, but the sources"
                    f" hold {self.offsets[-1]}; was the data rebuilt? Write the file again"
                )
        source = np.searchsorted(self.offsets, number, side="right") - 1
        return source.astype(np.int32), number - self.offsets[source]

    @functools.cached_property
    def _order(self) -> np.ndarray:
        return untrusted.read_array(self.order_path, mmap=True)

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != "_order"}


def write_order(
    path: Path | str, leaf_of: np.ndarray, num_leaves: int, counts: np.ndarray | None = None
) -> np.ndarray:
    """Writes the record numbers grouped by leaf, in chunks (a counting sort), and returns `starts`.

    Args:
        path: the .npy file to write: uint32, or int64 from 2^32 records on.
        leaf_of: integer [R] (may be memory-mapped), the leaf of every record; -1 leaves it out.
        num_leaves: K.
        counts: integer [R], how often a record stands in its leaf, that is, its weight within it:
            one pass over the leaf draws it so many times. None: once each. See `integer_counts`.

    Returns:
        starts: int64 [K + 1].

    Raises:
        ValueError: a leaf outside [-1, K), or a negative count; the first record is named.
    """
    num_records = len(leaf_of)
    sizes = np.zeros(num_leaves, np.int64)
    for at, leaf, count in _chunks(leaf_of, counts):
        bad = (leaf < -1) | (leaf >= num_leaves) | (count < 0)
        if bad.any():
            r = int(np.argmax(bad))
            raise DataError(
                f"record {at + r}: leaf {leaf[r]} (of {num_leaves}), count {count[r]}; leaves are"
                f" numbered from 0, -1 leaves a record out, counts are >= 0"
            )
        sizes += np.bincount(leaf[leaf >= 0], count[leaf >= 0], num_leaves).astype(np.int64)
    starts = _offsets(sizes)
    dtype = np.uint32 if num_records < 1 << 32 else np.int64
    order = np.lib.format.open_memmap(path, "w+", dtype, (int(starts[-1]),))
    free = starts[:-1].copy()  # next free place of every leaf
    for at, leaf, count in _chunks(leaf_of, counts):
        count = np.where(leaf >= 0, count, 0)
        record = np.repeat(np.arange(at, at + len(leaf)), count)
        leaf = np.repeat(leaf, count)
        by_leaf = np.argsort(leaf, kind="stable")
        leaf = leaf[by_leaf]
        first = np.searchsorted(leaf, leaf)  # where the run of equal leaves begins
        order[free[leaf] + np.arange(len(leaf)) - first] = record[by_leaf]
        free += np.bincount(leaf, minlength=num_leaves)
    order.flush()
    return starts


def integer_counts(weights: np.ndarray) -> np.ndarray:
    """Turns real record weights into counts for `write_order`, of mean MEAN_COUNT or so.

    A positive weight gives at least 1, zero gives 0.

    Raises:
        ValueError: weights are negative, not finite or all zero; the first is named.
    """
    w = np.asarray(weights, np.float64)
    bad = ~np.isfinite(w) | (w < 0)
    if bad.any():
        r = int(np.argmax(bad))
        raise DataError(f"record weight {r} is {w[r]}; use finite numbers >= 0")
    if not w.any():
        raise DataError("all record weights are zero; at least one must be positive")
    return np.where(w > 0, np.maximum(1, np.rint(w * (MEAN_COUNT / w[w > 0].mean()))), 0).astype(
        np.int64
    )


def _chunks(leaf_of, counts):
    for at in range(0, len(leaf_of), _CHUNK):
        leaf = np.asarray(leaf_of[at : at + _CHUNK]).astype(np.int64)
        count = np.ones_like(leaf) if counts is None else np.asarray(counts[at : at + _CHUNK])
        yield at, leaf, count.astype(np.int64)


def _offsets(sizes: Sequence[int]) -> np.ndarray:
    sizes = np.asarray(sizes, np.int64)
    if sizes.ndim != 1 or not len(sizes) or sizes.min() < 0:
        raise ValueError(f"sizes must be a vector of numbers >= 0, got {sizes}")
    return np.concatenate([[0], np.cumsum(sizes)])
