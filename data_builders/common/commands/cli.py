"""Builds data sets of surgical video and lists what there is."""

import argparse
import dataclasses
import signal
import sys
from collections.abc import Callable, Sequence

from data_builders.common.build.build import build
from data_builders.common.commands.audit import add_audit
from data_builders.common.commands.check import add_check
from data_builders.common.commands.list import add_list
from data_builders.common.commands.settings import DECODING, add_decoding, given, with_settings
from data_builders.common.source import registry
from surgrec_jax.next_commands import after_build, say
from surgrec_jax.records.errors import BuildError
from surgrec_jax.records.schema import RecordSpec
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import run_command

RECORD_HELP = {
    "frames": "stored frames per record",
    "fps": "frames stored a second, at most",
    "short_side": "pixels of the shorter side, at most",
    "jpeg_quality": "1 to 100",
}
FILTERS = ("crop_borders", "drop_black", "drop_frozen", "drop_out_of_body")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status: 0, 1 for an error, 130 when interrupted."""
    argv = _joined(sys.argv[1:] if argv is None else argv, "--beam_options")
    parser = argparse.ArgumentParser(prog="python -m data_builders", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def work() -> int:
        for add in COMMANDS:
            add(commands, argv)
        args = parser.parse_args(argv)
        paths.check_arguments(vars(args), allowed=("beam_options",))
        return args.run(args)

    kept = "interrupted: finished shards are kept; run the same command again to go on."
    return run_command("error", work, interrupted=kept)


def _joined(argv: Sequence[str], option: str) -> list[str]:
    """`option VALUE` as `option=VALUE`: argparse takes a value that begins with -- as an option."""
    argv = list(argv)
    if option in argv[:-1]:
        at = argv.index(option)
        argv[at : at + 2] = [f"{option}={argv[at + 1]}"]
    return argv


def _add_build(commands, argv: Sequence[str]) -> None:
    parser = commands.add_parser(
        "build",
        help="turn videos into a data set",
        allow_abbrev=False,
        description="Videos become records; interrupted builds go on.",
        epilog="A source's own options: build NAME --help.",
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
        "--strict", action="store_true", help="stop at what would be skipped, mended or doubted"
    )
    parser.add_argument(
        "--beam", action="store_true", help="run as an Apache Beam pipeline (docs/sources.md)"
    )
    parser.add_argument(
        "--beam_options",
        metavar='"OPTIONS"',
        help='options of Beam, such as "--runner=FlinkRunner --flink_master=HOST:8081"',
    )
    record = parser.add_argument_group("records")
    for field in dataclasses.fields(RecordSpec):
        record.add_argument(
            f"--{field.name}",
            type=field.type,
            help=f"{RECORD_HELP[field.name]} (default: as configured, mostly {field.default})",
        )
    add_decoding(parser)
    curation = parser.add_argument_group("curation filters (all off by default)")
    curation.add_argument("--crop_borders", action="store_true", help="cut black borders off")
    curation.add_argument("--drop_black", action="store_true", help="leave black stretches out")
    curation.add_argument("--drop_frozen", action="store_true", help="leave still stretches out")
    curation.add_argument(
        "--drop_out_of_body", action="store_true", help="leave out what is labelled out of body"
    )
    curation.add_argument(
        "--drop_duplicates",
        metavar="FILE",
        help="leave out the videos that `audit --duplicates --json FILE` found elsewhere too",
    )
    parser.set_defaults(run=_build)
    # The source's own options are known once its name is.
    if len(argv) > 1 and argv[0] == "build" and not argv[1].startswith("-"):
        registry.builder_class(argv[1]).add_arguments(parser.add_argument_group(argv[1]))


def _build(args: argparse.Namespace) -> int:
    builder_cls = registry.builder_class(args.name)
    config = builder_cls.config_from_arguments(args)
    config = with_settings(
        builder_cls,
        config,
        record=given(args, RECORD_HELP),
        filters={name: True for name in FILTERS if getattr(args, name)},
        decode=given(args, DECODING),
        duplicates=args.drop_duplicates,
    )
    if args.beam_options is not None and not args.beam:
        raise BuildError("--beam_options is given without --beam.")
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
        beam=(args.beam_options or "") if args.beam else None,
    )
    if not summary.fresh:
        print("already built; nothing to do.")
    print(summary.text())
    source = summary.name.rpartition("/")[0].removesuffix("/default")  # without the version
    say(after_build(source, args.data_dir))
    return 0


def _as_interrupt(signum, frame):
    raise KeyboardInterrupt


# Each adds its parser, which names the function that runs it.
COMMANDS: tuple[Callable, ...] = (_add_build, add_check, add_list, add_audit)
