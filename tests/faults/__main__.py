"""Injects faults into tiny runs and says what came of it: python -m tests.faults [NAME] [options].

NAME is one of kills, damage, processes, storage, soak, or all (everything but soak). Every fault is
drawn from --seed; each part is bounded in time. Exit codes: 0 every outcome is as guaranteed
(docs/reliability.md), 1 one is not.
"""

import argparse
import importlib
import json
import sys
import tempfile
import time
from pathlib import Path

from absl import logging

from tests.faults.runs import FaultError

PARTS = ("damage", "storage", "processes", "kills")


def main() -> int:
    """Runs one part, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", default="all", choices=("all", *PARTS, "soak"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep everything there (default: a new one)")
    parser.add_argument("--json", type=Path, help="also write the outcomes to this file")
    for part in (*PARTS, "soak"):
        group = parser.add_argument_group(part)
        importlib.import_module(f"tests.faults.{part}").add_arguments(group)
    args = parser.parse_args()
    logging.set_verbosity(logging.ERROR)  # damage is found hundreds of times
    outcomes, wrong = {}, 0
    with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
        for name in PARTS if args.name == "all" else (args.name,):
            folder = (args.folder or Path(temporary)) / name
            folder.mkdir(parents=True, exist_ok=True)
            print(f"{name}:", flush=True)
            began = time.monotonic()
            try:
                outcome = importlib.import_module(f"tests.faults.{name}").inject(folder, args)
            except FaultError as error:
                outcome, wrong = {"NOT AS GUARANTEED": str(error)}, wrong + 1
            outcomes[name] = outcome | {"total_seconds": round(time.monotonic() - began, 1)}
            for key, value in outcomes[name].items():
                print(f"  {key}: {value}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(outcomes, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
