"""Measurements, as commands: python -m surgrec_jax.bench NAME [--json FILE].

Where a machine is shared, compare figures of one run with each other, by CPU time.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from surgrec_jax.safety.errors import run_command

NAMES = (
    "step",
    "loader",
    "sampler",
    "convert",
    "builder",
    "checkpoint",
    "cluster",
    "purity",
    "ablation",
    "probe",
)


def main() -> int:
    """Runs one benchmark and prints its figures."""
    parser = argparse.ArgumentParser(prog="python -m surgrec_jax.bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    # A benchmark is imported when it is asked for: the step's needs no data libraries.
    name = parser.parse_args(sys.argv[1:2] or ["--help"]).name
    module = importlib.import_module(f"surgrec_jax.bench.{name}")
    parser = argparse.ArgumentParser(
        prog=f"python -m surgrec_jax.bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    args = parser.parse_args(sys.argv[2:])

    def work() -> int:
        figures = module.run(args)
        show(figures)
        if args.json:
            args.json.write_text(json.dumps(figures, indent=1) + "\n")
        return 0

    return run_command("surgrec_jax.bench", work)


def show(figures: dict[str, Any], indent: str = "") -> None:
    """One figure a line, nested ones indented."""
    width = max(map(len, figures), default=0)
    for key, value in figures.items():
        if isinstance(value, dict):
            print(f"{indent}{key}")
            show(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            print(f"{indent}{key}")
            for one in value:
                print(f"{indent}  " + "  ".join(f"{k} {_text(v)}" for k, v in one.items()))
        else:
            print(f"{indent}{key:<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, list | tuple):
        return " to ".join(_text(v) for v in value)
    return "-" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())
