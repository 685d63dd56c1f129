"""The training step: time, clips/s, tokens/s, model FLOP/s, memory and compile time.

With --data the clips come through the real loader, and the share of time that the step waits for
them is printed; without, one random batch is used again and again. Needs neither grain nor TFDS
unless --data is given.

With --compare=torch the same step in PyTorch is timed in turn with it (see bench/torch_step.py):
CPU seconds on a CPU, seconds on a GPU. Let both keep the memory that they free
(docs/performance.md), or page faults are what is compared. With --compare=CONFIG it is the step of
another config, with the same changes of --set and its own: what objectives cost beside each other.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from surgrec_jax import commands, sharding
from surgrec_jax.bench.timing import timed
from surgrec_jax.compile_report.targets import CHIPS
from surgrec_jax.safety.errors import ConfigError
from surgrec_jax.setup import Setup, build_setup, make_mesh
from surgrec_jax.warm_start import WarmStart

# Dense bf16 peak of one chip in TFLOP/s by JAX's whole name of it; others have no MFU. (An H100
# PCIe, an NVL or a part of a card is slower than the card of the shorter name.)
PEAK_TFLOPS = {kind: chip.tflops for chip in CHIPS.values() for kind in chip.kinds}
PEAK_TFLOPS |= {"NVIDIA A100-SXM4-40GB": 312.0, "NVIDIA A100-SXM4-80GB": 312.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `bench step`."""
    parser.add_argument("--config", default="configs/mae.py:tiny", help="config file[:variant]")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="KEY=VALUE", help="config values to change"
    )
    parser.add_argument("--steps", type=int, default=20, help="timed steps, after two to warm up")
    parser.add_argument("--data", action="store_true", help="feed it from the real loader")
    parser.add_argument(
        "--compare",
        nargs="+",
        metavar="torch | CONFIG [KEY=VALUE]",
        help="time this beside it, in turn: the same in PyTorch, or another config file[:variant] "
        "with the values of --set and its own",
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="of torch on a CPU; ours takes all"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Compiles and times the step; returns the figures to print.

    Raises:
        ConfigError: the config does not work, or the two steps cannot be compared.
    """
    torch_device = ""
    if args.compare and args.data:
        raise ConfigError(
            f"--data and --compare={args.compare[0]}: the loader would run while the other is "
            "timed; leave one out"
        )
    if args.compare and args.compare[0] == "torch":
        from surgrec_jax.bench import torch_step

        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave torch some memory
        torch_device = torch_step.pick_device(jax.default_backend(), jax.device_count())
    config = commands.load_config(args.config, args.set, "surgrec_jax")
    if args.data:
        config = WarmStart(config).complete()  # with the sources of a config that names none
    setup = build_setup(config, make_mesh(config))
    with jax.set_mesh(setup.mesh):
        return _measure(setup, args, torch_device)


def _measure(setup: Setup, args: argparse.Namespace, torch_device: str) -> dict[str, Any]:
    clips = np.random.default_rng(0).integers(0, 256, setup.clips_shape, np.uint8)
    batch = sharding.put_batch({"video": clips}, setup.mesh)
    step, abstract = setup.step, setup.abstract
    compiled, compile_s, _ = timed(lambda: step.lower(abstract, batch).compile())
    state = setup.init()
    other, described = _other_step(setup, clips, args, torch_device)
    seconds, waits, work = [], [], []
    with _batches(setup.config, batch, args) as batches:
        for _ in range(args.steps + 2):
            began, cpu = time.perf_counter(), time.process_time()
            inputs = next(batches)
            waited = time.perf_counter() - began
            state, metrics = compiled(state, inputs)
            jax.block_until_ready(metrics)
            seconds.append(time.perf_counter() - began)
            waits.append(waited)
            spent = time.process_time() - cpu
            work.append((spent, *timed(other)[1:]))
    seconds, waits, work = np.array(seconds[2:]), np.array(waits[2:]), np.array(work[2:])
    figures = _figures(setup, compiled, seconds, waits, compile_s, args)
    figures["step_cpu_s_median"] = float(np.median(work[:, 0]))
    if args.compare:
        name = "torch" if torch_device else "other"
        figures |= _comparison(name, seconds, work, described)
    return figures


def _other_step(
    setup: Setup, clips: np.ndarray, args, torch_device: str
) -> tuple[Callable[[], None], dict[str, Any]]:
    if torch_device:
        from surgrec_jax.bench import torch_step

        objective, threads = setup.objective, args.threads
        return torch_step.make_step(objective, clips, device=torch_device, threads=threads)
    if args.compare:
        name, *changes = args.compare
        return _step_of(name, [*args.set, *changes])
    return (lambda: None), {}


def _step_of(name: str, changes: list[str]) -> tuple[Callable[[], None], dict[str, Any]]:
    """A function that takes a step of another config, on random clips, and figures about it."""
    config = commands.load_config(name, changes)
    setup = build_setup(config, make_mesh(config))
    clips = np.random.default_rng(0).integers(0, 256, setup.clips_shape, np.uint8)
    batch = sharding.put_batch({"video": clips}, setup.mesh)
    with jax.set_mesh(setup.mesh):
        compiled, state = setup.step.lower(setup.abstract, batch).compile(), setup.init()

    def step() -> None:
        nonlocal state
        state, metrics = compiled(state, batch)
        jax.block_until_ready(metrics)

    return step, {
        "config": name,
        "parameters_m": setup.parameters / 1e6,
        "batch_size": setup.config.batch_size,
        "model_tflop": setup.objective.flops() * setup.config.batch_size / 1e12,
    }


def _comparison(
    name: str, seconds: np.ndarray, work: np.ndarray, described: dict
) -> dict[str, Any]:
    """Figures of steps taken in turn.

    Args:
        name: of the other's figures.
        seconds: [steps] of ours.
        work: [steps, 3] CPU seconds of ours, seconds and CPU seconds of the other.
        described: figures about the other.
    """
    ours, other_seconds, other = work.T
    pairs = {"cpu": ours / other, "time": seconds / other_seconds}
    quantiles = {k: [float(q) for q in np.quantile(v, (0.5, 0.05, 0.95))] for k, v in pairs.items()}
    return {
        name: {
            **described,
            "step_ms_median": 1e3 * float(np.median(other_seconds)),
            "step_cpu_s_median": float(np.median(other)),
        },
        f"over_{name}": {
            "cpu_median": quantiles["cpu"][0],
            "cpu_5_95": quantiles["cpu"][1:],
            "time_median": quantiles["time"][0],
            "time_5_95": quantiles["time"][1:],
        },
    }


@contextlib.contextmanager
def _batches(config, batch, args):
    if not args.data:
        yield iter(lambda: batch, None)
        return
    from surgrec_jax import inputs

    mesh = jax.sharding.get_mesh()
    sources = inputs.open_sources(config)
    with inputs.training_batches(config, sources, 0, args.steps + 2) as batches:
        yield (sharding.put_batch({"video": b["video"]}, mesh) for b in batches)


def _figures(setup: Setup, compiled, seconds, waits, compile_s, args) -> dict[str, Any]:
    config, objective = setup.config, setup.objective
    device = jax.devices()[0]
    median = float(np.median(seconds))
    tflops = objective.flops() * config.batch_size / 1e12
    peak = PEAK_TFLOPS.get(device.device_kind)
    memory = compiled.memory_analysis()
    figures = {
        "config": args.config,
        "device": f"{jax.device_count()} x {device.device_kind}",
        "parameters_m": setup.parameters / 1e6,
        "batch_size": config.batch_size,
        "step_ms_median": 1e3 * median,
        "step_ms_5_95": [1e3 * float(q) for q in np.quantile(seconds, (0.05, 0.95))],
        "clips_per_s": config.batch_size / median,
        "tokens_per_s": config.batch_size * objective.encoder.num_tokens / median,
        "model_tflop_per_s": tflops / median,
        "mfu": tflops / median / (peak * jax.device_count()) if peak else None,
        "temporary_mib": memory.temp_size_in_bytes / 2**20,
        "arguments_mib": memory.argument_size_in_bytes / 2**20,
        "compile_s": compile_s,
    }
    if args.data:
        figures["data_wait"] = float(waits.sum() / seconds.sum())
    return figures
