"""The clocks of the benchmarks, and what else they measure of this process and machine."""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Calls a function; returns its result, seconds, and CPU seconds of this process."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def memory(key: str) -> float:
    """Bytes of memory of this process, by a name in Linux's /proc such as VmRSS; elsewhere NaN."""
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return float("nan")
    return 1024.0 * int(status.split(f"{key}:")[1].split()[0])


def machine() -> str:
    """The processor's architecture and the number of its cores."""
    return f"{platform.machine()}, {os.cpu_count()} CPU cores"
