"""Lists the commands: `python -m surgrec_jax`, or `surgrec` where the package is installed.

python -m surgrec_jax COMMAND ARGUMENTS runs one, as python -m MODULE ARGUMENTS does.
"""

import runpy
import sys
from collections.abc import Sequence

# command: (its module, what it is for)
COMMANDS: dict[str, tuple[str, str]] = {
    "data": ("data_builders", "builds, checks, lists and audits data sets of video"),
    "train": ("surgrec_jax.main", "pretrains an encoder, or fine-tunes it on labels"),
    "probe": ("surgrec_jax.probe", "scores encoders on one data set, beside baselines"),
    "benchmark": ("surgrec_jax.benchmark", "scores encoders on many data sets: a table and a page"),
    "predict": ("surgrec_jax.predict", "answers videos: tables, segments, a page, or live"),
    "search": ("surgrec_jax.search", "finds stored footage like a moment of a video"),
    "curation": ("surgrec_jax.curation", "clusters a corpus and balances what training draws"),
    "convert": ("surgrec_jax.convert", "imports published weights, and exports one's own"),
    "checkpoint": ("surgrec_jax.checkpoint", "lists saved steps and verifies their checksums"),
    "report": ("surgrec_jax.report", "makes the page of a run, also while it trains"),
    "replay": ("surgrec_jax.replay", "takes again the step where a run's numbers broke"),
    "compile_report": ("surgrec_jax.compile_report", "tells whether a step fits on a TPU or GPU"),
    "bench": ("surgrec_jax.bench", "measures loader, step and more; sizes what you plan"),
}


def listing() -> str:
    """The commands, one a line."""
    lines = [f"{name:<16}{module:<28}{what}" for name, (module, what) in COMMANDS.items()]
    head = "surgrec COMMAND ..., or python -m MODULE ...; each has --help."
    return "\n".join([head, "", *lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Lists the commands, or runs the one that is named; an unknown one ends with code 2."""
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(listing())
        return 0
    if name not in COMMANDS:
        print(f"surgrec: there is no command {name!r}; there are {', '.join(COMMANDS)}")
        return 2
    sys.argv = [f"surgrec {name}", *rest]
    runpy.run_module(COMMANDS[name][0], run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
