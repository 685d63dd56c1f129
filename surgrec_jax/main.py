"""Pretrains a video encoder.

    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Exit codes: 0 the run is complete; 1 an error, described in one sentence, or a bug, with its
traceback; 2 a wrong command line; 75 stopped by SIGTERM or Ctrl-C after saving (the same command
continues); 76 another process of the run was lost (start all of them again with the same command).
A second SIGTERM or Ctrl-C ends the process at once.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import flags

from surgrec_jax import commands
from surgrec_jax.commands import CONFIG, quiet
from surgrec_jax.config.workdir import shared_values
from surgrec_jax.hosts import launch_flags
from surgrec_jax.safety.errors import UserError, out_of_memory

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command continues it")
flags.adopt_module_key_flags(commands)  # --help lists them
flags.adopt_module_key_flags(launch_flags)

NEEDED = {"config": "configs/mae.py:tiny", "workdir": "runs/mae_tiny"}
STOPPED = 75
MEMORY_REMEDY = (
    "(lower batch_size, raise accum_steps or mesh.fsdp, or set compute.remat=full; what a step "
    "takes is told by python -m surgrec_jax.compile_report)"
)


def main(argv: Sequence[str]) -> int:
    """Starts or continues the run of --config in --workdir."""
    del argv
    # Grain, TFDS and Orbax are imported here, so that a wrong command line need not wait for them.
    from surgrec_jax import train

    quiet()

    def work() -> int:
        try:
            return 0 if train.train(CONFIG.value, Path(WORKDIR.value)) else STOPPED
        except (MemoryError, RuntimeError) as error:  # JAX raises a RuntimeError
            if out_of_memory(error):
                raise UserError(f"{error} {MEMORY_REMEDY}") from error
            raise

    return launch_flags.run("surgrec_jax", shared_values(CONFIG.value), work)


if __name__ == "__main__":
    commands.start("surgrec_jax", main, **NEEDED)
