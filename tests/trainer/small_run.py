"""A training run of seconds through its command line, as tests of the trainer start it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests import forked
from tests.xla_flags import xla_flags

ROOT = Path(__file__).resolve().parents[2]
# A run of seconds: two layers on 8 frames of 32 pixels.
SMALL = [
    "--config.steps=60",
    "--config.batch_size=8",
    "--config.model.width=48",
    "--config.model.depth=2",
    "--config.model.heads=3",
    "--config.model.mlp_dim=96",
    "--config.model.num_frames=8",
    "--config.model.image_size=32",
    "--config.model.patch=8",
    "--config.data.sources=synthetic",
    "--config.optim.warmup_steps=2",
    "--config.probe.every=0",
    "--config.images.every=0",
    "--config.checkpoint.every=10",
    "--config.log_every=1",
]
EXTRA = {
    "mae": ["--config.mae.decoder_width=24", "--config.mae.decoder_heads=3"],
    "jepa": [
        "--config.jepa.masks=({'blocks': 2, 'scale': 0.2, 'context': 5, 'target': 4},)",
        "--config.jepa.predictor_width=24",
    ],
    "levjepa": [
        *("--config.levjepa.local_side=16", "--config.levjepa.hidden=32"),
        *("--config.levjepa.outputs=16", "--config.levjepa.lines=32"),
    ],
}


def command(name, data_dir, workdir, *more):
    config = f"--config={ROOT}/configs/{name}.py:tiny"
    run = [sys.executable, "-m", "surgrec_jax.main", config, f"--workdir={workdir}"]
    return [*run, *SMALL, *EXTRA[name], f"--config.data.data_dir={data_dir}", *more]


def environment(devices):
    """Variables of a process of several; programs are shared by runs on one device alone."""
    return os.environ | {"XLA_FLAGS": xla_flags(devices), "JAX_PLATFORMS": "cpu"}


def train(name, data_dir, workdir, *more, devices=1):
    words = command(name, data_dir, workdir, *more)
    if devices == 1:
        return forked.run(words[2:], ROOT, timeout=400)
    options = {"cwd": ROOT, "env": environment(devices), "timeout": 400}
    return subprocess.run(words, capture_output=True, text=True, **options)


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}
