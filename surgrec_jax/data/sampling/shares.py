"""Whole numbers of slots for real shares, block after block, without anything remembered.

Weights are rounded once to multiples of 1/G of a slot (G = 2^20). With P_j the prefix sums of these
units, leaf j owns in block b the slots

    [B_j, B_j+1)    where    B_j = floor((P_j + u_b) / G),

where u_b runs through 0 to G - 1 in the order of van der Corput (1935): the bits of b, reversed. A
share that is a whole number of slots is therefore the same in every block, exactly. Of a share of
2.3 slots a block gets 2 or 3, of one of 0.001 slots 0 or 1. As the u_b fill every interval evenly,
the sum over the first n blocks is off by at most 1 + log2(n) / 3 (Bejian and Faure 1977), over G
blocks by nothing: nothing is rounded away for ever, and a leaf of share p comes at least once in
4 / p draws (where a curriculum changes the shares, in the mean). The sum has a closed form
(`carried`).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.sampling.leaves import Leaves
from surgrec_jax.safety.errors import ConfigError

BITS = 20
UNITS = 1 << BITS  # G above: the resolution of a share, in parts of one slot
MIN_BLOCK = 1000  # small blocks keep short runs close to their shares; 1000 keeps tenths of % whole
MAX_BLOCK = 1 << 31
MAX_DRAW = (1 << 62) - 1


@dataclasses.dataclass(frozen=True)
class Stage:
    """Draws [begin, end) with fixed shares, in blocks of which the last takes what is left over.

    Attributes:
      end: None for the last stage, which never ends.
      first: number of its first block; blocks are counted through all stages.
      block: draws per block.
      prefix: int64 [K + 1], prefix sums of the leaves' units; prefix[K] = block * UNITS.
      before: int64 [K], draws of leaf j in all earlier stages.
    """

    begin: int
    end: int | None
    first: int
    block: int
    prefix: np.ndarray
    before: np.ndarray

    @property
    def last(self) -> int:
        """Number of its last block."""
        if self.end is None:
            return MAX_DRAW
        return self.first + max(1, (self.end - self.begin) // self.block) - 1

    def start(self, number: int) -> int:
        """The first draw of a block."""
        return self.begin + (number - self.first) * self.block

    def length(self, number: int) -> int:
        """The draws of a block."""
        return self.block if number < self.last else self.end - self.start(number)

    def slots(self, number: int, draws: int) -> np.ndarray:
        """Boundaries [K + 1] of the leaves' slots where block `number` has so many draws."""
        whole, rest = np.divmod(self.prefix, self.block)
        units = draws * whole + draws * rest // self.block  # draws * prefix / block, within 64 bits
        return (units + _reversed(number)) >> BITS

    def rank(self, number: int) -> np.ndarray:
        """Draws of every leaf before block `number`, int64 [K]."""
        whole, part = self.prefix >> BITS, self.prefix & (UNITS - 1)
        owned = (number - self.first) * whole + carried(number, part) - carried(self.first, part)
        return self.before + np.diff(owned)

    def drawn(self, end: int) -> np.ndarray:
        """Draws of every leaf before draw `end`, which lies in this stage or ends it: int64 [K].

        Exact where a block ends; within one, rounded share instead of the realised one.
        """
        number = min(self.first + (end - self.begin) // self.block, self.last)
        return self.rank(number) + np.diff(self.slots(number, end - self.start(number)))


def plan_stages(
    weights: Sequence[float] | Sequence[tuple[int, Sequence[float]]],
    leaves: Leaves,
    block: int | None,
) -> list[Stage]:
    """Checks weights and turns them into stages; arguments and errors are those of `Sampler`."""
    stages = _as_stages(weights)
    staged = len(stages) > 1
    shares = [
        check_weights(w, leaves, f"weights of stage {i}: " if staged else "weights: ")
        for i, (_, w) in enumerate(stages)
    ]
    begins = [begin for begin, _ in stages]
    if begins[0] != 0:
        raise ConfigError(f"stage 0 must begin at draw 0, not at {begins[0]}")
    if block is None:
        block = MIN_BLOCK
        while block < max(np.count_nonzero(share) for share in shares):
            block *= 10
    least = 1 + len(leaves) // 1024  # below, units are too coarse for so many shares
    if not least <= block <= MAX_BLOCK:
        raise ConfigError(
            f"block of {block} draws is outside [{least}, {MAX_BLOCK}] for {len(leaves)} leaves"
        )
    plans: list[Stage] = []
    first, before = 0, np.zeros(len(leaves), np.int64)
    for s, share in enumerate(shares):
        end = begins[s + 1] if s + 1 < len(begins) else None
        if end is not None and end <= begins[s]:
            raise ConfigError(
                f"stage {s + 1} begins at draw {end}, not after stage {s} (draw {begins[s]})"
            )
        prefix = np.concatenate([[0], np.cumsum(_units(share, block))]).astype(np.int64)
        plans.append(Stage(begins[s], end, first, int(block), prefix, before))
        if end is not None:
            first, before = plans[-1].last + 1, plans[-1].drawn(end)
    return plans


def check_weights(weights: Sequence[float], leaves: Leaves, what: str = "weights: ") -> np.ndarray:
    """The weights as float64 shares that sum to one; see Sampler for the errors."""
    w = np.asarray(weights, np.float64)
    if w.shape != (len(leaves),):
        raise ConfigError(
            f"{what}expected one weight for each of {len(leaves)} leaves, got {w.size}"
        )
    for bad, why in ((~np.isfinite(w), "is not finite"), (w < 0, "is negative")):
        if bad.any():
            j = int(np.argmax(bad))
            raise ConfigError(f"{what}entry {j} ({leaves.name(j)}) {why}: {w[j]}; use numbers >= 0")
    if not w.any():
        raise ConfigError(f"{what}all {w.size} entries are zero; at least one must be positive")
    empty = (w > 0) & (leaves.sizes == 0)
    if empty.any():
        j = int(np.argmax(empty))
        raise ConfigError(
            f"{what}entry {j} ({leaves.name(j)}) has weight {w[j]} but no records; set it to 0"
        )
    share = w / w.max()  # first, as a sum of large weights may overflow
    share /= share.sum()
    return np.where(w > 0, np.maximum(share, np.finfo(np.float64).tiny), 0.0)


def carried(blocks: int, units: np.ndarray) -> np.ndarray:
    """In how many of the first `blocks` blocks units + u_b reaches UNITS, int64 like `units`.

    The first n numbers are, for every bit k that is set in n, 2^k numbers whose higher bits are
    those of n: reversed, a lattice of spacing 2^(BITS - k), shifted by c. It holds
    floor((units + c) / 2^(BITS - k)) numbers from UNITS - units on.

    Args:
      units: int64 in [0, UNITS).
    """
    periods, rest = divmod(blocks, UNITS)
    total = periods * np.asarray(units, np.int64)
    shift = 0  # c: the bits of n above k, reversed
    for k in reversed(range(BITS)):
        if rest >> k & 1:
            total += (units + shift) >> (BITS - k)
            shift += 1 << (BITS - 1 - k)
    return total


def _reversed(number: int) -> int:
    """u_b: the lowest BITS bits in the opposite order."""
    return int(f"{number % UNITS:0{BITS}b}"[::-1], 2)


def _as_stages(weights) -> list[tuple[int, Sequence[float]]]:
    staged = [isinstance(w, tuple | list) for w in weights]
    if not any(staged):
        return [(0, weights)]
    if not all(staged):
        raise ValueError("weights: give numbers, or (from_draw, weights) stages, not both")
    return [(int(begin), w) for begin, w in weights]


def _units(share: np.ndarray, block: int) -> np.ndarray:
    """Shares rounded to integer units that sum to block * UNITS; at least one if drawn."""
    units = np.rint(share * (block * UNITS)).astype(np.int64)
    units = np.where(share > 0, np.maximum(units, 1), 0)
    # What rounding left over, at most half a unit per leaf, goes to the largest leaf: it is below
    # what the weights themselves resolve. Shares of whole slots leave nothing over.
    units[np.argmax(units)] += block * UNITS - units.sum()
    return units
