"""`python -m data_builders build NAME ...` and `python -m data_builders list`."""

import sys

from data_builders.common.commands.cli import main
from surgrec_jax.safety.terminal import escape_output

if __name__ == "__main__":
    escape_output()
    sys.exit(main())
