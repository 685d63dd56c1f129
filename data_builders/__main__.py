"""`python -m data_builders build NAME ...` and `python -m data_builders list`."""

import sys

from data_builders.common.cli import main

if __name__ == "__main__":
    sys.exit(main())
