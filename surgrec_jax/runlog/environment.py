"""What a run was made with: versions, devices, git revision, data fingerprints."""

import importlib.metadata
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import jax

from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

FILE = "environment.json"
PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "opencv-python"),
    *("tensorflow-datasets", "grain", "array_record", "ml_collections"),
)


def describe(sources: list[dict[str, Any]]) -> dict[str, Any]:
    """JSON values; packages that are not installed are left out."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions,
        "devices": [str(device) for device in jax.devices()],
        "processes": jax.process_count(),
        "git": git_revision(),
        "sources": sources,
    }


def git_revision() -> str | None:
    """The checked-out commit, with "+changes" where files differ; None outside a checkout."""
    here = Path(__file__).resolve().parent
    try:
        commit, status = (
            subprocess.run(
                ["git", "-C", str(here), *command], capture_output=True, text=True, check=True
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "-uno"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("+changes" if status else "")


def write(workdir: Path, sources: list[dict[str, Any]]) -> None:
    """Appends this start of the run to environment.json, a list of starts."""
    path = workdir / FILE
    try:
        starts = untrusted.read_json(path, list) if path.exists() else []
    except DataError as error:
        raise DataError(f"{error}; it lists the starts of this run: move it away") from None
    files.write_json(path, [*starts, describe(sources)])
