"""Builds data sets of surgical video and lists what there is."""

import argparse
import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from data_builders.common import registry
from data_builders.common.build import build, unfinished
from data_builders.common.builder import VideoConfig
from data_builders.common.errors import BuildError, safe_text
from data_builders.common.records import RecordSpec
from data_builders.common.summary import human_bytes

INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0, 1 for an error, 130 when interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    parser = argparse.ArgumentParser(prog="python -m data_builders", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    try:
        for add in COMMANDS:
            add(commands, argv)
        args = parser.parse_args(argv)
        return args.run(args)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\ninterrupted: finished shards are kept; run the same command again to go on.",
            file=sys.stderr,
        )
        return INTERRUPTED


def _add_build(commands, argv: Sequence[str]) -> None:
    parser = commands.add_parser(
        "build",
        help="turn videos into a data set",
        allow_abbrev=False,
        description="Videos become records; interrupted builds go on.",
    )
    parser.add_argument("name", metavar="NAME", help=f"a source: {', '.join(registry.sources())}")
    parser.add_argument("--data_dir", required=True, help="root of the prepared data sets")
    parser.add_argument(
        "--manual_dir", help="your download of the source, or your folder of videos"
    )
    parser.add_argument("--config", help="configuration of the source (default: its first)")
    parser.add_argument("--workers", type=int, help="processes (default: one per core)")
    parser.add_argument("--shards", type=int, help="shards per split (default: by amount of video)")
    parser.add_argument("--overwrite", action="store_true", help="replace a differing data set")
    parser.add_argument(
        "--strict", action="store_true", help="stop at the first unreadable or damaged video"
    )
    record = parser.add_argument_group("records")
    for field in dataclasses.fields(RecordSpec):
        record.add_argument(
            f"--{field.name}",
            type=field.type,
            help=f"default of the configuration ({field.default})",
        )
    parser.set_defaults(run=_build)
    # The source's own options are known once its name is.
    if len(argv) > 1 and argv[0] == "build" and not argv[1].startswith("-"):
        registry.builder_class(argv[1]).add_arguments(parser.add_argument_group(argv[1]))


def _build(args: argparse.Namespace) -> int:
    builder_cls = registry.builder_class(args.name)
    config = builder_cls.config_from_arguments(args)
    changed = {
        field.name: getattr(args, field.name)
        for field in dataclasses.fields(RecordSpec)
        if getattr(args, field.name) is not None
    }
    try:
        if changed:
            config = _with_record(builder_cls, config, changed)
    except ValueError as error:
        raise BuildError(str(error)) from error
    signal.signal(signal.SIGTERM, _as_interrupt)
    summary = build(
        args.name,
        data_dir=args.data_dir,
        manual_dir=args.manual_dir,
        config=config,
        num_workers=args.workers,
        shards=args.shards,
        overwrite=args.overwrite,
        strict=args.strict,
    )
    if not summary.fresh:
        print("already built; nothing to do.")
    print(summary.text())
    return 0


def _with_record(builder_cls, config: str | VideoConfig | None, changed) -> VideoConfig:
    if config is None or isinstance(config, str):
        configs = builder_cls.builder_configs
        name = config or builder_cls.DEFAULT_BUILDER_CONFIG_NAME or next(iter(configs))
        if name not in configs:
            raise BuildError(
                f"{builder_cls.name} has no configuration {name!r}; there are "
                f"{', '.join(sorted(configs))}."
            )
        config = configs[name]
    return dataclasses.replace(config, record=dataclasses.replace(config.record, **changed))


def _as_interrupt(signum, frame):
    raise KeyboardInterrupt


def _add_list(commands, argv: Sequence[str]) -> None:
    del argv
    parser = commands.add_parser("list", help="sources, and what is prepared", allow_abbrev=False)
    parser.add_argument("--data_dir", help="root of the prepared data sets")
    parser.set_defaults(run=_list)


def _list(args: argparse.Namespace) -> int:
    print("sources:")
    for name in registry.sources():
        text = (registry.builder_class(name).__doc__ or "").strip()
        print(f"  {name:<20}{text.splitlines()[0] if text else ''}")
    if args.data_dir is None:
        print("give --data_dir to see what is prepared there.")
        return 0
    data_dir = Path(args.data_dir)
    if not data_dir.is_dir():
        raise BuildError(f"--data_dir {safe_text(data_dir)} is not a folder.")
    print(f"prepared in {safe_text(data_dir)}:")
    found = sorted(data_dir.glob("*/*/dataset_info.json"))
    found += sorted(data_dir.glob("*/*/*/dataset_info.json"))
    for path in found:
        print(f"  {path.parent.relative_to(data_dir).as_posix():<36}{_counts(path)}")
    for name in unfinished(data_dir):
        print(f"  {name:<36}unfinished: run its build again")
    if not found:
        print("  nothing")
    return 0


def _counts(path: Path) -> str:
    try:
        splits = json.loads(path.read_text(encoding="utf-8")).get("splits", [])
        size = sum(file.stat().st_size for file in path.parent.iterdir())
        lengths = [(s["name"], sum(map(int, s.get("shardLengths", [])))) for s in splits]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"unreadable: {error}"
    return (
        ", ".join(f"{name} {count}" for name, count in lengths) + f" records, {human_bytes(size)}"
    )


# Each adds its parser, which names the function that runs it.
COMMANDS: tuple[Callable, ...] = (_add_build, _add_list)
