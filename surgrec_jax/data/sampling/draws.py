"""The balanced sampler: a stateless function from a global draw index to (source, record, seed).

A *leaf* is a list of records that share one weight: a whole source, or a cluster of a k-means
tree. Draws are cut into *blocks* of N. In every block leaf j owns an integer number of slots; the
slots of a block are permuted; a binary search over the cumulated shares finds the leaf of a slot;
the leaf's running count of draws (its *rank*) says how often it was drawn before, and so which
element of which pass over its records comes next. Nothing is stored but the shares: any process
computes any part of any batch, and resuming is a number.

`shares.py` says how real shares become whole numbers of slots.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.sampling.leaves import Leaves
from surgrec_jax.data.sampling.permute import hash64, permute
from surgrec_jax.data.sampling.shares import MAX_DRAW, plan_stages

_BLOCK_STREAM, _LEAF_STREAM, _SEED_STREAM = 1, 2, 3
_SPARE_STREAM = 5
_SPARES_OF_LEAF = 4  # so often a spare comes from the draw's own leaf


@dataclasses.dataclass(frozen=True)
class Draw:
    """One draw: source number, record number within the source, 64-bit seed of the clip."""

    source: int
    record: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Draws:
    """Many draws as arrays: source int32 [N], record int64 [N], seed uint64 [N], leaf int64 [N]."""

    source: np.ndarray
    record: np.ndarray
    seed: np.ndarray
    leaf: np.ndarray

    def __len__(self) -> int:
        return len(self.source)


class Sampler:
    """Balanced draws over leaves. Pure: equal arguments give equal draws, in any order of calls.

    Args:
      leaves: the records of every leaf (`Leaves.from_sizes` or `Leaves.from_order`).
      weights: one weight per leaf (any positive scale; 0 = never drawn), or a curriculum: a list of
        `(from_draw, weights)` stages, the first from draw 0. The draws that do not fill a block at
        the end of a stage lengthen its last block (a stage shorter than a block is one short
        block), so that no record is skipped or repeated where stages meet.
      seed: any integer.
      block: draws per block, or None: the smallest power of ten >= 1000 in which there is a slot
        for every leaf. Within a block the order is random, so proportions over parts of a block
        vary as in drawing without replacement. The smallest share is 1 / (block * UNITS), about
        1e-9: a smaller one that is not zero counts as that.

    Raises:
      ValueError: weights that are negative, not finite, all zero or of the wrong number, a weight
        on an empty leaf, a block that is no block, stages out of order. The message names the first
        offending entry.
    """

    def __init__(
        self,
        leaves: Leaves,
        weights: Sequence[float] | Sequence[tuple[int, Sequence[float]]],
        *,
        seed: int,
        block: int | None = None,
    ):
        self.leaves = leaves
        self.seed = int(seed)
        self._stages = plan_stages(weights, leaves, block)
        self.block = self._stages[0].block
        self._begins, self._firsts, self._lasts = (
            np.array([getattr(stage, name) for stage in self._stages], np.int64)
            for name in ("begin", "first", "last")
        )
        self._tables: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_tables": {}}

    def draw(self, index: int) -> Draw:
        """The draw with global number `index`."""
        d = self.draws([index])
        return Draw(int(d.source[0]), int(d.record[0]), int(d.seed[0]))

    def draws(self, indices: Sequence[int] | np.ndarray) -> Draws:
        """The draws with these global numbers, in this order.

        Cost: O(log leaves) a draw, plus O(leaves) for each block touched for the first time.

        Raises:
          ValueError: a negative number, or one beyond MAX_DRAW.
        """
        i = np.asarray(indices, np.int64)
        if i.size and (i.min() < 0 or i.max() > MAX_DRAW):
            bad = i[(i < 0) | (i > MAX_DRAW)][0]
            raise ValueError(f"draw {bad} is outside [0, {MAX_DRAW}]")
        block = self._block_of(i)
        leaf, rank = np.empty_like(i), np.empty_like(i)
        order = np.argsort(block, kind="stable")
        for at in np.split(order, np.flatnonzero(np.diff(block[order])) + 1) if i.size else ():
            leaf[at], rank[at] = self._leaf_and_rank(int(block[at[0]]), i[at])
        size = self.leaves.sizes[leaf]
        lap, ordinal = np.divmod(rank, size)
        key = hash64(self.seed, _LEAF_STREAM, leaf, lap)
        source, record = self.leaves.lookup(leaf, permute(ordinal, size, key))
        return Draws(source, record, hash64(self.seed, _SEED_STREAM, i), leaf)

    def spare(self, index: int, leaf: int, attempt: int) -> Draw:
        """What takes the place of draw `index`, of `leaf`, whose record cannot be used.

        First records of the same leaf, so that shares hold; from the fifth on other draws of the
        block, for a leaf without one usable record. A function of (seed, index, attempt).

        Args:
          attempt: 1, 2, ...: counts the spares that cannot be used either.
        """
        key = hash64(self.seed, _SPARE_STREAM, np.array([index]), attempt)
        seed = int(hash64(self.seed, _SEED_STREAM, key)[0])
        if attempt <= _SPARES_OF_LEAF:
            ordinal = (key % self.leaves.sizes[leaf].astype(np.uint64)).astype(np.int64)
            source, record = self.leaves.lookup(np.array([leaf]), ordinal)
            return Draw(int(source[0]), int(record[0]), seed)
        block = int(self._block_of(np.array([index]))[0])
        stage = self._stages[self._stage_of(block)]
        other = self.draw(stage.start(block) + int(key[0]) % stage.length(block))
        return Draw(other.source, other.record, seed)

    def counts(self, num_draws: int) -> np.ndarray:
        """How often each leaf is drawn in draws [0, num_draws): int64 [K], without drawing.

        Exact at the end of a block; within a block, rounded share instead of the realised one.
        """
        stage = np.searchsorted(self._begins, num_draws, side="left") - 1
        return self._stages[max(0, stage)].drawn(num_draws)

    def _block_of(self, i: np.ndarray) -> np.ndarray:
        """The numbers of the blocks that draws i are in; they are counted through all stages."""
        stage = np.searchsorted(self._begins, i, side="right") - 1
        block = self._firsts[stage] + (i - self._begins[stage]) // self.block
        return np.minimum(block, self._lasts[stage])

    def _stage_of(self, block: int) -> int:
        return int(np.searchsorted(self._firsts, block, side="right")) - 1

    def _leaf_and_rank(self, block: int, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Leaf of draws i of one block, and how often it was drawn before."""
        s = self._stage_of(block)
        stage, length = self._stages[s], self._stages[s].length(block)
        table = self._tables.get(block)
        if table is None:
            table = stage.slots(block, length), stage.rank(block)
            # Threads may race here: they then compute the same table twice, which is harmless.
            self._tables = {**dict(list(self._tables.items())[-3:]), block: table}
        boundaries, first_rank = table
        key = hash64(self.seed, _BLOCK_STREAM, s, block)
        slot = permute(i - stage.start(block), np.int64(length), key)
        leaf = np.searchsorted(boundaries, slot, side="right") - 1
        return leaf, first_rank[leaf] + slot - boundaries[leaf]
