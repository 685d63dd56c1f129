"""The tiny run that faults are injected into, and what is read of it."""

import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

from surgrec_jax import checkpoint
from tests.xla_flags import xla_flags

ROOT = Path(__file__).resolve().parents[2]
# One layer of width 16 on 4 frames of 16 pixels: a step takes a millisecond or two.
TINY = {
    "batch_size": 4,
    "model.width": 16,
    "model.depth": 1,
    "model.heads": 1,
    "model.mlp_dim": 32,
    "model.num_frames": 4,
    "model.image_size": 16,
    "model.tubelet": 2,
    "model.patch": 8,
    "mae.mask_ratio": 0.5,
    "mae.decoder_depth": 1,
    "mae.decoder_width": 16,
    "mae.decoder_heads": 1,
    "optim.warmup_steps": 2,
    "data.sources": "synthetic",
    "data.num_threads": 0,
    "probe.every": 0,
    "images.every": 0,
    "log_every": 1,
    "checkpoint.every": 5,
}


class FaultError(AssertionError):
    """A fault had an outcome that the guarantees exclude."""


def expect(condition: object, text: str) -> None:
    """Raises FaultError with the text unless the condition holds."""
    if not condition:
        raise FaultError(text)


def make_data(folder: Path) -> Path:
    """A prepared data set of 8 records of small noise frames, once."""
    if not (folder / "synthetic").exists():
        code = (
            "import pathlib, sys; from surgrec_jax.bench.synthetic import write_synthetic;"
            "write_synthetic(pathlib.Path(sys.argv[1]), records=8, frames=12, short_side=24)"
        )
        # In a process of its own: writing starts threads, and this one may be forked.
        subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=ROOT)
    return folder


def arguments(workdir: Path, data_dir: Path, **changes: object) -> list[str]:
    """Arguments of surgrec_jax.main; keys of `changes` have __ where config keys have a dot."""
    values = TINY | {"data.data_dir": data_dir}
    values |= {key.replace("__", "."): value for key, value in changes.items()}
    return [
        f"--config={ROOT / 'configs' / 'mae.py'}:tiny",
        f"--workdir={workdir}",
        *(f"--config.{key}={value}" for key, value in values.items()),
    ]


# For each of several processes of one run: the cache is not safe there (sharding.make_mesh).
SEVERAL = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo", "JAX_ENABLE_COMPILATION_CACHE": "false"}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """One CPU device, compiled programs kept in `folder` between runs."""
    kept = {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": xla_flags(1),
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    return os.environ | kept | more


def run(
    folder: Path, args: list[str], *, env: dict[str, str] | None = None, prefix: list[str] = ()
) -> subprocess.Popen:
    """Starts surgrec_jax.main with its stderr in a pipe, behind a command that `prefix` gives."""
    return subprocess.Popen(
        [*prefix, sys.executable, "-m", "surgrec_jax.main", *args],
        cwd=folder,
        env=env or environment(folder),
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(
    folder: Path, args: list[str], *, env: dict[str, str] | None = None, timeout: float = 300
) -> tuple[int, str]:
    """Exit code and stderr of a run."""
    process = run(folder, args, env=env)
    try:
        _, stderr = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return process.returncode, stderr


def losses(workdir: Path) -> dict[int, float]:
    """Step -> loss as the metrics file has it, without a line that is being written."""
    path = workdir / "metrics.jsonl"
    if not path.exists():
        return {}
    text = path.read_text()
    lines = [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def wait_for_step(
    workdir: Path, step: int, process: subprocess.Popen, timeout: float = 240
) -> None:
    """Returns when a run has logged a step and committed a save, which takes its time beside the
    steps; raises FaultError if it ends or takes too long."""
    deadline = time.monotonic() + timeout
    saved = workdir / "checkpoints"
    while max(losses(workdir), default=0) < step or not checkpoint.steps_in(saved):
        if process.poll() is not None:
            said = process.stderr.read() if process.stderr else ""
            raise FaultError(f"the run ended with {process.returncode} before step {step}: {said}")
        expect(time.monotonic() < deadline, f"step {step}, saved, was not reached in {timeout} s")
        time.sleep(0.02)


def arrays(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every array of a saved step."""
    location = checkpoint.find(workdir, step)
    checkpoint.checksums.check(location)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is on one device, as it was
        tree = ocp.PyTreeCheckpointHandler().restore((location.path / "state").absolute())
    flat: dict[str, np.ndarray] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, one in items:
                walk(f"{prefix}/{key}", one)
        elif value is not None:
            flat[prefix] = np.asarray(value)

    walk("", tree)
    return flat


def expect_same(a: Path, b: Path, step: int | None = None) -> None:
    """Raises FaultError unless losses and saved arrays of two workdirs agree to the bit."""
    first, second = losses(a), losses(b)
    if step is not None:
        first, second = ({k: v for k, v in x.items() if k <= step} for x in (first, second))
    different = [k for k in first.keys() | second.keys() if first.get(k) != second.get(k)]
    expect(not different, f"losses differ at {len(different)} steps, e.g. {sorted(different)[:5]}")
    one, two = arrays(a, step), arrays(b, step)
    expect(one.keys() == two.keys(), "the checkpoints have different arrays")
    for name, value in one.items():
        expect(value.tobytes() == two[name].tobytes(), f"array {name} differs")


def first_step(stderr: str) -> int | None:
    """The step a run said that it continues from; None if it has not said so."""
    match = re.search(r": steps (\d+) to \d+ of", stderr)
    return int(match[1]) if match else None
