"""`python -m surgrec_jax.predict`: see `surgrec_jax.prediction.command`."""

import sys

from surgrec_jax.prediction.command import main
from surgrec_jax.safety.terminal import escape_output

if __name__ == "__main__":
    escape_output()
    sys.exit(main())
