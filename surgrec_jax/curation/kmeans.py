"""Lloyd's k-means on a device mesh, over points that do not need to fit in memory."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from surgrec_jax.curation import passes
from surgrec_jax.curation.passes import Pass
from surgrec_jax.curation.rows import PLAIN, Rows, Space, sample_rows
from surgrec_jax.safety.errors import ConfigError, DataError

SEED_ROUNDS = 100  # up to so many clusters the seeding is k-means++ itself
_SEEDS_PER_CLUSTER = 16
_MIN_SEEDS = 16_384


@dataclasses.dataclass(frozen=True)
class Fit:
    """K clusters of N rows.

    Attributes:
      centroids: float32 [K, d]. leaf: int32 [N]. distance: float32 [N], squared.
      counts: int64 [K]; 0 only where there are fewer distinct rows than clusters.
      inertia: sum of squared distances. passes: over the rows, all told. reseeded: empty clusters
        that were put elsewhere.
    """

    centroids: np.ndarray
    leaf: np.ndarray
    distance: np.ndarray
    counts: np.ndarray
    inertia: float
    passes: int
    reseeded: int = 0


@dataclasses.dataclass(frozen=True)
class Lloyd:
    """How k-means runs.

    Attributes:
      iterations: passes at most. tolerance: ends when the inertia falls by less than this part.
      tile, block_tiles: see `passes`; the tile is part of what fixes the result, the block is not.
      say: called with a line per pass.
    """

    mesh: Mesh
    iterations: int = 20
    tolerance: float = 1e-4
    tile: int = passes.TILE
    block_tiles: int = passes.BLOCK_TILES
    say: Callable[[str], None] = lambda line: None

    def assign(self, rows: Rows, space: Space, centroids, scale: float, seed: int) -> Pass:
        """One pass with the given centroids."""
        return passes.run_pass(
            rows, space, centroids, self.mesh, scale=scale, seed=seed, tile=self.tile,
            block_tiles=self.block_tiles,
        )  # fmt: skip


def kmeans(rows: Rows, k: int, lloyd: Lloyd, *, space: Space = PLAIN, seed: int = 0) -> Fit:
    """k-means: seeds by D^2 sampling, then Lloyd's iterations; empty clusters are seeded again.

    Returned are the centroids of the last pass together with its assignment, so the two agree.

    Raises:
      DataError: fewer rows than clusters. ValueError: k < 1, or rows that are not finite.
    """
    if k < 1:
        raise ConfigError(f"{k} clusters cannot be made; ask for at least 1")
    if len(rows) < k:
        raise DataError(
            f"{rows.where} has {len(rows)} points, fewer than the {k} clusters asked for; lower "
            "cluster.levels or embed more"
        )
    scale = passes.bound(rows, space)
    sample = sample_rows(len(rows), max(_SEEDS_PER_CLUSTER * k, _MIN_SEEDS), seed)
    # Filled up to a power of two: resampling comes with other numbers of rows, compiled once.
    few = rows.take(sample)
    filled = np.zeros((1 << (len(few) - 1).bit_length(), rows.width), few.dtype)
    filled[: len(few)] = few
    centroids = np.asarray(seed_centroids(jnp.asarray(filled), len(few), space, k, seed))
    best, reseeded = np.inf, 0
    for i in range(1, lloyd.iterations + 1):
        found = lloyd.assign(rows, space, centroids, scale, seed + i)
        dead = np.flatnonzero(found.counts == 0)
        lloyd.say(f"k={k} pass {i}: inertia {found.inertia:.6g}, {len(dead)} empty")
        place = found.seeds[: len(dead)]
        gained = best - found.inertia
        if i == lloyd.iterations or (not len(place) and gained <= lloyd.tolerance * found.inertia):
            break
        best = found.inertia
        centroids = move(centroids, found)
        if len(place):
            centroids[dead[: len(place)]] = space(jnp.asarray(rows.take(place)))
            reseeded += len(place)
    return Fit(centroids, found.leaf, found.distance, found.counts, found.inertia, i, reseeded)


def move(centroids: np.ndarray, found: Pass) -> np.ndarray:
    """The means of the clusters, float32 [K, d]; empty ones stay where they were."""
    means = found.sums / np.maximum(found.counts, 1)[:, None]
    return np.where((found.counts > 0)[:, None], means, centroids).astype(np.float32)


@functools.partial(jax.jit, static_argnums=3)
def seed_centroids(sample: jax.Array, count: int, space: Space, k: int, seed: int) -> jax.Array:
    """k of the rows of a sample, drawn by their squared distance to those drawn before.

    One at a time up to SEED_ROUNDS clusters, the best of 2 + ln k draws each: greedy k-means++
    (Arthur and Vassilvitskii 2007, section 7). Beyond, an equal number in each of SEED_ROUNDS
    rounds, as in k-means|| (Bahmani et al. 2012), without its second clustering.

    Args:
      sample: [S, D], of which the first `count` >= k rows are real.

    Returns:
      float32 [k, d].
    """
    x = space(sample)
    norm = (x * x).sum(1)
    each = -(-k // SEED_ROUNDS)
    drawn = each if each > 1 else min(len(x), 2 + int(np.log(k)))
    key = jax.random.key(seed)

    def draw(far, round_number):
        time = jax.random.exponential(jax.random.fold_in(key, round_number), far.shape)
        race = jnp.where(jnp.isinf(far), time, jnp.where(far > 0, time / far, jnp.inf))
        _, rows = jax.lax.top_k(-race, drawn)
        dots = jnp.dot(x, x[rows].T, precision=jax.lax.Precision.HIGHEST)
        square = jnp.maximum(norm[:, None] + norm[rows] - 2 * dots, 0.0)  # [S, drawn]
        square = square.at[rows, jnp.arange(drawn)].set(0.0)
        left = jnp.minimum(far[:, None], square)
        if each > 1:
            return left.min(1), rows
        best = left.sum(0).argmin()
        return left[:, best], rows[best][None]

    far = jnp.where(jnp.arange(len(x)) < count, jnp.inf, 0.0)
    _, chosen = jax.lax.scan(draw, far, jnp.arange(-(-k // each)))
    return x[chosen.reshape(-1)[:k]]
