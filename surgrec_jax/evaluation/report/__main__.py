"""The command line of the page about training runs: see summary.py."""

from surgrec_jax.evaluation.report.summary import main
from surgrec_jax.safety.terminal import run_escaped

if __name__ == "__main__":
    run_escaped(main)
