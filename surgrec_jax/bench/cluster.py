"""k-means passes over many points, against faiss and scikit-learn on the same data and cores.

    python -m surgrec_jax.bench cluster --points=1e6 --width=256 --clusters=1000

The points are float16 on disk (a temporary folder), around centres of unequal frequency (a share of
the points in proportion to 1 / rank). faiss (pip install faiss-cpu) is left out where it is not
installed. All inertias are computed alike, by one pass of this project over all points.
"""

import argparse
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from surgrec_jax import sharding
from surgrec_jax.curation.kmeans import Lloyd, kmeans
from surgrec_jax.curation.passes import bound
from surgrec_jax.curation.rows import PLAIN, ArrayRows

_CHUNK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench cluster`."""
    parser.add_argument("--points", type=float, default=1e6)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--clusters", type=int, default=1000)
    parser.add_argument(
        "--passes", type=int, default=5, help="over the points, at most, by each engine"
    )
    parser.add_argument("--centres", type=int, default=2000, help="what the points lie around")


def run(args: argparse.Namespace) -> dict:
    """Measures, and returns {"points", "width", "clusters", "engines": [one dict per engine]}."""
    points, k = int(args.points), args.clusters
    with tempfile.TemporaryDirectory(prefix="bench_cluster_") as folder:
        path = Path(folder) / "points.npy"
        _write(path, points, args.width, args.centres)
        rows = ArrayRows(np.load(path, mmap_mode="r"), str(path))
        lloyd = Lloyd(sharding.make_mesh(), iterations=args.passes, tolerance=0.0)
        scale = bound(rows, PLAIN)

        def inertia(centroids: np.ndarray) -> float:
            return lloyd.assign(rows, PLAIN, centroids, scale, 0).inertia

        kmeans(ArrayRows(rows.values[:_CHUNK]), k, lloyd)  # compiled before the clock runs
        engines = [
            _engine("this project", lambda: kmeans(rows, k, lloyd).centroids, inertia),
            _engine("scikit-learn", lambda: _sklearn(rows, k, args.passes), inertia),
        ]
        if importlib.util.find_spec("faiss") is None:
            engines.append({"engine": "faiss (not installed: pip install faiss-cpu)"})
        else:
            engines.append(_engine("faiss", lambda: _faiss(rows, k, args.passes), inertia))
        one = time.perf_counter(), time.process_time()
        inertia(np.asarray(rows.values[:k], np.float32))
        passed = time.perf_counter() - one[0], time.process_time() - one[1]
    return {
        "points": points,
        "width": args.width,
        "clusters": k,
        "passes": args.passes,
        "one pass, s": round(passed[0], 2),
        "one pass, CPU s": round(passed[1], 2),
        "engines": engines,
    }


def _engine(name: str, fit, inertia) -> dict:
    wall, cpu = time.perf_counter(), time.process_time()
    centroids = fit()
    took = time.perf_counter() - wall, time.process_time() - cpu
    row = {
        "engine": name,
        "s": round(took[0], 1),
        "CPU s": round(took[1], 1),
        "inertia": inertia(np.asarray(centroids, np.float32)),
    }
    print(row, file=sys.stderr, flush=True)  # a large run takes minutes
    return row


def _sklearn(rows: ArrayRows, k: int, passes: int) -> np.ndarray:
    model = MiniBatchKMeans(k, batch_size=10_240, max_iter=passes, n_init=1, random_state=0)
    return model.fit(np.asarray(rows.values, np.float32)).cluster_centers_


def _faiss(rows: ArrayRows, k: int, passes: int) -> np.ndarray:
    import faiss

    model = faiss.Kmeans(
        rows.width, k, niter=passes, seed=0, max_points_per_centroid=len(rows), verbose=False
    )
    model.train(np.asarray(rows.values, np.float32))
    return model.centroids


def _write(path: Path, points: int, width: int, centres: int) -> None:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((centres, width), np.float32)
    share = 1 / np.arange(1, centres + 1)
    out = np.lib.format.open_memmap(path, "w+", np.float16, (points, width))
    for at in range(0, points, _CHUNK):
        count = min(_CHUNK, points - at)
        which = rng.choice(centres, count, p=share / share.sum())
        out[at : at + count] = centre[which] + rng.standard_normal((count, width), np.float32)
