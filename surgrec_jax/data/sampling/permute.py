"""Hashes and index permutations as pure functions of integers, vectorised over NumPy arrays.

`grain.experimental.index_shuffle` is not used here: it is made for large ranges, and a lookup in a
permutation of a few indices takes milliseconds (measured 9 ms for 2 indices, 4 us for 10^5), it
takes one index a call and it stops at 2^32. Leaves of a few records are the point of balanced
sampling.
"""

import numpy as np

_MASK = (1 << 64) - 1
_SMALL = 64  # sizes up to here get more rounds: few bits mix slowly
_ROUNDS, _ROUNDS_SMALL = (
    6,
    16,
)  # with 16, all 720 orders of 6 things are equally likely (chi-square)


def hash64(*parts: int | np.ndarray) -> np.ndarray:
    """A uint64 hash of integers; arrays broadcast. Order matters; negative integers wrap.

    Each part goes through the finaliser of SplitMix64 (Steele, Lea, Flood 2014; public domain).
    """
    h = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        for part in parts:
            if isinstance(part, int):
                part = np.uint64(part & _MASK)
            h = _finalise((h ^ part.astype(np.uint64)) + np.uint64(0x9E3779B97F4A7C15))
    return h


def permute(index: np.ndarray, size: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Position of `index` in a pseudo-random permutation of range(size) chosen by `key`.

    A Feistel network on the smallest power of two that holds `size`, repeated until the value falls
    below `size` (cycle walking, Black and Rogaway 2002): under two turns on average.

    Args:
      index: int64 [N], 0 <= index < size.
      size: int64 [N] or scalar, at least 1, below 2^62.
      key: uint64 [N] or scalar.

    Returns:
      int64 [N]; for one key and size a bijection of range(size).
    """
    index = np.asarray(index, np.int64)
    size = np.broadcast_to(np.asarray(size, np.int64), index.shape)
    key = np.broadcast_to(np.asarray(key, np.uint64), index.shape)
    if index.size and (size.max() >= 1 << 62 or np.any((index < 0) | (index >= size))):
        raise ValueError("permute: indices must lie in [0, size), size below 2^62")
    out = index.astype(np.uint64)
    limit = size.astype(np.uint64)
    bits = np.frexp((size - 1).astype(np.float64))[1].astype(np.uint64)  # 2^bits > size - 1
    low_bits = bits >> np.uint64(1)
    small = size <= _SMALL
    for rounds, group in ((_ROUNDS_SMALL, small & (size > 1)), (_ROUNDS, ~small)):
        todo = np.flatnonzero(group)
        while len(todo):
            low, all_bits = low_bits[todo], bits[todo]
            out[todo] = _feistel(out[todo], low, all_bits - low, key[todo], rounds)
            todo = todo[out[todo] >= limit[todo]]
    return out.astype(np.int64)


def _finalise(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _feistel(x, low_bits, high_bits, key, rounds):
    """Alternately adds a hash of one part of the bits to the other; each step is invertible."""
    one = np.uint64(1)
    low_mask, high_mask = (one << low_bits) - one, (one << high_bits) - one
    low, high = x & low_mask, x >> low_bits
    with np.errstate(over="ignore"):
        for r in range(rounds):
            step = np.uint64((r + 1) * 0xD1342543DE82EF95 & _MASK)
            if r % 2:
                low ^= _finalise(key + step + high) & low_mask
            else:
                high ^= _finalise(key + step + low) & high_mask
    return (high << low_bits) | low
