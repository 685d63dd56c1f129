"""The balanced sampler: a stateless function from a global draw index to (source, record, seed).

A *leaf* is a list of records that share one weight: a whole source, or a cluster of a k-means
tree. Draws are cut into *blocks* of N. In every block leaf j owns an integer number of slots; the
slots of a block are permuted; a binary search over the cumulated shares finds the leaf of a slot;
the leaf's running count of draws (its *rank*) says how often it was drawn before, and so which
element of which pass over its records comes next. Nothing is stored but the shares: any process
computes any part of any batch, and resuming is a number.

Integer shares. Weights are rounded once to multiples of 1/G of a slot (G = 2^20). With P_j the
prefix sums of these units, leaf j owns in block b the slots

    [B_j, B_j+1)    where    B_j = floor((b+1) P_j / G) - floor(b P_j / G).

A share that is a whole number of slots is therefore the same in every block, exactly; a fractional
one is carried from block to block, and after any number of blocks each leaf has been drawn its
exact share, rounded up or down. (Rounding each block by itself would be biased for ever: a leaf
with 1.4 slots a block would get 1.) Shares cannot be negative as long as every drawn leaf owns at
least one slot per block, which is why a block too small for the smallest weight is an error.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.leaves import Leaves
from surgrec_jax.data.permute import hash64, permute

UNITS = 1 << 20  # G above: the resolution of a share, in parts of one slot
MIN_BLOCK = 1000  # small blocks keep short runs close to their shares; 1000 keeps tenths of % whole
MAX_DRAW = (1 << 63) // UNITS - 1  # block index x units must fit int64: about 8.8e12 draws
_BLOCK_STREAM, _LEAF_STREAM, _SEED_STREAM = 1, 2, 3  # 4: loaders.py
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


@dataclasses.dataclass(frozen=True)
class _Stage:
    """Draws [begin, end) with fixed shares; `before[j]`: draws of leaf j in all earlier stages."""

    begin: int
    end: int | None
    prefix: np.ndarray  # [K + 1] int64, prefix sums of the leaves' units; prefix[K] = block * UNITS
    before: np.ndarray  # [K] int64

    def last_block(self, block: int) -> int:
        """Number of the last block, which also takes the draws that do not fill another one."""
        return MAX_DRAW if self.end is None else (self.end - self.begin) // block - 1


class Sampler:
    """Balanced draws over leaves. Pure: equal arguments give equal draws, in any order of calls.

    Args:
      leaves: the records of every leaf (`Leaves.from_sizes` or `Leaves.from_order`).
      weights: one weight per leaf (any positive scale; 0 = never drawn), or a curriculum: a list of
        `(from_draw, weights)` stages, the first from draw 0. A stage lasts at least one block; the
        draws that do not fill a block at its end lengthen its last block, so that no record is
        skipped or repeated where stages meet.
      seed: any integer.
      block: draws per block, or None: the smallest power of ten >= 1000 in which every leaf has a
        slot. Within a block the order is random, so proportions over parts of a block vary as in
        drawing without replacement.

    Raises:
      ValueError: weights that are negative, not finite, all zero or of the wrong number, a weight
        on an empty leaf, a block too small for the smallest weight, stages out of order or shorter
        than a block. The message names the first offending entry.
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
        stages = _as_stages(weights)
        staged = len(stages) > 1
        shares = [
            check_weights(w, leaves, f"weights of stage {i}: " if staged else "weights: ")
            for i, (_, w) in enumerate(stages)
        ]
        self.block = _choose_block(shares, block)
        self._stages = _plan(stages, shares, self.block, len(leaves))
        self._begins = np.array([s.begin for s in self._stages], np.int64)
        self._last_blocks = np.array([s.last_block(self.block) for s in self._stages], np.int64)
        self._tables: dict[tuple[int, int], tuple[int, np.ndarray, np.ndarray]] = {}

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
        stage, block = self._locate(i)
        leaf, rank = np.empty_like(i), np.empty_like(i)
        order = np.lexsort((block, stage))
        new = (np.diff(stage[order]) != 0) | (np.diff(block[order]) != 0)
        for at in np.split(order, np.flatnonzero(new) + 1) if i.size else ():
            s, b = int(stage[at[0]]), int(block[at[0]])
            leaf[at], rank[at] = self._leaf_and_rank(s, b, i[at])
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
        stage, block = (int(x[0]) for x in self._locate(np.array([index])))
        first = self._stages[stage].begin + block * self.block
        other = self.draw(first + int(key[0]) % self._table(stage, block)[0])
        return Draw(other.source, other.record, seed)

    def counts(self, num_draws: int) -> np.ndarray:
        """How often each leaf is drawn in draws [0, num_draws): int64 [K], without drawing.

        Exact at the end of a block; within a block, rounded share instead of the realised one.
        """
        total = np.zeros(len(self.leaves), np.int64)
        for stage in self._stages:
            end = num_draws if stage.end is None else min(num_draws, stage.end)
            if end > stage.begin:
                total += np.diff(_floor_share(stage.prefix, end - stage.begin, self.block))
        return total

    def _locate(self, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Stage number and block number within the stage, of draws i."""
        stage = np.searchsorted(self._begins, i, side="right") - 1
        block = (i - self._begins[stage]) // self.block
        return stage, np.minimum(block, self._last_blocks[stage])

    def _table(self, s: int, b: int) -> tuple[int, np.ndarray, np.ndarray]:
        """A block's length, slot boundaries [K + 1] and the rank of each leaf's first slot [K]."""
        found = self._tables.get((s, b))
        if found is not None:
            return found
        plan = self._stages[s]
        low = b * plan.prefix // UNITS
        if b == plan.last_block(self.block):
            length = plan.end - plan.begin - b * self.block
            high = _floor_share(plan.prefix, plan.end - plan.begin, self.block)
        else:
            length = self.block
            high = (b + 1) * plan.prefix // UNITS
        table = (length, high - low, plan.before + np.diff(low))
        # Threads may race here: they then compute the same table twice, which is harmless.
        self._tables = {**dict(list(self._tables.items())[-3:]), (s, b): table}
        return table

    def _leaf_and_rank(self, s: int, b: int, i: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        length, boundaries, first_rank = self._table(s, b)
        place = i - self._stages[s].begin - b * self.block
        slot = permute(place, np.int64(length), hash64(self.seed, _BLOCK_STREAM, s, b))
        leaf = np.searchsorted(boundaries, slot, side="right") - 1
        return leaf, first_rank[leaf] + slot - boundaries[leaf]


def check_weights(weights: Sequence[float], leaves: Leaves, what: str = "weights: ") -> np.ndarray:
    """The weights as float64 shares that sum to one; see Sampler for the errors."""
    w = np.asarray(weights, np.float64)
    if w.shape != (len(leaves),):
        raise ValueError(
            f"{what}expected one weight for each of {len(leaves)} leaves, got {w.size}"
        )
    for bad, why in ((~np.isfinite(w), "is not finite"), (w < 0, "is negative")):
        if bad.any():
            j = int(np.argmax(bad))
            raise ValueError(f"{what}entry {j} ({leaves.name(j)}) {why}: {w[j]}; use numbers >= 0")
    if not w.any():
        raise ValueError(f"{what}all {w.size} entries are zero; at least one must be positive")
    empty = (w > 0) & (leaves.sizes == 0)
    if empty.any():
        j = int(np.argmax(empty))
        raise ValueError(
            f"{what}entry {j} ({leaves.name(j)}) has weight {w[j]} but no records; set it to 0"
        )
    return w / w.sum()


def _as_stages(weights) -> list[tuple[int, Sequence[float]]]:
    staged = [isinstance(w, tuple | list) for w in weights]
    if not any(staged):
        return [(0, weights)]
    if not all(staged):
        raise ValueError("weights: give numbers, or (from_draw, weights) stages, not both")
    return [(int(begin), w) for begin, w in weights]


def _choose_block(shares: list[np.ndarray], block: int | None) -> int:
    smallest = min(float(p[p > 0].min()) for p in shares)
    if block is None:
        block = MIN_BLOCK
        while block * smallest < 1 - 1e-9:
            block *= 10
    if not 1 <= block <= MAX_DRAW // UNITS:
        raise ValueError(
            f"block of {block} draws is outside [1, {MAX_DRAW // UNITS}]"
            f" (smallest share {smallest:.3g}): raise the smallest weight or set it to 0"
        )
    for s, p in enumerate(shares):
        small = (p > 0) & (p * block < 1 - 1e-9)
        if small.any():
            j = int(np.argmax(small))
            raise ValueError(
                f"a block of {block} draws is too small for weight {j} of stage {s}: its share"
                f" {p[j]:.3g} is {p[j] * block:.3g} of a draw; use block >="
                f" {int(np.ceil(1 / p[j]))}"
            )
    return int(block)


def _units(share: np.ndarray, block: int) -> np.ndarray:
    """Shares rounded to integer units that sum to block * UNITS; at least UNITS if drawn."""
    units = np.rint(share * (block * UNITS)).astype(np.int64)
    units = np.where(share > 0, np.maximum(units, UNITS), 0)
    # What rounding left over, at most half a unit per leaf, goes to the largest leaf: it is below
    # what the weights themselves resolve. Shares of whole slots leave nothing over.
    units[np.argmax(units)] += block * UNITS - units.sum()
    return units


def _plan(stages, shares, block: int, num_leaves: int) -> list[_Stage]:
    plans: list[_Stage] = []
    before = np.zeros(num_leaves, np.int64)
    begins = [begin for begin, _ in stages]
    if begins[0] != 0:
        raise ValueError(f"stage 0 must begin at draw 0, not at {begins[0]}")
    for s, share in enumerate(shares):
        end = begins[s + 1] if s + 1 < len(begins) else None
        if end is not None and end - begins[s] < block:
            raise ValueError(
                f"stage {s} lasts from draw {begins[s]} to {end}, less than a block of {block};"
                " lengthen it or give a smaller block"
            )
        prefix = np.concatenate([[0], np.cumsum(_units(share, block))]).astype(np.int64)
        plans.append(_Stage(begins[s], end, prefix, before))
        if end is not None:
            before = before + np.diff(_floor_share(prefix, end - begins[s], block))
    return plans


def _floor_share(prefix: np.ndarray, draws: int, block: int) -> np.ndarray:
    """floor(draws * prefix / (block * UNITS)); Python integers, as the product exceeds 64 bits."""
    return np.array([draws * p // (block * UNITS) for p in prefix.tolist()], np.int64)
