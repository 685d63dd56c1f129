"""Checkpoints: asynchronous saves with Orbax, checksums, strict restores, reading parts of them.

<workdir>/checkpoints/<step>/state           the training state, an OCDBT array store
<workdir>/checkpoints/<step>/meta.json       architecture, clip, data and config of the arrays
<workdir>/checkpoints/<step>/manifest.json   sizes and checksums of all files, shapes and dtypes
<workdir>/checkpoints/<step>.tmp             a save under way, or an interrupted one
<workdir>/checkpoints-damaged/               damaged steps, for inspection
"""

from surgrec_jax.checkpoint.locations import (
    CheckpointError,
    DamagedError,
    Location,
    MismatchError,
    beside,
    find,
    steps_in,
)
from surgrec_jax.checkpoint.manager import Checkpoints
from surgrec_jax.checkpoint.reading import parts, read_meta, restore_state

__all__ = [
    "CheckpointError",
    "Checkpoints",
    "DamagedError",
    "Location",
    "MismatchError",
    "beside",
    "find",
    "parts",
    "read_meta",
    "restore_state",
    "steps_in",
]
