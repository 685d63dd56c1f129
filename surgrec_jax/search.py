"""`python -m surgrec_jax.search`: see `surgrec_jax.prediction.search`."""

from surgrec_jax.prediction.search import main
from surgrec_jax.safety.terminal import run_escaped

if __name__ == "__main__":
    run_escaped(main)
