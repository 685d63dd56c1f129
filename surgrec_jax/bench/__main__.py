"""Measurements, as commands: python -m surgrec_jax.bench NAME [--json FILE].

Where a machine is shared, compare figures of one run with each other, by CPU time.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path

from surgrec_jax import commands
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import run_command
from surgrec_jax.safety.terminal import command_parser, leave

NAMES = (
    *("step", "stream", "loader", "sampler", "convert", "builder", "content"),
    *("checkpoint", "cluster", "purity", "ablation", "probe", "ceilings", "power", "recipes"),
    *("far", "live", "sizing"),
)


def main() -> int:
    """Runs one benchmark and prints its figures."""
    parser = argparse.ArgumentParser(prog="python -m surgrec_jax.bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    # Only this benchmark is imported: that of the step needs no data libraries.
    name = parser.parse_args(sys.argv[1:2] or ["--help"]).name
    module = importlib.import_module(f"surgrec_jax.bench.{name}")
    parser = command_parser(f"surgrec_jax.bench {name}", module.__doc__)
    module.add_arguments(parser)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(sys.argv[2:])

    def work() -> int:
        paths.check_arguments(vars(args))
        figures = module.run(args)
        commands.show(figures)
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1) + "\n")
        return 0

    return run_command("surgrec_jax.bench", work)


if __name__ == "__main__":
    leave(main())
