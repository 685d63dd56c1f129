"""The config that a workdir was begun with: which values a run that goes on may change."""

import json
import re
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from surgrec_jax.config.values import flatten
from surgrec_jax.objectives import older_runs
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import ConfigError, DataError

FILE = "config.json"

# The processes of one run may each have their own values of these keys.
OWN_OF_A_PROCESS = ("data.data_dir", "data.num_workers", "data.num_threads", "data.timeout_s")

# These keys may differ when a workdir is continued: none of them changes the numbers of a run by
# more than the order of float sums (so not compute.dtype).
FREE_TO_CHANGE = (
    *(
        *OWN_OF_A_PROCESS,
        "data.max_bad_share",
        "data.allow_changed",
        "log_every",
        "profile_steps",
        "max_nonfinite",
    ),
    *("checkpoint", "probe.every", "probe.sources", "probe.tracks", "images"),
    *("accum_steps", "mesh", "stop_after"),
    *("compute.attention", "compute.remat", "compute.unroll"),
    "jepa.teacher",  # where it lies: jepa.teacher_fingerprint says what it is
)


def shared_values(config: ConfigDict) -> dict[str, Any]:
    """The values that must be the same on all processes of a run, flat."""
    flat = flatten(config.to_dict())
    return {key: value for key, value in flat.items() if key not in OWN_OF_A_PROCESS}


def begun(workdir: Path) -> bool:
    """Whether a run has saved a step in a workdir, whole or damaged.

    Before that nothing holds it to the config, data or architecture it was started with: they may
    have been its mistake.
    """
    folders = [workdir / name for name in ("checkpoints", "checkpoints-damaged")]
    saved = (path.name for folder in folders if folder.is_dir() for path in folder.iterdir())
    return any(re.fullmatch(r"\d+(-\d+)?", name) for name in saved)


def read_config(path: Path) -> dict[str, Any]:
    """Reads a workdir's config.json; keys that are younger than the file get their old meaning.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    return older_runs.complete_config(untrusted.read_json(path))


def check_workdir(config: ConfigDict, workdir: Path, *, write: bool = True) -> None:
    """Writes config.json, or compares it with the one a run was begun with.

    Args:
        write: whether this process writes; one of a run does.

    Raises:
        ConfigError: a value differs that would make it another run.
    """
    path = workdir / FILE
    now = json.loads(json.dumps(config.to_dict()))
    if not begun(workdir) or not path.exists():
        if write:
            files.write_json(path, now)
        return
    try:
        before = flatten(read_config(path))
    except DataError as error:
        raise ConfigError(
            f"{path} cannot be read ({error}): restore it from a checkpoint's config or a copy"
        ) from error
    after = flatten(now)
    kinds = before.get("objective"), after.get("objective")
    if kinds[0] != kinds[1]:
        raise ConfigError(
            f"{workdir} holds a run of {kinds[0]}, and this config is of {kinds[1]}: give another "
            f"--workdir; it begins from that encoder by --config.init_from={workdir}"
        )
    changed = [
        f"{key}: {before.get(key)!r} -> {after.get(key)!r}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
        and not any(key == free or key.startswith(free + ".") for free in FREE_TO_CHANGE)
    ]
    if changed:
        raise ConfigError(
            f"{workdir} was begun with another config ({'; '.join(changed)}). Continue with the "
            f"values in {path}, give another --workdir, or go on from here with the new values in "
            f"another --workdir by --config.continue_from={workdir}"
        )
