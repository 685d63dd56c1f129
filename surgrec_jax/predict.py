"""`python -m surgrec_jax.predict`: see `surgrec_jax.prediction.command`."""

from surgrec_jax.prediction.command import main
from surgrec_jax.safety.terminal import run_escaped

if __name__ == "__main__":
    run_escaped(main)
