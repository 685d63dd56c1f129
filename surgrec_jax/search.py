"""`python -m surgrec_jax.search`: see `surgrec_jax.prediction.search`."""

import sys

from surgrec_jax.prediction.search import main
from surgrec_jax.safety.terminal import escape_output

if __name__ == "__main__":
    escape_output()
    sys.exit(main())
