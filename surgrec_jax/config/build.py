"""Configs become frozen values here: everything below the trainer takes plain arguments."""

from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from surgrec_jax import optim, sharding
from surgrec_jax.models.attention import check_device
from surgrec_jax.models.presets import Compute, ViTConfig, preset
from surgrec_jax.objectives import Objective, Question, find_objective
from surgrec_jax.safety.errors import ConfigError

# model.preset of runs that take their architecture from `init_from` (see warm_start).
FROM_CHECKPOINT = "checkpoint"


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
