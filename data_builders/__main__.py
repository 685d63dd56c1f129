"""`python -m data_builders build NAME ...` and `python -m data_builders list`."""

from data_builders.common.commands.cli import main
from surgrec_jax.safety.terminal import run_escaped

if __name__ == "__main__":
    run_escaped(main)
