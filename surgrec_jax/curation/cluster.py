"""Hierarchical k-means after Vo et al. 2024 (arXiv 2405.15613), written from the paper.

Level 1 clusters the points, every further level the centroids of the level below, each centroid
counting once: k-means puts more centroids where there are more points, and clusters of centroids
undo that step by step. Within a level the same is done by resampling: from every cluster at most so
many points as half of the mean cluster has are kept, those nearest to its centroid; they are
clustered afresh, and all points are assigned to the new centroids. Repeated, the centroids spread
evenly over what there is, whatever there is much of. Where half a cluster is more than 64 points,
64 of them are drawn at random: the 64 nearest alone would be a clump that is found again for ever.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surgrec_jax.curation.kmeans import Fit, Lloyd, kmeans
from surgrec_jax.curation.passes import bound
from surgrec_jax.curation.rows import PLAIN, ArrayRows, Rows, Space, fit_space
from surgrec_jax.data.sampling.permute import hash64
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import ConfigError, DataError, UserError

_FILE = "clusters.json"
_MAX_KEPT = 64  # of the automatic choice: beyond, resampling costs as much as clustering
_KEEP_STREAM = 12


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is clustered how; the fields of `config.cluster` of the same names.

    Attributes:
      levels: clusters per level, from the finest to the coarsest; () for no clustering.
      resample_rounds: resampling steps per level. resample_points: points kept of each cluster; 0:
        half of the mean cluster size, as in the paper, but 64 at most.
      space, components: see `fit_space`.
    """

    levels: tuple[int, ...]
    resample_rounds: int = 10
    resample_points: int = 0
    space: str = "plain"
    components: int = 256
    iterations: int = 20
    tolerance: float = 1e-4
    seed: int = 0

    def __post_init__(self):
        falling = all(a > b for a, b in zip(self.levels, self.levels[1:], strict=False))
        if not falling or (self.levels and self.levels[-1] < 1):
            raise ConfigError(
                f"cluster.levels {self.levels}: give falling numbers of clusters, e.g. 1000,100,10"
            )


@dataclasses.dataclass(frozen=True)
class Tree:
    """Clusters of clusters over N rows, empty ones left out.

    Attributes:
      leaf: int32 [N], the finest cluster of every row. distance: float32 [N], squared, to its
        centroid.
      paths: int32 [K, L], for every finest cluster its number on each level from the coarsest to
        the finest; rows are sorted, siblings are neighbours, the larger first.
      centroids: float32 [K, d] of the finest clusters.
      inertia: of the finest level.
    """

    leaf: np.ndarray
    distance: np.ndarray
    paths: np.ndarray
    centroids: np.ndarray
    inertia: float


def hierarchy(rows: Rows, settings: Settings, lloyd: Lloyd) -> Tree:
    """Clusters of clusters, one level of `settings.levels` after another.

    Raises:
      DataError: fewer points than clusters.
    """
    space = fit_space(rows, settings.space, settings.components, settings.seed)
    fits: list[Fit] = []
    for level, k in enumerate(settings.levels):
        lloyd.say(
            f"level {level + 1} of {len(settings.levels)}: {k} clusters of {len(rows)} points"
        )
        fit = resampled(rows, k, settings, lloyd, space, settings.seed + 1000 * level)
        fit = _without_empty(fit)
        fits.append(fit)
        rows = ArrayRows(fit.centroids, f"level {level + 1} of {rows.where}")
        space = PLAIN
    return _tree(fits)


