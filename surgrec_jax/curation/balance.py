"""From a tree of clusters to the weight of every leaf."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.sampling.mixture import temperature_shares
from surgrec_jax.safety.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Which records share a weight.

    Attributes:
      leaf_of: int32 [R], the leaf of every record; -1 for none.
      paths: int32 [K, L], the leaf's number on every level of the tree, the coarsest first.
      levels: names of the levels, L of them.
    """

    leaf_of: np.ndarray
    paths: np.ndarray
    levels: tuple[str, ...]


def make_leaves(
    num_records: int,
    groups: tuple[str, np.ndarray] | None,
    clusters: tuple[np.ndarray, np.ndarray] | None,
    counts: np.ndarray | None = None,
) -> Leaf:
    """Leaves from groups (sources, domains, cases), from clusters, or from clusters within groups.

    Args:
      groups: (name, integer [R]), the group of every record.
      clusters: (leaf int [R], paths int [K, L]) of a cluster tree.
      counts: int [R], how often a record stands in its leaf; 0 leaves it out (leaf -1).

    Returns:
      The leaves that have records, sorted by path.
    """
    names = [] if groups is None else [groups[0]]
    group = np.zeros(num_records, np.int64) if groups is None else np.asarray(groups[1], np.int64)
    leaf, paths = np.zeros(num_records, np.int64), np.zeros((1, 0), np.int32)
    if clusters is not None:
        leaf, paths = np.asarray(clusters[0], np.int64), clusters[1]
        names += [f"{len(np.unique(paths[:, j]))} clusters" for j in range(paths.shape[1])]
    # Group and finest cluster are enough to tell leaves apart; one number sorts fast.
    drawn = np.ones(num_records, bool) if counts is None else np.asarray(counts) > 0
    unique, code = np.unique((group * len(paths) + leaf)[drawn], return_inverse=True)
    leaf_of = np.full(num_records, -1, np.int32)
    leaf_of[drawn] = code
    first = [] if groups is None and clusters is not None else [(unique // len(paths))[:, None]]
    columns = [*first, paths[unique % len(paths)]]
    return Leaf(leaf_of, np.concatenate(columns, 1).astype(np.int32), tuple(names or ["corpus"]))


def tree_weights(
    paths: np.ndarray,
    sizes: np.ndarray,
    temperatures: Sequence[float],
    top: Sequence[float] | None = None,
) -> np.ndarray:
    """The share of every leaf, from the root down: siblings share as their sizes ** temperature.

    0 gives siblings the same share (the balanced sampling of Vo et al. 2024, section 3.3, with
    repetition), 1 keeps the proportions of the corpus.

    Args:
      paths: int [K, L], sorted. sizes: [K], records per leaf, all positive.
      temperatures: one per level.
      top: instead of sizes ** temperatures[0]: the weight of every node of the first level, in the
        order of their numbers.

    Returns:
      float64 [K], summing to one.
    """
    paths, sizes = np.asarray(paths), np.asarray(sizes, np.float64)
    if len(temperatures) != paths.shape[1]:
        raise ValueError(f"{len(temperatures)} temperatures for {paths.shape[1]} levels")
    share = np.ones(len(paths))
    parent = np.zeros(len(paths), np.int64)  # number of the node above, for every leaf
    for level, alpha in enumerate(temperatures):
        # Numbers may repeat under other parents: a node is its parent and its number.
        _, node = np.unique(np.stack([parent, paths[:, level]], 1), axis=0, return_inverse=True)
        node = node.reshape(-1)
        above = np.zeros(node.max() + 1, np.int64)
        above[node] = parent
        if level == 0 and top is not None:
            power = np.zeros(len(above))
            power[node] = np.asarray(top, np.float64)[paths[:, 0]]
        else:
            power = temperature_shares(np.bincount(node, sizes), alpha)
        share *= (power / np.bincount(above, power)[above])[node]
        parent = node
    return share / share.sum()


def cap_repeats(
    weights: np.ndarray, sizes: np.ndarray, draws: float, max_repeats: float
) -> np.ndarray:
    """Shares in which no record is drawn more than `max_repeats` times on average in `draws` draws.

    What leaves lose is dealt to the others in proportion to their shares, until none is above.

    Args:
      weights: [K], shares of the leaves. sizes: [K], records per leaf; where some are drawn more
        often than others, how many times its share the heaviest one takes fits into the leaf's.

    Raises:
      ValueError: the corpus is too small: all records together would be drawn more often.
    """
    sizes = np.where(weights > 0, sizes, 0.0)
    limit = sizes * max_repeats / draws
    if limit.sum() < 1:
        raise ConfigError(
            f"balance.max_repeats={max_repeats:g}: in {draws:.0f} planned draws the heaviest "
            f"records are drawn {draws / sizes.sum():.1f} times at least; allow more"
        )
    share = weights / weights.sum()
    free = np.ones(len(share), bool)
    while True:
        over = free & (share > limit * (1 + 1e-12))
        if not over.any():
            return share
        free &= ~over
        share[~free] = limit[~free]
        rest = share[free].sum()
        share[free] *= (1 - limit[~free].sum()) / rest if rest else 0.0


def entropy(shares: np.ndarray) -> tuple[float, float]:
    """(entropy in bits, effective number = 2 ** entropy) of shares."""
    p = np.asarray(shares, np.float64)
    p = p[p > 0] / p.sum()
    bits = max(0.0, float(-(p * np.log2(p)).sum()))
    return bits, float(2**bits)
