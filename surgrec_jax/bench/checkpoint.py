"""Checkpoints: how long a save holds up training, bandwidth of saves and restores, verification.

The state is random float32 arrays of the shapes of a ViT encoder, its EMA target and its two Adam
moments, saved and restored by the trainer's own code. "cold" figures are taken after the files were
dropped from the page cache, where that is allowed to.
"""

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax import checkpoint
from surgrec_jax.checkpoint import checksums
from surgrec_jax.models.presets import preset
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.safety.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bench checkpoint`."""
    parser.add_argument("--preset", default="B", help="Ti, S, B, L, H or g")
    parser.add_argument("--folder", type=Path, help="on the disk to measure (default: temporary)")
    parser.add_argument("--saves", type=int, default=2, help="saves and restores, the best counts")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Saves, verifies and restores; returns the figures that are printed."""
    state = _state(args.preset)
    size = sum(x.nbytes for x in jax.tree.leaves(state))
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
    )
    with tempfile.TemporaryDirectory(dir=args.folder, prefix="bench-checkpoint-") as folder:
        if shutil.disk_usage(folder).free < 2.5 * size:
            raise UserError(f"{folder} has no room for two checkpoints of {size / 2**30:.1f} GiB")
        root = Path(folder) / "checkpoints"
        times = [_save(root, k + 1, state) for k in range(args.saves)]
        del state  # the restored one takes its place in memory
        times += [_restore(root, abstract) for _ in range(args.saves)]
        files = _files(root)
    names = dict.fromkeys(key for t in times for key in t)
    best = {name: min(t[name] for t in times if name in t) for name in names}
    gib = size / 2**30
    return {
        "preset": args.preset,
        "state_gib": gib,
        "arrays": len(jax.tree.leaves(abstract)),
        "files": len(files),
        **best,
        "save_gib_per_s": gib / best["save_total_s"],
        "restore_gib_per_s": gib / best["restore_s"],
        "verify_gib_per_s": gib / best["verify_s"],
        "verify_cold_gib_per_s": gib / best["verify_cold_s"],
        "verify_share_of_restore": best["verify_s"] / (best["verify_s"] + best["restore_s"]),
        "cores": os.cpu_count(),
    }


def _state(name: str) -> dict[str, Any]:
    """As JEPA's: parameters, EMA target and two moments of each parameter.

    Values that do not compress, as trained weights do not.
    """
    shapes = jax.eval_shape(lambda: init_encoder(preset(name), jax.random.key(0)))
    rng = np.random.default_rng(0)

    def draw() -> Any:
        return jax.tree.map(lambda s: jnp.asarray(rng.random(s.shape, np.float32)), shapes)

    parts = ("params", "target_params", "mu", "nu")
    return {"step": jnp.int32(1), **{part: draw() for part in parts}}


def _save(root: Path, step: int, state: Any) -> dict[str, float]:
    times: dict[str, float] = {}
    with checkpoint.Checkpoints(root, keep=1, keep_best=0) as saved:
        with _timed(times, "save_blocks_s"):
            saved.save(step, state, {"name": "bench"})
        with _timed(times, "save_rest_s"):
            saved.wait()
    return times | {"save_total_s": times["save_blocks_s"] + times["save_rest_s"]}


def _restore(root: Path, abstract: Any) -> dict[str, float]:
    times: dict[str, float] = {}
    location = checkpoint.find(root)
    _forget(_files(root))
    with _timed(times, "verify_cold_s"):
        checksums.check(location)
    with _timed(times, "verify_s"):
        checksums.check(location)
    with _timed(times, "restore_s"):
        jax.block_until_ready(checkpoint.restore_state(location, abstract, verified=True))
    return times


def _files(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file()]


@contextlib.contextmanager
def _timed(times: dict[str, float], name: str):
    began = time.perf_counter()
    yield
    times[name] = time.perf_counter() - began


def _forget(files: list[Path]) -> None:
    """Drops files from the page cache."""
    for path in files:
        with open(path, "rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
