"""Weights of sources, domains and leaves: what the sampler is asked to realise."""

from collections.abc import Sequence

import numpy as np

from surgrec_jax.safety.errors import ConfigError


def temperature_shares(sizes: Sequence[float], alpha: float) -> np.ndarray:
    """Shares p ~ n^alpha of things of size n, float64 [N] summing to one; empty things get 0.

    alpha 1 keeps the proportions of the corpus, 0 gives every thing the same share (the temperature
    of Lample and Conneau 2019, XLM, section 3.1, is this exponent).

    Raises:
      ValueError: negative sizes, none above zero, or alpha not finite.
    """
    n = np.asarray(sizes, np.float64)
    if n.ndim != 1 or not np.all(np.isfinite(n)) or n.min(initial=0) < 0 or not n.any():
        raise ConfigError(f"sizes must be finite numbers >= 0, one above 0, got {sizes}")
    if not np.isfinite(alpha):
        raise ConfigError(f"alpha must be finite, got {alpha}; 1 keeps proportions, 0 equalises")
    p = np.zeros_like(n)
    full = n > 0
    p[full] = (n[full] / n.max()) ** alpha
    return p / p.sum()


def grouped_shares(
    group_of: Sequence[int], group_weights: Sequence[float], weights: Sequence[float]
) -> np.ndarray:
    """Two levels in one: the share of thing j is its group's share times its share in the group.

    For example sources within domains (`group_of` = domain of every source, `weights` = records per
    source, `group_weights` = temperature shares of the domains), or leaves within sources.

    Args:
      group_of: integer [N] in [0, G).
      group_weights: [G], any scale.
      weights: [N], any scale within a group.

    Returns:
      float64 [N] summing to one.

    Raises:
      ValueError: an entry that is negative or not finite, or a group of positive weight none of
        whose members has any; the first is named.
    """
    group = np.asarray(group_of, np.int64)
    g, w = np.asarray(group_weights, np.float64), np.asarray(weights, np.float64)
    if group.shape != w.shape or group.ndim != 1:
        raise ValueError(f"{len(group)} groups given for {len(w)} weights; they must match")
    if group.size and (group.min() < 0 or group.max() >= len(g)):
        raise ValueError(
            f"group numbers must lie in [0, {len(g)}), got {group.min()}..{group.max()}"
        )
    for name, values in (("group_weights", g), ("weights", w)):
        bad = ~np.isfinite(values) | (values < 0)
        if bad.any():
            j = int(np.argmax(bad))
            raise ConfigError(f"{name}: entry {j} is {values[j]}; use finite numbers >= 0")
    total = np.bincount(group, w, len(g))
    hollow = (g > 0) & (total == 0)
    if hollow.any():
        j = int(np.argmax(hollow))
        raise ConfigError(f"group {j} has weight {g[j]} but no member with weight; set it to 0")
    if not g.any():
        raise ConfigError(f"group_weights: all {len(g)} entries are zero; one must be positive")
    share = g / g.sum()
    return np.where(w > 0, share[group] * w / np.where(total > 0, total, 1)[group], 0.0)