def resampled(rows: Rows, k: int, settings: Settings, lloyd: Lloyd, space: Space, seed: int) -> Fit:
    """k-means, then the paper's rounds of resampling and clustering afresh."""
    fit = kmeans(rows, k, lloyd, space=space, seed=seed)
    if k == len(rows):
        return fit
    scale = bound(rows, space)
    half = max(1, len(rows) // (2 * k))
    keep = settings.resample_points or min(_MAX_KEPT, half)
    quiet = dataclasses.replace(lloyd, say=lambda line: None)
    for turn in range(1, settings.resample_rounds + 1):
        few = rows.take(kept(fit, max(half, keep), keep, seed + turn))
        if len(few) < k:
            raise DataError(
                f"{rows.where}: resampling {keep} points of each cluster leaves {len(few)} points "
                f"for {k} clusters; raise cluster.resample_points or lower cluster.levels"
            )
        again = kmeans(ArrayRows(few, rows.where), k, quiet, space=space, seed=seed + 100 * turn)
        found = lloyd.assign(rows, space, again.centroids, scale, seed)
        full = found.counts[found.counts > 0]
        lloyd.say(
            f"k={k} resampling {turn} of {len(few)} points: inertia {found.inertia:.6g}, largest "
            f"cluster {full.max() / full.mean():.2f} times the mean"
        )
        fit = Fit(
            again.centroids, found.leaf, found.distance, found.counts, found.inertia, fit.passes + 1
        )
    return fit


def kept(fit: Fit, pool: int, count: int, seed: int) -> np.ndarray:
    """`count` at random of the `pool` rows nearest to the centroid of each cluster, rising.

    Ties in distance go to the lower row; a cluster of fewer rows keeps them all.
    """
    order = _first(np.arange(len(fit.leaf)), fit.leaf, fit.distance, pool)
    luck = hash64(seed, _KEEP_STREAM, order)
    return np.sort(_first(order, fit.leaf[order], luck, count))


def _first(rows: np.ndarray, leaf: np.ndarray, key: np.ndarray, count: int) -> np.ndarray:
    """The `count` rows with the smallest key of every leaf."""
    order = np.lexsort((key, leaf))
    leaf = leaf[order]
    rank = np.arange(len(order)) - np.searchsorted(leaf, leaf)
    return rows[order[rank < count]]


def _without_empty(fit: Fit) -> Fit:
    full = fit.counts > 0
    if full.all():
        return fit
    number = np.cumsum(full) - 1
    return dataclasses.replace(
        fit,
        centroids=fit.centroids[full],
        counts=fit.counts[full],
        leaf=number[fit.leaf].astype(np.int32),
    )


def _tree(fits: Sequence[Fit]) -> Tree:
    """Numbers the clusters of every level so that siblings follow each other, larger first."""
    finest = fits[0]
    above = [np.arange(len(finest.counts))]  # of every finest cluster, its number on each level
    for fit in fits[1:]:
        above.append(fit.leaf[above[-1]])
    keys, columns = [], []
    for numbers in reversed(above):  # from the coarsest
        size = np.bincount(numbers, finest.counts)
        by_size = np.lexsort((np.arange(len(size)), -size))
        rank = np.empty(len(size), np.int32)
        rank[by_size] = np.arange(len(size))
        columns.append(rank[numbers])
        keys.append(columns[-1])
    order = np.lexsort(keys[::-1])
    new = np.empty(len(order), np.int32)
    new[order] = np.arange(len(order))
    paths = np.stack([c[order] for c in columns], 1).astype(np.int32)
    paths[:, -1] = np.arange(len(order))
    return Tree(new[finest.leaf], finest.distance, paths, finest.centroids[order], finest.inertia)


def cluster(folder: Path, rows: Rows, key: dict, settings: Settings, lloyd: Lloyd, write: bool):
    """`hierarchy`, kept in `folder`: made again only if `key` or the settings differ.

    Args:
      key: JSON values that say what the rows are.
      write: whether this process writes.
    """
    described = json.loads(json.dumps({"rows": key, **dataclasses.asdict(settings)}))
    described["tile"] = lloyd.tile
    path = folder / _FILE
    if path.is_file() and untrusted.read_made_json(path, "delete it") == described:
        lloyd.say(f"clusters in {folder} are of these embeddings and settings: kept")
        return load_tree(folder)
    tree = hierarchy(rows, settings, lloyd)
    if write:
        folder.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # it comes last, so that it means "done"
        for field in dataclasses.fields(Tree):
            np.save(folder / f"{field.name}.npy", getattr(tree, field.name))
        files.write_json(path, described)
    return tree


def load_tree(folder: Path) -> Tree:
    """A tree that `cluster` wrote. Raises DataError where it cannot be read."""
    try:
        found = {
            f.name: untrusted.read_array(folder / f"{f.name}.npy") for f in dataclasses.fields(Tree)
        }
    except (OSError, UserError) as error:
        raise DataError(f"{error}; delete {folder} and run the clustering again") from None
    with untrusted.interpreting(folder, "; delete it", DataError):
        return Tree(**{**found, "inertia": float(found["inertia"])})
