"""The sampler alone: draws per second and memory as the corpus grows.

    python -m surgrec_jax.bench sampler --records=10000,1000000

Each size runs in a process of its own, over cluster leaves in an order file on disk (written to a
temporary folder, 4 bytes a record). Memory is the gain of the process from making the sampler and
drawing; "private" is without the pages of the memory-mapped file, which the system may drop.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from surgrec_jax.bench.timing import memory
from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.data.sampling.leaves import Leaves, write_order


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench sampler`."""
    parser.add_argument("--records", default="10000,1000000,100000000", help="corpus sizes")
    parser.add_argument("--leaves", type=int, default=10_000, help="clusters, at most records / 10")
    parser.add_argument("--draws", type=int, default=200_000, help="draws timed")


def run(args: argparse.Namespace) -> dict:
    """Measures all corpus sizes; returns {"sizes": [one dict per size]}."""
    sizes = [int(float(n)) for n in args.records.split(",")]
    rows = []
    for records in sizes:
        with (
            tempfile.TemporaryDirectory(prefix="bench_sampler_") as folder,
            multiprocessing.get_context("spawn").Pool(1) as pool,
        ):
            leaves = max(1, min(args.leaves, records // 10))
            path = Path(folder) / "order.npy"
            began = time.perf_counter()
            starts = pool.apply(_write, (path, records, leaves))
            wrote = time.perf_counter() - began
            with multiprocessing.get_context("spawn").Pool(1) as fresh:
                row = fresh.apply(_measure, (path, starts, records, args.draws))
            rows.append({"records": records, "leaves": leaves, "write_s": round(wrote, 2)} | row)
    return {"sizes": rows}


def _write(path: Path, records: int, leaves: int) -> np.ndarray:
    """Writes leaves of very unequal sizes: a record's leaf is the cube of a uniform number."""
    leaf_of = np.lib.format.open_memmap(path.with_name("leaf_of.npy"), "w+", np.uint32, (records,))
    rng = np.random.default_rng(0)
    for at in range(0, records, 1 << 22):
        part = rng.random(min(1 << 22, records - at))
        leaf_of[at : at + len(part)] = (part**3 * leaves).astype(np.uint32)
    leaf_of[:leaves] = np.arange(leaves)  # none is empty
    return write_order(path, leaf_of, leaves)


def _measure(path: Path, starts: np.ndarray, records: int, draws: int) -> dict:
    before = {key: memory(key) for key in ("RssAnon", "VmRSS")}
    leaves = Leaves.from_order(path, starts, (records,))
    sampler = Sampler(leaves, leaves.sizes**0.5, seed=0)
    chunk = 10_000
    sampler.draws(np.arange(chunk))
    began = time.perf_counter()
    for at in range(0, draws, chunk):
        sampler.draws(np.arange(at, at + chunk))
    many = time.perf_counter() - began
    began, calls = time.perf_counter(), 300
    for k in range(calls):
        sampler.draws(np.arange(draws + 16 * k, draws + 16 * k + 16))
    few = time.perf_counter() - began
    private, resident = (round((memory(key) - own) / 1.024e6, 1) for key, own in before.items())
    return {
        "block": sampler.block,
        "draws_per_s": round(draws / many),
        "us_per_draw_in_16": round(1e6 * few / (16 * calls), 2),
        "private_mb": private,
        "resident_mb": resident,
    }
