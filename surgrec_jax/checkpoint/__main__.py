"""Looks at saved steps: python -m surgrec_jax.checkpoint list|verify DIR.

DIR is a workdir, its checkpoints folder or a step's folder. `list` reads manifests only, `verify`
every byte. Exit codes: 0 all steps are whole; 1 a step is damaged or of another format; 2 there is
none, or it cannot be read.
"""

import time
from pathlib import Path

from surgrec_jax.checkpoint import DamagedError, Location, MismatchError, checksums, find, steps_in
from surgrec_jax.checkpoint.reading import read_meta
from surgrec_jax.safety.errors import run_command
from surgrec_jax.safety.terminal import aligned, command_parser, run_escaped


def main(argv: list[str] | None = None) -> int:
    """Prints a table of the steps, then their faults."""
    parser = command_parser("surgrec_jax.checkpoint", __doc__)
    parser.add_argument("command", choices=("list", "verify"))
    parser.add_argument("dir", type=Path, help="a workdir, its checkpoints folder, or one step")
    args = parser.parse_args(argv)
    return run_command(
        "surgrec_jax.checkpoint", lambda: _show(args.dir, args.command == "verify"), failed=2
    )


def _show(folder: Path, whole: bool) -> int:
    newest = find(folder)
    one = folder.resolve() == newest.path.resolve()
    steps = [newest.step] if one else steps_in(newest.root)
    rows = [_row(Location(newest.root, step), whole) for step in steps]
    head = ("step", "saved", "GiB", "files", "arrays", "score", "s", "state")
    print(*aligned([head, *(cells for cells, _ in rows)], str.rjust), sep="\n")
    problems = [text for _, texts in rows for text in texts]
    for text in problems:
        print(f"  {text}")
    aside = Path(f"{newest.root}-damaged")
    if not one and aside.is_dir():
        print(f"{len(list(aside.iterdir()))} damaged step(s) put aside in {aside}")
    return 1 if problems else 0


def _row(location: Location, whole: bool) -> tuple[tuple[str, ...], list[str]]:
    began = time.perf_counter()
    try:
        body = checksums.read(location)
        meta = read_meta(location)
    except (DamagedError, MismatchError) as error:
        state = "DAMAGED" if isinstance(error, DamagedError) else "OTHER FORMAT"
        return (str(location.step), *["-"] * 6, state), [str(error)]
    problems = checksums.verify(location) if whole else []
    seconds = f"{time.perf_counter() - began:.2f}" if whole else "-"
    files = body["files"].values()
    saved = time.localtime((location.path / checksums.FILE).stat().st_mtime)
    score = "-" if meta["score"] is None else f"{meta['score']:.4f}"
    cells = (
        str(location.step),
        time.strftime("%Y-%m-%d %H:%M:%S", saved),
        f"{sum(f['size'] for f in files) / 2**30:.3f}",
        str(len(files)),
        str(len(body["arrays"])),
        score,
        seconds,
        "DAMAGED" if problems else "whole" if whole else "committed",
    )
    return cells, problems


if __name__ == "__main__":
    run_escaped(main)
