"""Seeded splits by case: a function of the case names and a seed, the same on every machine."""

import collections
import hashlib
import math
from collections.abc import Iterable, Mapping

from surgrec_jax.safety.errors import ConfigError


def split_by_case(
    cases: Iterable[str], fractions: Mapping[str, float], seed: int = 0
) -> dict[str, str]:
    """Deals whole cases into splits.

    The cases are put in an order that depends only on (seed, case name) and cut into consecutive
    parts. Counts are the fractions rounded by largest remainder, and a split with a positive
    fraction gets at least one case while there are enough cases for all such splits.

    Args:
        cases: case names; repeats are ignored.
        fractions: split name -> share, each >= 0, together 1.
        seed: another seed deals another split.

    Returns:
        case -> split name.

    Raises:
        ConfigError: fractions that are negative or do not add up to 1.
    """
    if not fractions or any(not 0 <= f <= 1 for f in fractions.values()):
        raise ConfigError(f"split fractions must lie between 0 and 1: {dict(fractions)}.")
    if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
        raise ConfigError(
            f"split fractions must add up to 1: {dict(fractions)} add up to "
            f"{sum(fractions.values()):g}."
        )
    order = sorted(set(cases), key=lambda case: (_draw(seed, case), case))
    assigned: dict[str, str] = {}
    start = 0
    for split, count in _counts(len(order), fractions).items():
        assigned.update(dict.fromkeys(order[start : start + count], split))
        start += count
    return assigned


def split_by_hash(
    cases: Iterable[str],
    fractions: Mapping[str, float],
    seed: int = 0,
    earlier: Mapping[str, str] | None = None,
    least: int = 1,
) -> dict[str, str]:
    """Deals whole cases into splits so that a case keeps its split when others are added.

    Every case has a number from 0 to 1 that depends only on (seed, case name); the fractions cut
    that range into the splits, which so have their shares on average. Only a split that would have
    too few cases gets those whose numbers are nearest, as long as there are cases enough.

    Args:
        cases: case names; repeats are ignored.
        fractions: split name -> share, each >= 0, together 1.
        seed: another seed deals another split.
        earlier: case -> split of those that are not dealt again.
        least: cases that every split gets, or fewer where there are few: three of twelve cases in
            three splits, two of eight, one of fewer.

    Returns:
        case -> split name.

    Raises:
        ValueError: as `split_by_case`.
    """
    split_by_case([], fractions)  # checks them
    wanted = {split: share for split, share in fractions.items() if share > 0}
    bounds, low = {}, 0.0
    for split, share in wanted.items():
        bounds[split], low = (low, low + share), low + share
    last = next(reversed(wanted))
    place = {case: int.from_bytes(_draw(seed, case)[:8]) / 2**64 for case in sorted(set(cases))}
    kept = {case: earlier[case] for case in place if case in (earlier or {})}
    assigned = {
        case: kept.get(case) or next((s for s in wanted if number < bounds[s][1]), last)
        for case, number in place.items()
    }
    least = max(1, min(least, len(place) // (len(wanted) + 1)))
    for split, (first, end) in bounds.items():
        counts = collections.Counter(assigned.values())
        for _ in range(least - counts[split]):
            movable = [c for c in place if c not in kept and counts[assigned[c]] > least]
            if not movable:
                break
            nearest = min(movable, key=lambda c: (max(first - place[c], place[c] - end), c))
            counts[assigned[nearest]] -= 1
            counts[split] += 1
            assigned[nearest] = split
    return assigned


def _draw(seed: int, case: str) -> bytes:
    return hashlib.blake2b(f"{seed}:{case}".encode("utf-8", "backslashreplace")).digest()


def _counts(total: int, fractions: Mapping[str, float]) -> dict[str, int]:
    counts = {split: math.floor(total * f + 1e-9) for split, f in fractions.items()}
    remainders = {split: total * f - counts[split] for split, f in fractions.items()}
    for split in sorted(remainders, key=remainders.get, reverse=True)[
        : total - sum(counts.values())
    ]:
        counts[split] += 1
    wanted = [split for split, f in fractions.items() if f > 0]
    if total >= len(wanted):
        for split in wanted:
            if counts[split] == 0:
                counts[max(counts, key=counts.get)] -= 1
                counts[split] = 1
    return counts
