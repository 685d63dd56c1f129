"""From a run over its embeddings, clusters and manifest to a run on them."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec_jax import checkpoint
from surgrec_jax.curation.manifest import CurationError, read_manifest
from surgrec_jax.curation.shards import Embeddings
from surgrec_jax.train import train

ROOT = Path(__file__).resolve().parents[2]


def small(data_dir):
    """configs/mae.py:tiny, two steps on the small sources."""
    c = runpy.run_path(str(ROOT / "configs" / "mae.py"))["get_config"]("tiny")
    c.data.sources, c.data.data_dir = "alpha,beta", str(data_dir)
    c.model.num_frames, c.model.image_size, c.model.depth = 4, 32, 1
    c.steps, c.batch_size, c.optim.warmup_steps = 2, 8, 1
    c.probe.every = c.images.every = 0
    return c


@pytest.mark.slow
def test_the_pipeline_and_the_run_that_takes_it(data_dir, tmp_path):
    c = small(data_dir)
    assert train(c, tmp_path / "first")
    command = [sys.executable, "-m", "surgrec_jax.curation"]
    options = {
        "checkpoint": tmp_path / "first",
        "sources": "alpha,beta",
        "data_dir": data_dir,
        "cluster.levels": "6,2",
        "cluster.resample_rounds": 1,
        "embed.shard_records": 8,
        "plan.steps": 10,
    }
    flags = [f"--config.{key}={value}" for key, value in options.items()]
    for again in (False, True):
        done = subprocess.run(
            [*command, "--config=configs/curation.py:tiny", *flags],
            cwd=ROOT, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("kept") == (2 if again else 0)
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
    subprocess.run(
        [*command, "--config=configs/curation.py:tiny", *flags, "--config.balance.temperature=1"],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    with pytest.raises(CurationError, match=r"second was begun with another manifest \(hash "):
        train(c, tmp_path / "second")
