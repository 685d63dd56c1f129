"""Objectives by name: what the trainer minimises."""

from __future__ import annotations

from typing import Any

from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives.augment import Mixing
from surgrec_jax.objectives.base import Objective
from surgrec_jax.objectives.classify import Classify, ClassifyOptions, Question
from surgrec_jax.objectives.jepa import JEPA, JEPAOptions
from surgrec_jax.objectives.mae import MAE, MAEOptions
from surgrec_jax.objectives.masking import BlockMask
from surgrec_jax.safety.errors import ConfigError

__all__ = ["Classify", "Objective", "Question", "make_classify", "make_objective"]


def make_objective(
    name: str, encoder: ViTConfig, options: dict[str, Any], compute: Compute
) -> Objective:
    """The objective of a name.

    Args:
        name: "mae" or "jepa".
        options: the fields of `MAEOptions` or `JEPAOptions`; the latter's `masks` as a sequence
            of dicts of the arguments of `BlockMask.on` and the other `BlockMask` fields.

    Raises:
        ConfigError: an unknown name, or options that are not possible.
    """
    if name == "mae":
        return MAE(encoder, MAEOptions(**options), compute)
    if name == "jepa":
        masks = tuple(BlockMask.on(encoder.grid, **mask) for mask in options["masks"])
        return JEPA(encoder, JEPAOptions(**(options | {"masks": masks})), compute)
    raise ConfigError(f"objective={name!r}: choose from ('mae', 'jepa')")


def make_classify(
    encoder: ViTConfig, options: dict[str, Any], question: Question, compute: Compute
) -> Classify:
    """Supervised fine-tuning on a question.

    Args:
        options: the fields of `ClassifyOptions`; its `mixing` as a dict of `Mixing` fields.

    Raises:
        ConfigError: options that are not possible.
    """
    mixing = Mixing(**options["mixing"])
    chosen = ClassifyOptions(**(options | {"mixing": mixing}))
    return Classify(encoder, chosen, question, compute)
