"""Objectives by name: what the trainer minimises."""

from __future__ import annotations

from typing import Any

from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.objectives.base import Objective
from surgrec_jax.objectives.jepa import JEPA, JEPAOptions
from surgrec_jax.objectives.mae import MAE, MAEOptions
from surgrec_jax.objectives.masking import BlockMask

__all__ = ["Objective", "make_objective"]


def make_objective(
    name: str, encoder: ViTConfig, options: dict[str, Any], compute: Compute
) -> Objective:
    """The objective of a name.

    Args:
        name: "mae" or "jepa".
        options: the fields of `MAEOptions` or `JEPAOptions`; the latter's `masks` as a sequence
            of dicts of `BlockMask` fields.

    Raises:
        ValueError: an unknown name, or options that are not possible.
    """
    if name == "mae":
        return MAE(encoder, MAEOptions(**options), compute)
    if name == "jepa":
        masks = tuple(BlockMask(**mask) for mask in options["masks"])
        return JEPA(encoder, JEPAOptions(**(options | {"masks": masks})), compute)
    raise ValueError(f"objective={name!r}: choose from ('mae', 'jepa')")
