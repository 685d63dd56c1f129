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

SEED_ROUNDS = 100  # rounds of seeding; up to so many clusters it is k-means++ itself
_SEEDS_PER_CLUSTER = 16
_MIN_SEEDS = 16_384


@dataclasses.dataclass(frozen=True)
class Fit:
    """K clusters of N rows.

    Attributes:
        centroids: float32 [K, d].
        leaf, distance, counts, inertia: as of a `Pass`; a count is 0 only where there are fewer
            distinct rows than clusters.
    """

    centroids: np.ndarray
    leaf: np.ndarray
    distance: np.ndarray
    counts: np.ndarray
    inertia: float

    @classmethod
    def of(cls, centroids: np.ndarray, result: Pass) -> "Fit":
        """The clusters of some centroids and a pass with them."""
        return cls(centroids, result.leaf, result.distance, result.counts, result.inertia)


@dataclasses.dataclass(frozen=True)
class Lloyd:
    """The options of k-means.

    Attributes:
        iterations: largest number of passes.
        tolerance: least relative fall of the inertia with which it goes on.
        tile, block_tiles: see `passes`; the result depends on the tile, but not on the block.
        say: called with a line per pass.
    """

    mesh: Mesh
    iterations: int = 20
    tolerance: float = 1e-4
    tile: int = passes.TILE
    block_tiles: int = passes.BLOCK_TILES
    say: Callable[[str], None] = lambda line: None

    def assign(self, rows: Rows, space: Space, centroids, scale: float, seed: int) -> Pass:
        """Runs one pass with some centroids."""
        return passes.run_pass(
            rows, space, centroids, self.mesh, scale=scale, seed=seed, tile=self.tile,
            block_tiles=self.block_tiles,
        )  # fmt: skip


def kmeans(rows: Rows, k: int, lloyd: Lloyd, *, space: Space = PLAIN, seed: int = 0) -> Fit:
    """Clusters rows by D^2 sampling and Lloyd's iterations; empty clusters are seeded again.

    The centroids are those of the last pass, so that its assignment agrees with them.

    Raises:
        DataError: there are fewer rows than clusters.
        ValueError: k < 1, or rows are not finite.
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
    # The sample is filled up to a power of two, as resampling brings many numbers of rows.
    few = rows.take(sample)
    filled = np.zeros((1 << (len(few) - 1).bit_length(), rows.width), few.dtype)
    filled[: len(few)] = few
    centroids = np.asarray(seed_centroids(jnp.asarray(filled), len(few), space, k, seed))
    best = np.inf
    for i in range(1, lloyd.iterations + 1):
        result = lloyd.assign(rows, space, centroids, scale, seed + i)
        dead = np.flatnonzero(result.counts == 0)
        lloyd.say(f"k={k} pass {i}: inertia {result.inertia:.6g}, {len(dead)} empty")
        place = result.seeds[: len(dead)]
        gained = best - result.inertia
        if i == lloyd.iterations or (not len(place) and gained <= lloyd.tolerance * result.inertia):
            break
        best = result.inertia
        centroids = move(centroids, result)
        if len(place):
            centroids[dead[: len(place)]] = space(jnp.asarray(rows.take(place)))
    return Fit.of(centroids, result)


def move(centroids: np.ndarray, result: Pass) -> np.ndarray:
    """The means of the clusters, float32 [K, d]; empty ones stay where they were."""
    means = result.sums / np.maximum(result.counts, 1)[:, None]
    return np.where((result.counts > 0)[:, None], means, centroids).astype(np.float32)


@functools.partial(jax.jit, static_argnums=3)
def seed_centroids(sample: jax.Array, count: int, space: Space, k: int, seed: int) -> jax.Array:
    """Draws k rows of a sample by their squared distance to those drawn before.

    Up to SEED_ROUNDS clusters they are drawn one at a time, the best of 2 + ln k draws each: greedy
    k-means++ (Arthur and Vassilvitskii 2007, section 7). Of more clusters an equal number is drawn
    in each of SEED_ROUNDS rounds, as in k-means|| (Bahmani et al. 2012), without its second
    clustering.

    Args:
        sample: [S, D], of which the first `count` >= k rows are real.

    Returns:
        float32 [k, d].
    """
    x = space(sample)
    norm = (x * x).sum(1)
    each = -(-k // SEED_ROUNDS)
    candidates = each if each > 1 else min(len(x), 2 + int(np.log(k)))
    key = jax.random.key(seed)

    def draw(far, round_number):
        time = jax.random.exponential(jax.random.fold_in(key, round_number), far.shape)
        race = jnp.where(jnp.isinf(far), time, jnp.where(far > 0, time / far, jnp.inf))
        _, rows = jax.lax.top_k(-race, candidates)
        dots = jnp.dot(x, x[rows].T, precision=jax.lax.Precision.HIGHEST)
        square = jnp.maximum(norm[:, None] + norm[rows] - 2 * dots, 0.0)  # [S, drawn]
        square = square.at[rows, jnp.arange(candidates)].set(0.0)
        left = jnp.minimum(far[:, None], square)
        if each > 1:
            return left.min(1), rows
        best = left.sum(0).argmin()
        return left[:, best], rows[best][None]

    far = jnp.where(jnp.arange(len(x)) < count, jnp.inf, 0.0)
    _, chosen = jax.lax.scan(draw, far, jnp.arange(-(-k // each)))
    return x[chosen.reshape(-1)[:k]]
