"""The command line of the page about training runs: see summary.py."""

from surgrec_jax.evaluation.report.summary import main

if __name__ == "__main__":
    main()
