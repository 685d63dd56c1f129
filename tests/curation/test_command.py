"""From a run over its embeddings, clusters and manifest to a run on them."""

import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec_jax import checkpoint
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.data.sampling.manifest import read_manifest
from surgrec_jax.safety.errors import DataError
from surgrec_jax.train import train
from tests.xla_flags import xla_flags

ROOT = Path(__file__).resolve().parents[2]


def small(data_dir):
    """configs/mae.py:tiny, two steps on the small sources."""
    c = runpy.run_path(str(ROOT / "configs" / "mae.py"))["get_config"]("tiny")
    c.data.sources, c.data.data_dir = "alpha,beta", str(data_dir)
    c.model.num_frames, c.model.image_size, c.model.depth = 4, 32, 1
    c.steps, c.batch_size, c.optim.warmup_steps = 2, 8, 1
    c.probe.every = c.images.every = 0
    return c


def curation(first, data_dir, *more, devices=1):
    """The command on two levels of clusters, begun."""
    options = {
        "checkpoint": first,
        "sources": "alpha,beta",
        "data_dir": data_dir,
        "cluster.levels": "6,2",
        "cluster.resample_rounds": 1,
        "embed.shard_records": 8,
        "plan.steps": 10,
    }
    flags = [f"--config.{key}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "surgrec_jax.curation", "--config=configs/curation.py:tiny"]
    environment = os.environ | {
        "XLA_FLAGS": xla_flags(devices),
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    return subprocess.Popen(
        [*command, *flags, *more], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.mark.slow
def test_two_processes_make_the_bytes_of_one(data_dir, tmp_path):
    """Embeddings, clusters and manifest; and where the configs differ, both say so."""
    first, whole, parts = (tmp_path / name for name in ("first", "whole", "parts"))
    assert train(small(data_dir), first)
    out, error = curation(first, data_dir, f"--config.out={whole}").communicate(timeout=300)
    assert "report" in out, error
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    places = [
        (f"--coordinator={address}", "--num_processes=2", f"--process_id={i}") for i in range(2)
    ]
    two = [curation(first, data_dir, f"--config.out={parts}", *place) for place in places]
    for process, (out, error) in [(p, p.communicate(timeout=300)) for p in two]:
        assert process.returncode == 0, error
        assert ("manifest.json" in out) == (process is two[0])
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(parts) for path in parts.rglob("*") if path.is_file())
    for name in {*names} - {Path("report.html")}:
        assert (whole / name).read_bytes() == (parts / name).read_bytes(), name
    two = [
        curation(first, data_dir, f"--config.out={parts}", f"--config.cluster.seed={i}", *place)
        for i, place in enumerate(places)
    ]
    for process, (_, error) in [(p, p.communicate(timeout=300)) for p in two]:
        assert process.returncode == 1 and "different configs (cluster.seed: 1 and 0)" in error


@pytest.mark.slow
def test_the_pipeline_and_the_run_that_takes_it(data_dir, tmp_path):
    c = small(data_dir)
    assert train(c, tmp_path / "first")
    for again in (False, True):
        process = curation(tmp_path / "first", data_dir)
        out, error = process.communicate()
        assert process.returncode == 0, error
        assert out.count("kept") == (2 if again else 0)
    out = tmp_path / "first" / "curation"
    assert len(Embeddings(out / "embeddings")) == 26 and (out / "report.html").stat().st_size > 1e4
    manifest = read_manifest(out / "manifest.json")
    assert manifest.leaves.sizes.sum() == 26 and len(manifest.leaves) <= 6

    c.data.manifest = str(manifest.path)
    c.stop_after = 1
    assert not train(c, tmp_path / "second")
    meta = checkpoint.read_meta(checkpoint.find(tmp_path / "second"))
    assert meta["manifest"]["hash"] == manifest.hash
    assert (tmp_path / "second" / "manifest.json").read_text() == manifest.path.read_text()
    curation(tmp_path / "first", data_dir, "--config.balance.temperature=1").communicate()
    with pytest.raises(DataError, match=r"second was begun with another manifest \(hash "):
        train(c, tmp_path / "second")
