"""The environment of a command that a test starts on one CPU device.

Commands of one test run share the programs that they compile: half of the time of a short command
is compilation, and tests start the same command again and again (to go on, to compare).
"""

import atexit
import os
import shutil
import tempfile

from tests.xla_flags import xla_flags

_FOLDER = "SURGREC_TEST_PROGRAMS"  # the workers of pytest-xdist inherit it


def make_folder() -> None:
    """Makes the folder of compiled programs, for this process and those it starts."""
    if _FOLDER not in os.environ:
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix="programs-")
        atexit.register(shutil.rmtree, os.environ[_FOLDER], ignore_errors=True)


def environment(**more: str) -> dict[str, str]:
    """Variables of a process with one device; several devices must not share programs."""
    kept = {
        "JAX_COMPILATION_CACHE_DIR": os.environ[_FOLDER],
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
    }
    return os.environ | {"XLA_FLAGS": xla_flags(1), "JAX_PLATFORMS": "cpu"} | kept | more
