"""Phantom videos as files, as a hospital has them, with a table of their phases.

    python -m data_builders.phantom_surgery.files --config first_tiny --split test --out FOLDER

They are the files that a build of that configuration reads, so a model that was trained on the
training patients has seen none of those of the test patients. The table, labels.csv, is one that
`data_builders build video_folder` and `surgrec_jax.predict --labels` read.
"""

import argparse
import csv
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data_builders.phantom_surgery.corpus import DOMAINS
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from surgrec_jax.safety import files
from surgrec_jax.safety.errors import ConfigError, run_command

TRACK = "phase"


def main(argv: list[str] | None = None) -> int:
    """Writes the files and the table, and prints the table's path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [config.name for config in Builder.BUILDER_CONFIGS]
    parser.add_argument("--config", default="tiny", choices=names)
    parser.add_argument("--split", default="test", choices=("train", "val", "test"))
    parser.add_argument("--domains", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--count", type=int, default=1, help="videos of every domain, at most")
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    args = parser.parse_args(argv)
    return run_command("phantom files", lambda: _write(args))


def _write(args: argparse.Namespace) -> int:
    if args.count < 1:
        raise ConfigError(f"--count={args.count}: give 1 or more")
    args.out.mkdir(parents=True, exist_ok=True)
    builder = Builder(config=args.config, data_dir=args.out)
    every = builder.list_videos(None)
    names, table = builder.tracks()[TRACK], io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["path", "start_s", "end_s", TRACK])
    for domain in args.domains:
        items = [i for i in every if (i.split, i.domain) == (args.split, domain)]
        for item in items[: args.count]:
            opened = builder.open_video(item, args.out)
            labels, fps = opened.tracks[TRACK].values, item.extra["plan"].fps
            for first, last, label in _stretches(labels):
                times = (f"{frame / fps:.4f}" for frame in (first, last))
                rows.writerow([opened.path.name, *times, names[label]])
    files.write_text(args.out / "labels.csv", table.getvalue())
    print(args.out / "labels.csv")
    return 0


def _stretches(labels: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(first frame, frame after the last, label) of every stretch that has a label."""
    values = np.asarray(labels)
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1), len(values)]
    for first, last in itertools.pairwise(edges):
        if values[first] >= 0:
            yield int(first), int(last), int(values[first])


if __name__ == "__main__":
    sys.exit(main())
