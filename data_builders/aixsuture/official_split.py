"""The split of AIxSuture's own code: torch's random_split over students, without torch."""

import math
from collections.abc import Sequence

import numpy as np

SEED = 42
SHARES = {"train": 0.70, "val": 0.15, "test": 0.15}


def official_split(students: Sequence[str]) -> dict[str, str]:
    """Student -> split, as `random_split(students, [0.7, 0.15, 0.15], generator=seed 42)` deals.

    torch rounds the shares down and gives what is left to the splits in turn: 110, 24 and 23 of the
    157 students.

    Args:
        students: in the order in which the sheet names them first.
    """
    counts = {split: math.floor(len(students) * share) for split, share in SHARES.items()}
    for k in range(len(students) - sum(counts.values())):
        counts[list(SHARES)[k % len(SHARES)]] += 1
    order = torch_randperm(len(students), SEED)
    splits = [split for split, count in counts.items() for _ in range(count)]
    return {students[index]: split for index, split in zip(order, splits, strict=True)}


def torch_randperm(count: int, seed: int) -> list[int]:
    """`torch.randperm(count, generator=torch.manual_seed(seed))` on a CPU.

    Both torch and numpy's RandomState seed MT19937 with an integer in the same way, and torch's
    permutation swaps place i with place i + (32 random bits) mod (count - i)
    (aten/src/ATen/native/TensorFactories.cpp, randperm_cpu).
    """
    random = np.random.RandomState(seed)
    order = list(range(count))
    for i in range(count - 1):
        j = i + int(random.randint(0, 2**32, dtype=np.uint32)) % (count - i)
        order[i], order[j] = order[j], order[i]
    return order
