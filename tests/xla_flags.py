"""XLA's flags in tests: most of a test is compilation, of programs that run once.

Without LLVM's optimiser, without XLA's fusion emitters (through MLIR) and in one piece a program is
compiled in less than half the time; it is slower, which small ones do not notice.
"""

_QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",
)


def xla_flags(devices: int) -> str:
    """XLA_FLAGS of a process with so many CPU devices."""
    return " ".join([f"--xla_force_host_platform_device_count={devices}", *_QUICK])
