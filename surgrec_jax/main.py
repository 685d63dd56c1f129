"""Pretrains a video encoder.

    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Exit codes: 0 the run is complete; 1 an error, described in one sentence; 2 a wrong command line;
75 stopped by SIGTERM or Ctrl-C after saving (the same command continues); 76 another process of the
run was lost (start all of them again with the same command). A second SIGTERM or Ctrl-C ends the
process at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags, logging

from surgrec_jax import commands, together
from surgrec_jax.commands import CONFIG, parse_flags
from surgrec_jax.config import ConfigError, shared_values
from surgrec_jax.terminal import escape_output

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command continues it")
flags.adopt_module_key_flags(commands)  # --help lists them
flags.adopt_module_key_flags(together)

STOPPED = 75
MEMORY_REMEDY = (
    "(lower batch_size, raise accum_steps or mesh.fsdp, or set compute.remat=full; what a step "
    "takes is told by python -m surgrec_jax.compile_report)"
)


def main(argv: Sequence[str]) -> int:
    """Starts or continues the run of --config in --workdir."""
    del argv
    # Imported here: a wrong command line is answered without waiting for Grain, TFDS and Orbax.
    from data_builders.common.errors import BuildError
    from surgrec_jax import train
    from surgrec_jax.checkpoint import CheckpointError
    from surgrec_jax.health import NonFiniteError
    from surgrec_jax.lock import WorkdirInUseError

    logging.set_verbosity(logging.WARNING)
    expected = (
        ConfigError,
        BuildError,
        CheckpointError,
        NonFiniteError,
        WorkdirInUseError,
        ValueError,
        OSError,
    )

    def work() -> int:
        return 0 if train.train(CONFIG.value, Path(WORKDIR.value)) else STOPPED

    def sentence(error: Exception) -> str | None:
        no_memory = isinstance(error, MemoryError) or str(error).startswith("RESOURCE_EXHAUSTED")
        if not (isinstance(error, expected) or no_memory):
            return None
        logging.debug("traceback", exc_info=True)
        return f"surgrec_jax: {error}{f' {MEMORY_REMEDY}' if no_memory else ''}"

    return together.run(shared_values(CONFIG.value), work, sentence)


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parser, with every wrong command line answered in one sentence."""
    return parse_flags("surgrec_jax", argv, config="configs/mae.py:tiny", workdir="runs/mae_tiny")


if __name__ == "__main__":
    escape_output()
    app.run(main, flags_parser=parse)
