"""A pass of k-means over points that stream from disk assigns rows and sums up clusters.

Rows are handled in tiles of a fixed shape, on every device the same, and the sums are integers
(coordinates rounded to 2^-15 of the largest). So neither the size of a block, nor the number of
devices or processes, nor the order of anything changes a bit of the result, as long as the hardware
computes a product of two matrices of one shape always in the same way.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from surgrec_jax.curation.rows import PLAIN, Rows, Space
from surgrec_jax.safety.errors import ConfigError, DataError
from surgrec_jax.sharding import BATCH_AXES

TILE = 1024  # rows compared with all centroids at once
BLOCK_TILES = 16  # tiles per device and block; 32 tiles would still fit the integer sums
_BITS = 15
_LOW = (1 << _BITS) - 1


@dataclasses.dataclass(frozen=True)
class Pass:
    """The result of a pass over N rows with K centroids.

    Attributes:
        sums, counts: float64 [K, d] and int64 [K], sum and number of the rows of each cluster.
        leaf, distance: int32 [N] and float32 [N], the nearest centroid and its squared distance.
        inertia: sum of all squared distances.
        seeds: int64 [M], new centroids of empty clusters in order: rows drawn in proportion to
            their squared distance, at most one per tile.
    """

    sums: np.ndarray
    counts: np.ndarray
    leaf: np.ndarray
    distance: np.ndarray
    inertia: float
    seeds: np.ndarray


def run_pass(
    rows: Rows,
    space: Space,
    centroids: np.ndarray,
    mesh: Mesh,
    *,
    scale: float,
    seed: int,
    tile: int = TILE,
    block_tiles: int = BLOCK_TILES,
) -> Pass:
    """Assigns all rows to the nearest of `centroids` [K, d] and sums up the clusters.

    Every process of the mesh reads the tiles of its devices; all return the same.

    Args:
        scale: `bound` of the rows in `space`.
        seed: seed of `Pass.seeds`.
        block_tiles: tiles per device and block, tile * block_tiles at most 2^15 rows.

    Raises:
        ValueError: a block is too large, there are 2^31 rows or more, or a row is not finite.
    """
    if tile * block_tiles > 1 << _BITS or len(rows) >= 1 << 31:
        raise ConfigError(
            f"tile {tile} x block_tiles {block_tiles} must be at most {1 << _BITS} rows, and "
            f"{len(rows)} rows below 2^31: the sums are 32-bit integers"
        )
    block_tiles = min(block_tiles, max(1, -(-len(rows) // (tile * mesh.size))))
    tiles_per_block = block_tiles * mesh.size
    by_device = NamedSharding(mesh, P(BATCH_AXES))
    step = _step(mesh)
    k, d = centroids.shape
    sums = tuple(_zeros((mesh.size, k, d), by_device) for _ in range(2))
    counts = _zeros((mesh.size, k), by_device)
    center = jnp.asarray(centroids, jnp.float32)
    key = jax.random.key(seed)
    leaf, distance = np.empty(len(rows), np.int32), np.empty(len(rows), np.float32)
    tiles: list[tuple[np.ndarray, ...]] = []
    pending: list[tuple[int, tuple[jax.Array, ...]]] = []

    def collect() -> None:
        first, outputs = pending.pop(0)
        nearest, far, *per_tile = (np.asarray(x) for x in outputs)
        count = min(nearest.size, len(rows) - first)
        leaf[first : first + count] = nearest.reshape(-1)[:count]
        distance[first : first + count] = far.reshape(-1)[:count]
        tiles.append(tuple(per_tile))

    block = tiles_per_block * tile
    for first in range(0, len(rows), block):
        number = first // tile + np.arange(tiles_per_block)
        valid = np.clip(len(rows) - number * tile, 0, tile)
        shape = (tiles_per_block, tile, rows.width)
        read = functools.partial(_read, rows, first, shape)
        local = jax.make_array_from_callback(shape, by_device, read)
        numbers = jax.device_put(number.astype(np.int32), by_device)
        valids = jax.device_put(valid.astype(np.int32), by_device)
        sums, counts, *outputs = step(
            sums, counts, local, numbers, valids, center, space, scale, key
        )
        pending.append((first, tuple(outputs)))
        if len(pending) > 1:  # one block is read while another is computed
            collect()
    while pending:
        collect()
    inertia, race, row = (np.concatenate([t[i].reshape(-1) for t in tiles]) for i in range(3))
    if not np.isfinite(inertia).all():
        bad = int(np.argmax(~np.isfinite(distance)))
        raise DataError(f"{rows.where}: row {bad} is not finite")
    order = np.argsort(race, kind="stable")
    order = order[np.isfinite(race[order])]
    high, low = (np.asarray(_total(s, mesh)).astype(np.int64) for s in sums)
    return Pass(
        sums=((high << _BITS) + low) * (scale / (1 << _BITS)),
        counts=np.asarray(_total(counts, mesh)).astype(np.int64),
        leaf=leaf,
        distance=distance,
        inertia=math.fsum(inertia.astype(np.float64)),
        seeds=order.astype(np.int64) * tile + row[order],
    )


def bound(rows: Rows, space: Space) -> float:
    """The largest coordinate of any row in `space`, rounded up to a power of two; 1 for unit rows.

    Raises:
        ValueError: a row is not finite.
    """
    if space.unit:
        return 1.0
    largest = 0.0
    for first in range(0, len(rows), 1 << 16):
        block = np.asarray(rows.block(first, min(first + (1 << 16), len(rows))), np.float32)
        values = np.abs(block if space == PLAIN else np.asarray(space(block)))
        if not np.isfinite(values).all():
            bad = first + int(np.argmax(~np.isfinite(values).all(1)))
            raise DataError(f"{rows.where}: row {bad} is not finite")
        largest = max(largest, float(values.max()))
    return 2.0 ** math.ceil(math.log2(largest)) if largest > 0 else 1.0


def _read(rows: Rows, block: int, shape: tuple[int, ...], index: tuple[slice, ...]) -> np.ndarray:
    """Reads the part `index` of the block [tiles, tile, D] that begins at row `block`.

    Rows of float16 stay, others become float32; zeros stand beyond the last row.
    """
    start, end, _ = index[0].indices(shape[0])
    first, count = block + start * shape[1], (end - start) * shape[1]
    stop = max(first, min(len(rows), first + count))
    values = rows.block(first, stop) if stop > first else rows.block(0, 1)[:0]
    out = np.zeros((count, shape[2]), np.float16 if values.dtype == np.float16 else np.float32)
    out[: len(values)] = values
    return out.reshape(end - start, *shape[1:])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _zeros(shape: tuple[int, ...], sharding: NamedSharding) -> jax.Array:
    return jax.lax.with_sharding_constraint(jnp.zeros(shape, jnp.int32), sharding)


@functools.partial(jax.jit, static_argnums=1)
def _total(x: jax.Array, mesh: Mesh) -> jax.Array:
    """Sums over devices, on every device."""
    return jax.lax.with_sharding_constraint(x.sum(0), NamedSharding(mesh, P()))


@functools.lru_cache(maxsize=8)
def _step(mesh: Mesh):
    """Makes the compiled step over one block; K, d and tile come with the shapes."""
    split, whole = P(BATCH_AXES), P()

    def local(sums, counts, block, number, valid, centroids, space, scale, key):
        half = 0.5 * (centroids * centroids).sum(1)  # [K]
        k = len(centroids)

        def one(carry, inputs):
            total, count = carry
            x, tile_number, n = inputs
            x = space(x)  # [tile, d]
            # |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x c): the bracket alone orders the centroids.
            score = half - jnp.dot(x, centroids.T, precision=jax.lax.Precision.HIGHEST)
            best = score.min(1, keepdims=True)
            # The first of equals counts, as for argmin, but XLA vectorises both of these passes.
            nearest = jnp.where(score == best, jnp.arange(k, dtype=jnp.int32), k).min(1)
            nearest = jnp.minimum(nearest, k - 1)  # a row that is not finite equals nothing
            real = jnp.arange(len(x)) < n
            far = (x * x).sum(1) + 2 * best[:, 0]
            far = jnp.where(real, jnp.where(far > 0, far, far * 0), 0.0)  # NaN stays NaN
            whole_numbers = jnp.round(x * ((1 << _BITS) / scale)).astype(jnp.int32)
            total = total.at[nearest].add(jnp.where(real[:, None], whole_numbers, 0))
            count = count.at[nearest].add(real.astype(jnp.int32))
            # In an exponential race the row with the smallest E / weight is a draw by weight.
            time = jax.random.exponential(jax.random.fold_in(key, tile_number), (len(x),))
            race = jnp.where(far > 0, time / far, jnp.inf)
            winner = race.argmin()
            return (total, count), (nearest, far, far.sum(), race[winner], winner)

        zero = jnp.zeros_like(centroids, jnp.int32)
        carry = (jax.lax.pcast(zero, BATCH_AXES, to="varying"), counts[0])
        (total, count), outputs = jax.lax.scan(one, carry, (block, number, valid))
        high, low = sums
        # A 48-bit sum has two halves, as XLA has no 64-bit integers by default.
        sums = (high + (total >> _BITS)[None], low + (total & _LOW)[None])
        return sums, count[None], *outputs

    step = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(split, split, split, split, split, whole, whole, whole, whole),
        out_specs=(split, split, split, split, split, split, split),
    )
    everywhere = NamedSharding(mesh, whole)

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def jitted(*args):
        sums, counts, *outputs = step(*args)
        # Every process reads the outputs of every row.
        outputs = [jax.lax.with_sharding_constraint(x, everywhere) for x in outputs]
        return sums, counts, *outputs

    return jitted
