"""Devices to compile for: TPU slices and NVIDIA GPUs by name, none of which need be here."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence

from surgrec_jax.safety.errors import UserError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """A kind of accelerator.

    Attributes:
        memory: bytes of device memory that a program can use: what libtpu's compiler grants, or
            GPU_FRACTION of the card.
        tflops: dense bf16 peak, from the makers' data sheets.
        topologies: slices by name; any other that libtpu knows can be asked for too.
        bandwidth: of its memory in bytes/s, from NVIDIA's data sheets; 0 where it is not used.
        package: what compiling for it needs, an extra of this project.
        options: for `get_topology_desc`.
        kinds: JAX's names of it (`device_kind`), whole.
    """

    memory: int
    tflops: float
    topologies: tuple[str, ...]
    bandwidth: float = 0.0
    package: str = "tpu"
    options: tuple[tuple[str, str], ...] = ()
    kinds: tuple[str, ...] = ()


# XLA_PYTHON_CLIENT_MEM_FRACTION of the launch scripts; JAX's own default is 0.75.
GPU_FRACTION = 0.92
_FLAT = ("2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8")
_GPUS = ("1", "2", "4", "8")

CHIPS = {
    "v4": Chip(
        int(30.75 * GIB),
        275.0,
        _CUBES,
        options=(("chip_config_name", "megacore"),),
        kinds=("TPU v4",),
    ),
    "v5e": Chip(int(15.75 * GIB), 197.0, _FLAT, kinds=("TPU v5 lite", "TPU v5e")),
    "v5p": Chip(int(95.74 * GIB), 459.0, _CUBES, kinds=("TPU v5", "TPU v5p")),
    "v6e": Chip(int(31.25 * GIB), 918.0, _FLAT, kinds=("TPU v6 lite", "TPU v6e")),
    "h100": Chip(
        int(GPU_FRACTION * 85_029_158_912),
        989.0,
        _GPUS,
        3.352e12,
        "cuda",
        kinds=("NVIDIA H100 80GB HBM3",),
    ),
    "h200": Chip(
        int(GPU_FRACTION * 151_397_597_184),
        989.0,
        _GPUS,
        4.8e12,
        "cuda",
        kinds=("NVIDIA H200",),
    ),
}

# What XLA must know of a GPU it cannot ask (the text form of stream_executor.GpuTargetConfigProto).
_GPU_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  shared_memory_per_block_optin: 232448 threads_per_core_limit: 2048 core_count: 132
  fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 thread_dim_limit_x: 1024 thread_dim_limit_y: 1024
  thread_dim_limit_z: 64 registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: {bandwidth} l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: {memory} device_address_bits: 64 device_vendor: "NVIDIA Corporation"
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  name: "NVIDIA {name}" driver_version: "13.0.0" runtime_version: "13.0.0"
  compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 10 patch: 0 }}
device_description_str: "NVIDIA {name}"
"""
_GPU_VALUES = {
    "h100": {"name": "H100", "memory": 85_029_158_912},
    "h200": {"name": "H200", "memory": 151_397_597_184},
}


class TargetError(UserError, ValueError):
    """A topology that is not known, or whose compiler is not installed."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A slice of chips by name, e.g. v5e:8x8 or h200:8."""

    name: str
    kind: str
    layout: str

    @property
    def chip(self) -> Chip:
        """What one of its chips is."""
        return CHIPS[self.kind]

    @property
    def gpu(self) -> bool:
        """Whether it is made of GPUs."""
        return self.chip.package == "cuda"

    @property
    def chips(self) -> int:
        """How many there are."""
        return math.prod(map(int, self.layout.split("x")))


def known() -> str:
    """All names, for messages."""
    return "; ".join(f"{kind}:{{{','.join(c.topologies)}}}" for kind, c in CHIPS.items())


def parse(name: str) -> Target:
    """The target of a name.

    Raises:
        TargetError: no such kind of chip or layout.
    """
    kind, _, layout = name.partition(":")
    form = r"\d+" if kind in CHIPS and CHIPS[kind].package == "cuda" else r"\d+(x\d+)+"
    if kind not in CHIPS or not re.fullmatch(form, layout):
        raise TargetError(f"--topology={name} is not known; known are {known()}")
    return Target(name, kind, layout)


def check_installed(target: Target) -> None:
    """Raises TargetError where the compiler for a target is not installed."""
    module = "jax_cuda13_plugin" if target.gpu else "libtpu"
    if importlib.util.find_spec(module) is None:
        raise TargetError(
            f"compiling for {target.name} needs the package {module}: "
            f"pip install '.[{target.chip.package}]' (in an environment of its own, if this one "
            "runs on other devices)"
        )


def prepare_environment(target: Target) -> None:
    """Environment of a process that compiles for a target; call it before JAX starts.

    Raises:
        TargetError: the compiler for it is not installed.
    """
    check_installed(target)
    os.environ["JAX_PLATFORMS"] = "cpu"
    if target.gpu:
        # There is no card to time kernels on.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()
    else:
        # libtpu would look for a TPU and its neighbours, and refuse a second process.
        os.environ["TPU_SKIP_MDS_QUERY"] = "1"
        os.environ["TPU_WORKER_HOSTNAMES"] = "localhost"
        os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"


def devices(target: Target) -> Sequence:
    """The target's devices, for a mesh to compile on.

    Raises:
        TargetError: the compiler does not know this layout.
    """
    import jax
    from jax.experimental import topologies

    try:
        if target.gpu:
            described = topologies.get_topology_desc(
                platform="cuda",
                topology_name="",
                target_config=_GPU_TARGET.format(
                    bandwidth=int(target.chip.bandwidth), **_GPU_VALUES[target.kind]
                ),
                topology=f"1x1x{target.layout}",
            )
        else:
            described = topologies.get_topology_desc(
                platform="tpu", topology_name=target.name, **dict(target.chip.options)
            )
    except (jax.errors.JaxRuntimeError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise TargetError(f"--topology={target.name}: {reason}; known are {known()}") from error
    return described.devices
