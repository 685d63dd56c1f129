"""k-means passes over many points, against faiss and scikit-learn on the same data and cores.

    python -m surgrec_jax.bench cluster --points=1e6 --width=256 --clusters=1000 --passes=3

The points are float16 on disk (a temporary folder), around centres of unequal frequency (a share of
the points in proportion to 1 / rank). Every engine has a process of its own, all cores, seeds as it
does by itself, and makes as many passes:

* this project streams the file; seeded on a sample of it, see `kmeans.py`.
* faiss (pip install faiss-cpu; left out where it is not installed) takes all points in float32, not
  its sample of 256 a cluster; seeded with random points.
* scikit-learn's MiniBatchKMeans takes them in float32, in batches of 10,240, without its own rule
  to stop early and without labels at the end; seeded by k-means++ on 30,720 points.

Time is from the file to the centroids: seconds and CPU seconds, without compilation. Threads that
wait would spin, which costs nothing on idle cores but the others' time on shared ones: OpenMP's are
told to sleep, and scikit-learn's seeding, many small products, has one thread of OpenBLAS (faster
than two). All inertias are computed alike, by one pass of this project.
"""

import argparse
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from surgrec_jax import sharding
from surgrec_jax.bench.timing import timed
from surgrec_jax.curation.kmeans import Lloyd, kmeans
from surgrec_jax.curation.passes import bound
from surgrec_jax.curation.rows import PLAIN, ArrayRows

_CHUNK = 1 << 16
_BATCH = 10_240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench cluster`."""
    parser.add_argument("--points", type=float, default=1e6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument("--passes", type=int, default=5, help="over the points, by each engine")
    parser.add_argument("--centres", type=int, default=2000, help="what the points lie around")
    parser.add_argument("--limit_s", type=float, default=1800, help="an engine is stopped then")


def run(args: argparse.Namespace) -> dict:
    """Measures all engines; returns {"points", "width", "clusters", "engines": [dicts]}."""
    points, k = int(args.points), args.clusters
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # for the engines' processes
    engines: list[dict] = []
    with tempfile.TemporaryDirectory(prefix="bench_cluster_") as folder:
        path = Path(folder) / "points.npy"
        _write(path, points, args.width, args.centres)
        rows = _rows(path)
        lloyd, scale = _lloyd(args.passes), bound(rows, PLAIN)
        for name, fit in (("this project", _own), ("faiss", _faiss), ("scikit-learn", _sklearn)):
            if fit is _faiss and importlib.util.find_spec("faiss") is None:
                engines.append({"engine": "faiss (not installed: pip install faiss-cpu)"})
                continue
            if fit is _sklearn:
                os.environ["OPENBLAS_NUM_THREADS"] = "1"
            with multiprocessing.get_context("spawn").Pool(1) as alone:
                result = alone.apply_async(fit, (path, k, args.passes))
                try:
                    centroids, wall, cpu = result.get(args.limit_s)
                except multiprocessing.TimeoutError:
                    engines.append({"engine": f"{name} (stopped after {args.limit_s:g} s)"})
                    continue
            inertia = lloyd.assign(rows, PLAIN, centroids, scale, 0).inertia
            row = {"engine": name, "s": round(wall, 1), "CPU s": round(cpu, 1), "inertia": inertia}
            print(row, file=sys.stderr, flush=True)  # a large run takes minutes
            engines.append(row)
    return {
        "points": points,
        "width": args.width,
        "clusters": k,
        "passes": args.passes,
        "cores": len(os.sched_getaffinity(0)),
        "engines": engines,
    }


def _rows(path: Path) -> ArrayRows:
    return ArrayRows(np.load(path, mmap_mode="r"), str(path))


def _lloyd(passes: int) -> Lloyd:
    return Lloyd(sharding.make_mesh(), iterations=passes, tolerance=0.0)


def _timed(fit) -> tuple[np.ndarray, float, float]:
    return timed(lambda: np.asarray(fit(), np.float32))


def _own(path: Path, k: int, passes: int) -> tuple[np.ndarray, float, float]:
    rows = _rows(path)
    kmeans(ArrayRows(rows.values[:_CHUNK]), k, _lloyd(1))  # compiled before the clock runs
    return _timed(lambda: kmeans(rows, k, _lloyd(passes)).centroids)


def _sklearn(path: Path, k: int, passes: int) -> tuple[np.ndarray, float, float]:
    from sklearn.cluster import MiniBatchKMeans

    rows = _rows(path)
    options = {"max_no_improvement": None, "compute_labels": False, "n_init": 1, "random_state": 0}
    model = MiniBatchKMeans(k, batch_size=_BATCH, max_iter=passes, **options)
    return _timed(lambda: model.fit(np.asarray(rows.values, np.float32)).cluster_centers_)


def _faiss(path: Path, k: int, passes: int) -> tuple[np.ndarray, float, float]:
    import faiss

    rows = _rows(path)
    options = {"seed": 0, "max_points_per_centroid": len(rows), "verbose": False}
    model = faiss.Kmeans(rows.width, k, niter=passes, **options)

    def fit() -> np.ndarray:
        model.train(np.asarray(rows.values, np.float32))
        return model.centroids

    return _timed(fit)


def _write(path: Path, points: int, width: int, centres: int) -> None:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((centres, width), np.float32)
    share = 1 / np.arange(1, centres + 1)
    out = np.lib.format.open_memmap(path, "w+", np.float16, (points, width))
    for at in range(0, points, _CHUNK):
        count = min(_CHUNK, points - at)
        which = rng.choice(centres, count, p=share / share.sum())
        out[at : at + count] = centre[which] + rng.standard_normal((count, width), np.float32)
