r"""Compiles the training step for a TPU slice or GPUs that this machine has not.

    python -m surgrec_jax.compile_report --config=configs/jepa.py --topology=v5e:8x8 \
        --config.mesh.fsdp=16

Prints memory per chip by kind, analytic FLOPs, collectives, and whether it fits. Needs the extra
"tpu" or "cuda" (pip install '.[tpu]'); a compilation takes one to five minutes of one core.
--table=DIR compiles the cells of the table in docs/scaling.md one after another, keeps each in DIR
and goes on where it was stopped. Exit codes: 0 it fits, 3 it does not, 1 an error in one sentence,
2 a wrong command line.
"""

import argparse
import json
import sys
from pathlib import Path

from surgrec_jax.compile_report import targets
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import run_command
from surgrec_jax.safety.terminal import command_parser, leave

DOES_NOT_FIT = 3


def main(argv: list[str]) -> int:
    """Prints one report, or makes the table."""
    args, changes = parse(argv)
    return run_command("surgrec_jax.compile_report", lambda: _run(args, changes))


def _run(args: argparse.Namespace, changes: list[str]) -> int:
    paths.check_arguments(vars(args))
    if args.table:
        from surgrec_jax.compile_report import table

        return table.run(args.table, args.cells, changes)
    target = targets.parse(args.topology)
    targets.prepare_environment(target)
    # JAX is imported here: the environment comes first, and errors above need none.
    from surgrec_jax import commands
    from surgrec_jax.compile_report import report

    def keep(figures: dict) -> None:
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1) + "\n")

    config = commands.load_config(args.config, changes, "surgrec_jax")
    if args.largest_batch:
        figures = report.largest_batch(config, target, args.guess, keep)
    else:
        figures = report.report(config, target)
    keep(figures)
    commands.show(figures)
    return 0 if figures["fits"] else DOES_NOT_FIT


def parse(argv: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """Parses the arguments, and config changes as KEY=VALUE."""
    parser = command_parser("surgrec_jax.compile_report", __doc__)
    parser.add_argument("--config", help="config file[:variant]")
    parser.add_argument("--topology", help=f"one of {targets.known()}, or another layout")
    parser.add_argument(
        "--largest_batch", action="store_true", help="search the largest batch that fits"
    )
    parser.add_argument("--guess", type=int, default=8, help="batch per chip to begin with")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--table", type=Path, metavar="DIR", help="make the table, cells in DIR")
    parser.add_argument("--cells", default="", help="with --table: only cells with this in a name")
    args, rest = parser.parse_known_args(argv)
    changes = []
    for text in rest:
        key, equals, value = text.partition("=")
        if not (equals and key.startswith("--config.")):
            parser.error(f"unknown argument {text}; config values are --config.NAME=VALUE")
        changes.append(f"{key.removeprefix('--config.')}={value}")
    if not args.table:
        for name in ("config", "topology"):
            if getattr(args, name) is None:
                parser.error(
                    f"--{name} is missing; e.g. --config=configs/jepa.py --topology=v5e:8x8"
                )
    return args, changes


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
