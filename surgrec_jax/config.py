"""Configs become frozen values here: everything below the trainer takes plain arguments."""

import json
import math
import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from surgrec_jax import config_files, optim, sharding
from surgrec_jax.models.attention import check_device
from surgrec_jax.models.presets import Compute, ViTConfig, preset
from surgrec_jax.objectives import Objective, Question, find_objective, older_runs
from surgrec_jax.safety import files, paths, untrusted
from surgrec_jax.safety.errors import ConfigError, DataError

FILE = "config.json"
# model.preset of runs that take their architecture from `init_from` (see warm_start).
FROM_CHECKPOINT = "checkpoint"

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

# Least values of the numbers that nothing else checks before they divide, or end a loop.
LEAST = {
    **dict.fromkeys(("steps", "batch_size", "accum_steps", "log_every", "stop_after"), 1),
    **dict.fromkeys(("checkpoint.every", "checkpoint.keep", "optim.reference_batch"), 1),
    **dict.fromkeys(("probe.clips", "images.clips"), 1),
    **dict.fromkeys(("model.width", "model.depth", "model.heads", "model.mlp_dim"), 1),
    **dict.fromkeys(("model.num_frames", "model.image_size", "model.tubelet", "model.patch"), 1),
    **dict.fromkeys(("max_nonfinite", "probe.every", "images.every"), 0),
    **dict.fromkeys(("checkpoint.keep_best", "checkpoint.max_failures", "data.timeout_s"), 0),
    **dict.fromkeys(("optim.warmup_steps", "optim.cooldown_steps", "optim.clip_norm"), 0),
}


def check_numbers(config: ConfigDict, least: Mapping[str, float] = LEAST) -> None:
    """Raises ConfigError for a number that is not finite or too small, before anything starts."""
    for key, value in flatten(config.to_dict()).items():
        if not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise ConfigError(f"{key}={value}: give a finite number")
        if value < least.get(key, -math.inf):
            raise ConfigError(f"{key}={value}: give at least {least[key]}")


def set_fields(values: ConfigDict | dict[str, Any]) -> dict[str, Any]:
    """The fields of a section that have a value; placeholders left open are dropped."""
    return {k: v for k, v in values.items() if v is not None}


def make_encoder(config: ConfigDict) -> ViTConfig:
    """The encoder of `config.model`: a preset, and the fields that are set besides."""
    fields = set_fields(config.model)
    size = fields.pop("image_size")
    name = fields.pop("preset")
    if name == FROM_CHECKPOINT:
        return ViTConfig(image_size=(size, size), **fields)
    return preset(name, image_size=(size, size), **fields)


def make_compute(config: ConfigDict) -> Compute:
    """The options of `config.compute`; dtype "auto" is float32 on the CPU, else bfloat16.

    Raises:
        ConfigError, ValueError: a name that does not exist, or that this device does not have.
    """
    fields = set_fields(config.compute)
    dtype = fields.pop("dtype")
    if dtype == "auto":
        dtype = "float32" if sharding.platform() == "cpu" else "bfloat16"
    if dtype not in ("float32", "bfloat16"):
        raise ConfigError(f"compute.dtype={dtype!r}: choose from ('auto', 'float32', 'bfloat16')")
    check_device(fields["attention"], jnp.dtype(dtype), sharding.device())
    return Compute(dtype=jnp.dtype(dtype), **fields)


def objective_kind(config: ConfigDict) -> type[Objective]:
    """The class of `config.objective`.

    Raises:
        ConfigError: no such objective, or a config without its section.
    """
    name, kind = config.objective, find_objective(config.objective)
    if name not in config:
        raise ConfigError(f"objective={name!r}: this config has no section {name}; see configs/")
    return kind


def build_objective(
    config: ConfigDict,
    compute: Compute | None = None,
    question: Question | None = None,
    teacher: ViTConfig | None = None,
) -> Objective:
    """The objective of `config.objective` with the options of the section of that name.

    Args:
        compute: options of `make_compute`, which is called where it is None.
        question: the labels to learn, for an objective that needs them.
        teacher: architecture of the encoder that the section's `teacher` names.
    """
    kind, compute = objective_kind(config), compute or make_compute(config)
    section = set_fields(config[config.objective].to_dict())
    context = {"preset": config.model.preset, "question": question, "teacher": teacher}
    return kind.from_config(make_encoder(config), section, compute, **context)


def build_optimizer(config: ConfigDict, decayed: tuple[str, ...]) -> optim.AdamW:
    """AdamW with the schedules of `config.optim`, learning rates scaled to the batch size."""
    o, total = config.optim, config.steps
    scale = config.batch_size / o.reference_batch
    rates = (o.start_lr * scale, o.lr * scale, o.end_lr * scale)
    if o.schedule == "cosine":
        lr = optim.warmup_cosine(*rates, o.warmup_steps, total)
    elif o.schedule == "constant":
        lr = optim.warmup_constant(*rates, o.warmup_steps, total, o.cooldown_steps)
    else:
        raise ConfigError(f"optim.schedule={o.schedule!r}: choose from ('cosine', 'constant')")
    return optim.AdamW(
        lr=lr,
        weight_decay=optim.cosine(o.weight_decay, o.end_weight_decay, total),
        decayed=decayed,
        b1=o.b1,
        b2=o.b2,
        clip_norm=o.clip_norm,
        clip_per_module=o.clip_per_module,
        layer_decay=o.get("layer_decay", 1.0),
    )


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as {"data.num_workers": 0, ...}; tuples become lists, as JSON has them."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= flatten(value, name + ".")
        else:
            flat[name] = json.loads(json.dumps(value))
    return flat


def tuples(section: Mapping[str, Any]) -> dict[str, Any]:
    """A section read from JSON, with its lists as the tuples they were."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in section.items()}


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


def load_file(text: str) -> ConfigDict:
    """The config of `FILE[:VARIANT]`, as `--config` takes it.

    Raises:
        ConfigError: no such file, or one without `get_config`.
    """
    path, _, variant = paths.local(text, "--config").partition(":")
    file = config_files.find(path)
    if not file.is_file():
        raise ConfigError(f"--config={path}: there is no such file")
    names = runpy.run_path(str(file))
    if "get_config" not in names:
        raise ConfigError(f"--config={path} has no function get_config; see configs/")
    variants = names.get("VARIANTS")
    if variant and variants and variant not in variants:
        raise ConfigError(f"{path}:{variant} does not exist: choose from {variants}")
    return names["get_config"](variant) if variant else names["get_config"]()
