"""The page of training runs: loss, rate, speed, health, probes and pictures.

    python -m surgrec_jax.report RUN                 # writes RUN/index.html
    python -m surgrec_jax.report RUN --watch=30      # again every 30 s until the run is complete
    python -m surgrec_jax.report RUN RUN --out PAGE  # several runs side by side

Scores of `surgrec_jax.probe` stand on it where the first run has them in its folder.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from surgrec_jax.evaluation.benchmark.results import read_json
from surgrec_jax.evaluation.report.run_logs import RunLog, read_run
from surgrec_jax.evaluation.report.summary import build_report, write_report
from surgrec_jax.next_commands import look_at, say
from surgrec_jax.safety import paths, untrusted
from surgrec_jax.safety.errors import ConfigError, run_command
from surgrec_jax.safety.terminal import command_parser, run_escaped


def verdict(run: RunLog) -> str:
    """One sentence about a run: how far it is, its loss, its best score while training."""
    steps, losses = run.curves.get("loss", ((), ()))
    if not len(steps):
        return f"{run.name} has logged no step yet."
    total = (run.config or {}).get("steps")
    said = [f"{run.name}: step {steps[-1]:g} of {total}, loss {losses[0]:.3g} to {losses[-1]:.3g}"]
    scores = {key: values for key, (_, values) in run.curves.items() if key.startswith("probe/")}
    if scores:
        key = max(scores, key=lambda name: scores[name][-1])
        what = key.removeprefix("probe/").replace("/", " ").replace("_", " ")
        first, last = (100 * scores[key][at] for at in (0, -1))
        said.append(f"{what} {first:.1f} % to {last:.1f} %")
    return "; ".join(said) + "."


def complete(run: RunLog) -> bool:
    """Whether the last step of a run's config is logged."""
    steps, _ = run.curves.get("loss", ((), ()))
    total = (run.config or {}).get("steps")
    return bool(len(steps)) and isinstance(total, int) and steps[-1] >= total


def write(folders: Sequence[Path], out: Path, refresh: int = 0) -> list[RunLog]:
    """Writes the page of some runs; returns what was read of them.

    Args:
        refresh: seconds after which a browser loads the page again; 0 for never.

    Raises:
        UserError: a folder that does not exist, or a file that cannot be used.
    """
    runs = [read_run(folder) for folder in folders]
    scores = folders[0] / "probe" / "results.json"
    results = read_json(scores) if scores.exists() else None
    with untrusted.interpreting(", ".join(map(str, folders))):
        lead = " ".join(map(verdict, runs))
        title = ", ".join(run.name for run in runs)
        text = build_report(runs, results, title=title, lead=lead)
    if refresh:
        text = text.replace("<head>", f'<head><meta http-equiv="refresh" content="{refresh}">', 1)
    write_report(out, text)
    return runs


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the page once, or until all runs are complete."""
    parser = command_parser("surgrec_jax.report", __doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="workdirs of runs")
    parser.add_argument("--out", type=Path, help="the page (default: index.html in the first run)")
    parser.add_argument("--watch", type=int, default=0, help="seconds between two pages")
    args = parser.parse_args(argv)

    def work() -> int:
        paths.check_arguments(vars(args))
        if args.watch < 0:
            raise ConfigError(f"--watch={args.watch}: give seconds, or 0 for one page")
        out = args.out or args.runs[0] / "index.html"
        while not all(map(complete, write(args.runs, out, args.watch))) and args.watch:
            time.sleep(args.watch)
        if args.watch:
            write(args.runs, out)  # complete: it need not be loaded again
        print(f"page {out}")
        say(look_at(out))
        return 0

    return run_command("surgrec_jax.report", work, interrupted="report: stopped; the page stays")


if __name__ == "__main__":
    run_escaped(main)
