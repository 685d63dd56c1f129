"""Compiles a config's training step for a target, and says what it takes."""

import re
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from surgrec_jax import sharding
from surgrec_jax.compile_report import hlo, kernels
from surgrec_jax.compile_report.targets import GIB, Target, devices
from surgrec_jax.setup import build_setup, make_mesh

# What XLA says of a program that does not fit in a TPU's memory.
_OUT_OF_MEMORY = re.compile(r"Used ([\d.]+)([KMGT]) of ([\d.]+)([KMGT]) hbm")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def report(config: ConfigDict, target: Target) -> dict[str, Any]:
    """Compiles the step that `surgrec_jax.main` would run on the target, and describes it.

    Nothing is executed and no parameter is allocated. A program that does not fit is reported
    with `fits` False and what the compiler says that it needs.

    Raises:
        ValueError: a config that the target cannot run, as in training.
    """
    mesh = make_mesh(config, devices(target))
    setup = build_setup(config, mesh)
    with jax.set_mesh(mesh):
        spread = sharding.batch_sharding(mesh)
        batch = {"video": jax.ShapeDtypeStruct(setup.clips_shape, np.uint8, sharding=spread)}
        traced = setup.step.trace(setup.abstract, batch)
        lowered = traced.lower(lowering_platforms=("cuda" if target.gpu else "tpu",))
        began = time.perf_counter()
        try:
            compiled = lowered.compile()
        except jax.errors.JaxRuntimeError as error:
            compiled, needed = None, _needed(error)
    seconds = time.perf_counter() - began
    per_step = setup.objective.flops() * config.batch_size
    figures = {
        "topology": target.name,
        "device": mesh.devices.flat[0].device_kind,
        "chips": mesh.size,
        "objective": config.objective,
        "preset": config.model.preset,
        "parameters_m": setup.parameters / 1e6,
        "mesh": dict(mesh.shape),
        "batch_size": config.batch_size,
        "batch_per_chip": config.batch_size / mesh.size / config.accum_steps,
        "accum_steps": config.accum_steps,
        "dtype": str(np.dtype(setup.objective.compute.dtype)),
        "attention": config.compute.attention,
        "remat": config.compute.remat,
        "model_tflop_per_step": per_step / 1e12,
        "seconds_per_step_at_40_percent_of_peak": (
            per_step / mesh.size / (0.4e12 * target.chip.tflops)
        ),
        "compile_s": seconds,
        "state_gib_per_chip": _state_gib(setup.abstract),
    }
    if compiled is None:
        memory = {"total": needed / GIB}
    else:
        memory = _memory_gib(compiled.memory_analysis())
        text = compiled.as_text()
        figures["collectives"] = hlo.summary(hlo.collectives(text))
        if target.gpu:
            figures |= _kernels(text, target, per_step / mesh.size)
    limit = target.chip.memory / GIB
    fits = compiled is not None and memory["total"] <= limit
    return figures | {"memory_gib_per_chip": memory, "limit_gib_per_chip": limit, "fits": fits}


def largest_batch(
    config: ConfigDict,
    target: Target,
    guess: int = 1,
    keep: Callable[[dict[str, Any]], None] = lambda figures: None,
) -> dict[str, Any]:
    """The report of the largest batch per chip, a power of two, that fits on the target.

    Starts at a guess and compiles again only where the memory that one clip takes, as the last
    report has it, does not settle the matter by a tenth.

    Returns:
        the report of the batch that fits, or of one clip a chip where none does; `tried` maps the
        batches per chip that were compiled to the GiB they need.
    """
    size, tried = max(guess, 1), {}
    best: dict[str, Any] = {}
    while str(size) not in tried:
        with config.unlocked():
            config.batch_size = size * target.chips * config.accum_steps
        now = report(config, target)
        needed, limit = now["memory_gib_per_chip"]["total"], now["limit_gib_per_chip"]
        tried[str(size)] = needed
        if now["fits"]:
            best = now if now["batch_size"] >= best.get("batch_size", 0) else best
            fixed = sum(now["state_gib_per_chip"].values())
            reach = (limit - fixed) / max((needed - fixed) / size, 1e-9)
            # The next power of two is worth a compilation where it might fit.
            size = max(2 * size, _power_of_two(reach)) if 2 * size <= 1.1 * reach else size
        else:
            best = best or (now if size == 1 else {})
            size = max(1, min(size // 2, _power_of_two(size * limit / needed)))
        if best:
            keep(best | {"tried": tried, "searched": str(size) in tried})
    return best | {"tried": tried, "searched": True}


def _kernels(text: str, target: Target, flops_per_chip: float) -> dict[str, Any]:
    """What the kernels of a GPU's step must do, and the MFU that they cannot exceed."""
    peak = 1e12 * target.chip.tflops
    table = kernels.summary(kernels.kernels(text), peak, target.chip.bandwidth)
    least = sum(kind["least_seconds"] for kind in table.values())
    return {"kernels": table, "mfu_at_most": flops_per_chip / peak / least}


def _power_of_two(x: float) -> int:
    return 1 << max(int(np.log2(max(x, 1))), 0)


def _needed(error: Exception) -> float:
    """Bytes that the compiler says a program needs; the error itself if it is another one."""
    match = _OUT_OF_MEMORY.search(str(error))
    if not match:
        raise error
    return float(match[1]) * _UNITS[match[2]]


def _state_gib(abstract: dict[str, Any]) -> dict[str, float]:
    """GiB of each part of the state on one chip."""

    def size(tree) -> float:
        shards = ((x.sharding.shard_shape(x.shape), x.dtype) for x in jax.tree.leaves(tree))
        return sum(np.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in shards) / GIB

    return {k: float(size(v)) for k, v in abstract.items() if k != "step"}


def _memory_gib(stats: Any) -> dict[str, float]:
    """What the program holds on a chip, by kind; `total` is what must fit."""
    kinds = {
        "arguments": stats.argument_size_in_bytes,
        "results_not_in_place": stats.output_size_in_bytes - stats.alias_size_in_bytes,
        "temporaries": stats.temp_size_in_bytes,
        "code": stats.generated_code_size_in_bytes,
    }
    host = stats.host_temp_size_in_bytes
    total = {"total": sum(kinds.values()) / GIB}
    return {k: v / GIB for k, v in kinds.items()} | total | {"host": host / GIB}
