"""Weights of sources: what the sampler is asked to realise."""

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
