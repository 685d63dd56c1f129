"""The frozen encoder that an objective learns from (SALT, arXiv 2509.24317).

It is another run's, or an imported one, and no checkpoint of this run holds it: it is read again at
every start, and its fingerprint in the config keeps the run to the weights it was begun with.
"""

from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from surgrec_jax.frozen import lineage
from surgrec_jax.frozen.encoder import Encoder, Params, load_encoder
from surgrec_jax.safety.errors import ConfigError


def open_teacher(config: ConfigDict) -> tuple[ConfigDict, Encoder | None]:
    """Reads the teacher that the objective's section names, with its parameters in host memory.

    Returns:
        The config with the teacher's fingerprint, and the teacher; None where none is named.

    Raises:
        CheckpointError: it cannot be read.
        ConfigError: it was trained on clips of another rate, or has not the fingerprint that the
            config states.
    """
    section = config.get(config.objective) or {}
    path = section.get("teacher")
    if not path:
        return config, None
    encoder, name = load_encoder(path), config.objective
    if encoder.fps != config.data.fps:
        raise ConfigError(
            f"{name}.teacher={path} learnt from clips of {encoder.fps:g} frames per second, and "
            f"data.fps={config.data.fps:g}: give --config.data.fps={encoder.fps:g}"
        )
    encoder.params = jax.tree.map(np.asarray, encoder.params)
    stated = section.get("teacher_fingerprint")
    if stated not in (None, encoder.fingerprint):
        raise ConfigError(
            f"{name}.teacher={path} has the fingerprint {encoder.fingerprint}, and "
            f"{name}.teacher_fingerprint={stated}: give the teacher that has it, or another "
            "--workdir without that fingerprint"
        )
    config = config.copy_and_resolve_references()
    with config.unlocked():
        config[name].teacher_fingerprint = encoder.fingerprint
    return config, encoder


def place(params: Params, abstract: Any) -> Params:
    """Parameters in host memory, equal on all processes, in the shards of an abstract tree."""

    def one(x, like):
        return jax.make_array_from_callback(x.shape, like.sharding, lambda index: x[index])

    return jax.tree.map(one, params, abstract)


def sources(config: ConfigDict, teacher: Encoder | None) -> list[dict[str, Any]]:
    """The data behind a teacher (`lineage`), which its student has seen through it."""
    if teacher is None:
        return []
    return lineage.behind(teacher.meta, str(config[config.objective].teacher))
