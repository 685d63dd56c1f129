"""Pretrains a video encoder.

    python -m surgrec_jax.main --config=configs/mae.py:tiny --workdir=runs/mae_tiny

Exit codes: 0 the run is complete; 1 an error, described in one
sentence, or a bug, with its traceback; 2 a wrong command line;
75 stopped by SIGTERM or Ctrl-C after saving (the same command continues); 76 another process of the
run was lost (start all of them again with the same command). A second SIGTERM or Ctrl-C ends the
process at once.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from surgrec_jax import commands
from surgrec_jax.commands import CONFIG, parse_flags, quiet
from surgrec_jax.config import shared_values
from surgrec_jax.hosts import launch_flags
from surgrec_jax.safety.errors import UserError, out_of_memory
from surgrec_jax.safety.terminal import escape_output

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run; the same command continues it")
flags.adopt_module_key_flags(commands)  # --help lists them
flags.adopt_module_key_flags(launch_flags)

STOPPED = 75
MEMORY_REMEDY = (
    "(lower batch_size, raise accum_steps or mesh.fsdp, or set compute.remat=full; what a step "
    "takes is told by python -m surgrec_jax.compile_report)"
)


def main(argv: Sequence[str]) -> int:
    """Starts or continues the run of --config in --workdir."""
    del argv
    # Imported here: a wrong command line is answered without waiting for Grain, TFDS and Orbax.
    from surgrec_jax import train

    quiet()

    def work() -> int:
        try:
            return 0 if train.train(CONFIG.value, Path(WORKDIR.value)) else STOPPED
        except (MemoryError, RuntimeError) as error:  # JAX's own is a RuntimeError
            if out_of_memory(error):
                raise UserError(f"{error} {MEMORY_REMEDY}") from error
            raise

    return launch_flags.run("surgrec_jax", shared_values(CONFIG.value), work)


def parse(argv: Sequence[str]) -> list[str]:
    """absl's parser, with every wrong command line answered in one sentence."""
    return parse_flags("surgrec_jax", argv, config="configs/mae.py:tiny", workdir="runs/mae_tiny")


if __name__ == "__main__":
    escape_output()
    app.run(main, flags_parser=parse)
