"""Values of configs: flat, in range, and read from text by type, with the nearest names of keys."""

import ast
import difflib
import json
import math
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from surgrec_jax.safety.errors import ConfigError

# How other programs call what configs have, by the end of a key: `learning_rate` for optim.lr.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate", "base_lr", "peak_lr", "blr", "lrate"),
    "end_lr": ("min_lr", "final_lr"),
    "start_lr": ("warmup_lr", "init_lr"),
    "batch_size": ("bs", "batch", "batchsize", "global_batch_size", "train_batch_size"),
    "steps": ("epochs", "num_epochs", "iterations", "iters", "max_steps", "num_steps"),
    "weight_decay": ("wd", "decay", "l2"),
    "warmup_steps": ("warmup", "warmup_epochs", "num_warmup_steps"),
    "clip_norm": ("grad_clip", "clip_grad", "max_grad_norm", "gradient_clip"),
    "accum_steps": ("grad_accum", "accum_iter", "gradient_accumulation_steps", "update_freq"),
    "b1": ("beta1", "betas"),
    "b2": ("beta2", "betas"),
    "momentum": ("ema", "ema_decay", "target_momentum"),
    "layer_decay": ("llrd", "layer_wise_lr_decay"),
    "num_frames": ("frames", "clip_len", "clip_length", "frames_per_clip"),
    "image_size": ("img_size", "resolution", "size", "input_size", "crop_size"),
    "patch": ("patch_size",),
    "tubelet": ("tubelet_size",),
    "preset": ("arch", "architecture", "backbone", "model_name"),
    "num_threads": ("threads",),
    "num_workers": ("workers",),
    "data.sources": ("dataset", "datasets", "source", "sources"),
    "data_dir": ("data_path", "data_root", "dataset_dir"),
    "init_from": ("pretrained", "weights", "checkpoint", "ckpt", "finetune"),
    "continue_from": ("resume", "resume_from"),
    "checkpoint.every": ("save_every", "save_freq", "save_steps"),
    "probe.every": ("eval_every", "eval_steps", "eval_freq"),
    "log_every": ("log_freq", "log_interval", "logging_steps"),
    "dtype": ("precision", "amp", "bf16", "fp16"),
    "remat": ("gradient_checkpointing", "activation_checkpointing", "grad_checkpointing"),
    "track": ("label", "labels", "target"),
    "source": ("dataset", "sources"),
    "out": ("output", "output_dir", "out_dir"),
    "checkpoints": ("checkpoint", "models", "runs"),
}

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

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", tuple: "a tuple"}
_WORDS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def check_numbers(config: ConfigDict, least: Mapping[str, float] = LEAST) -> None:
    """Raises ConfigError for a number that is not finite or too small, before anything starts."""
    for key, value in flatten(config.to_dict()).items():
        if not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise ConfigError(f"{key}={value}: give a finite number")
        if value < least.get(key, -math.inf):
            raise ConfigError(f"{key}={value}: give at least {least[key]}")


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


def keys_of(config: ConfigDict, prefix: str = "") -> dict[str, type]:
    """Every key of a config, nested ones with dots, with the type of its value."""
    found: dict[str, type] = {}
    for name in config:
        key, value = prefix + name, config[name]
        if isinstance(value, ConfigDict):
            found |= keys_of(value, key + ".")
        else:
            found[key] = config.get_type(name)
    return found


def same_meaning(config: ConfigDict, key: str) -> list[str]:
    """The keys that mean what `key` says: by its end, or by what other programs call it."""
    known, last = keys_of(config), key.rpartition(".")[2].replace("-", "_").lower()
    ends = {last, *(end for end, others in SYNONYMS.items() if last in others)}
    return [name for name in known if any(name == e or name.endswith("." + e) for e in ends)]


def unknown_key_hint(config: ConfigDict, key: str) -> str:
    """The nearest names to a key that does not exist, by meaning, then by letters."""
    names = list(keys_of(config))
    near = same_meaning(config, key)
    near += [k for k in difflib.get_close_matches(key, names, n=3, cutoff=0.5) if k not in near]
    return f"the nearest are {', '.join(near[:3])}" if near else f"the keys are {', '.join(names)}"


def read_value(config: ConfigDict, key: str, text: str) -> object:
    """The value that a text gives to a key.

    Args:
        key: with dots, without `config.` before it.

    Raises:
        ConfigError: no such key, a section instead of a value, or a text of another type.
    """
    known = keys_of(config)
    if key not in known:
        inside = [name for name in known if name.startswith(key + ".")]
        if inside:
            raise ConfigError(
                f"--config.{key} is a section: give one of its values, e.g. --config.{inside[0]}"
            )
        raise ConfigError(f"--config.{key} does not exist; {unknown_key_hint(config, key)}")
    kind = known[key]
    try:
        if kind is bool:
            return _WORDS[text.lower()]
        if kind in (int, float):
            return kind(text)
        return text if kind is str else ast.literal_eval(text)
    except (KeyError, ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        parts = key.split(".")
        section = config[".".join(parts[:-1])] if parts[:-1] else config
        default = section[parts[-1]]
        raise ConfigError(
            f"--config.{key}={text} is not {_KINDS.get(kind, 'such a value')}"
            + ("" if default is None else f"; the config has {default!r}")
        ) from None
