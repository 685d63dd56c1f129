"""Objectives by name: what the trainer minimises (docs/extending.md adds one)."""

from surgrec_jax.objectives.base import Objective, Question
from surgrec_jax.objectives.classify import Classify
from surgrec_jax.objectives.jepa import JEPA
from surgrec_jax.objectives.mae import MAE
from surgrec_jax.safety.errors import ConfigError

__all__ = ["OBJECTIVES", "Objective", "Question", "find_objective"]

# Code outside of this package may add its own before a run begins, e.g. the config file.
OBJECTIVES: dict[str, type[Objective]] = {
    "mae": MAE,
    "jepa": JEPA,
    "classify": Classify,
}


def find_objective(name: str) -> type[Objective]:
    """The class of a name.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in OBJECTIVES:
        raise ConfigError(f"objective={name!r}: choose from {tuple(OBJECTIVES)}")
    return OBJECTIVES[name]
