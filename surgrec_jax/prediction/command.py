"""Predicts videos: any file that the builders read, or folder of pictures or videos, unbuilt.

    python -m surgrec_jax.predict --checkpoint=RUN VIDEO... --out DIR

Into DIR/<video> come predictions.csv (time, class, probability of every class), segments.csv and
index.html, with --overlay also overlay.mp4. A video that is done stays; the same command goes on
with the others.

    python -m surgrec_jax.predict --checkpoint=RUN SOURCE --live

Prints a line of JSON per answer while SOURCE runs: the number of a camera, "-" for raw frames on
stdin (--raw=WIDTHxHEIGHT@FPS), or a file at its own speed.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.commands import settings
from data_builders.common.labels.instants import UNITS
from data_builders.common.labels.table_columns import TableOptions
from data_builders.common.video.container import DecodeSpec
from surgrec_jax.convert import cache
from surgrec_jax.next_commands import look_at, say
from surgrec_jax.prediction import given, live, overlay
from surgrec_jax.prediction.answers import Smoothing
from surgrec_jax.prediction.job import Job
from surgrec_jax.prediction.live import RawFrames
from surgrec_jax.prediction.model import Model, open_model
from surgrec_jax.prediction.truth import read_truth
from surgrec_jax.records.errors import safe_text
from surgrec_jax.safety import paths
from surgrec_jax.safety.errors import ConfigError, UserError, run_command, tell
from surgrec_jax.safety.terminal import command_parser

FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, or a user's share of it
_STOPPED = "predict: stopped; finished videos are kept, and the same command goes on"


def main(argv: Sequence[str] | None = None) -> int:
    """Predicts; returns 0, or 1 where a video or an argument cannot be used."""
    args = _parser().parse_intermixed_args(argv)  # videos may stand between options
    return run_command("predict", lambda: run(args), interrupted=_STOPPED)


def _parser() -> argparse.ArgumentParser:
    parser = command_parser("surgrec_jax.predict", __doc__)
    add = parser.add_argument
    add("videos", nargs="+", metavar="VIDEO", help="a file, or a folder of videos or of pictures")
    add("--checkpoint", "--config.checkpoint", required=True, metavar="RUN", dest="checkpoint",
        help="workdir of a fine-tuning run, or of an encoder with a kept head")  # fmt: skip
    add("--head", type=Path, metavar="FILE", help="that probe --config.keep_heads has written")
    add("--out", type=Path, metavar="DIR", help="folder of the answers")
    add("--rate", type=float, help="answers per second (default: 1, or what the head has learnt)")
    add("--smoothing", default="mean:5", help="none, or mean:SECONDS (default: mean:5)")
    add("--offline", action="store_true", help="smoothing may look ahead")
    add("--overlay", action="store_true", help="a copy of each video with its answers below")
    group = parser.add_argument_group("live")
    add = group.add_argument
    add("--live", action="store_true", help="answer while the source runs")
    add("--raw", metavar="WxH@FPS", help="the form of BGR frames on stdin")
    add("--speed", type=float, default=1.0, help="of a file; 0: as fast as it is answered")
    add("--stall", type=float, default=10.0, help="seconds without a picture that end it")
    add("--stream", action="store_true", help="a block-causal encoder computes each tubelet once")
    group = parser.add_argument_group("ground truth (as data_builders build video_folder reads it)")
    add = group.add_argument
    add("--labels", type=Path, metavar="FILE", help="a table or export, or a folder of them")
    add("--manual_dir", type=Path, metavar="FOLDER", help="where the table's paths start")
    add("--time_unit", choices=UNITS, help="of time columns whose names give none (default: s)")
    add("--first_frame", type=int, choices=(0, 1), help="of tables that count frames (default 0)")
    group = parser.add_argument_group("pictures (default: as the training data were stored)")
    add = group.add_argument
    add("--stored_fps", dest="fps", type=float, help="frames stored a second, at most")
    add("--short_side", type=int, help="pixels of the shorter side, at most")
    add("--jpeg_quality", type=int, help="1 to 100")
    settings.add_decoding(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Predicts every video that is not done; the exit code is 1 where one could not be read.

    Raises:
        UserError: an argument that cannot be used; nothing is written then.
    """
    paths.check_arguments(vars(args), allowed=("checkpoint",))
    args.checkpoint = cache.workdir_of(args.checkpoint, "--checkpoint")
    model = open_model(args.checkpoint, args.head)
    rate = model.rate(args.rate)
    model = _stored_as(model, args)
    decode = DecodeSpec(**settings.given(args, settings.DECODING))
    for note in model.notes:
        print(f"predict: {note}", file=sys.stderr)
    if args.live:
        if len(args.videos) > 1:
            raise ConfigError("--live answers one source; start the command once for each")
        if args.overlay:
            raise ConfigError("--overlay is of files: leave it out, or --live")
        raw = None if args.raw is None else RawFrames.parse(args.raw)
        return live.run(
            args.videos[0],
            model,
            rate,
            decode,
            raw=raw,
            speed=args.speed,
            stall=args.stall,
            stream=args.stream,
        )
    if args.stream:
        raise ConfigError("--stream is of --live: a file's answers are those of whole clips")
    _check_out(args.out)
    smoothing = Smoothing.parse(args.smoothing, model.online and not args.offline)
    videos, wrong = given.find(
        [Path(video) for video in args.videos],
        lambda path, why: print(f"predict: {safe_text(path)} {why}", file=sys.stderr),
        picture_fps=decode.native_fps,
        without=args.out,
    )
    for error in wrong:
        tell("predict", error)
    names = given.video_names(videos)
    there, annotated = [path for path in videos if path.exists()], None
    if args.labels is not None and there:
        options = TableOptions(time_unit=args.time_unit, first_frame=args.first_frame)
        annotated = read_truth(args.labels, there, model, options, args.manual_dir, decode)
    if args.overlay and (encoder := overlay.find_encoder()) not in overlay.H264:
        print(
            f"predict: FFmpeg has no H.264 encoder here; overlays are {encoder}, which browsers do "
            "not play",
            file=sys.stderr,
        )
    job = Job(model, rate, smoothing, decode, args.out, annotated, args.checkpoint, args.overlay)
    done: list[Path] = []
    for path, name in zip(videos, names, strict=True):
        try:
            print(job.predict(path, name), flush=True)
            done.append(args.out / name / "index.html")
        except (UserError, OSError) as error:
            tell("predict", error)
            if getattr(error, "errno", None) in FULL:  # nor would there be room for the others
                break
    failed, count = len(names) - len(done) + len(wrong), len(names) + len(wrong)
    if failed:
        print(
            f"predict: {failed} of {count} videos have not all that was asked; the same "
            "command tries them again",
            file=sys.stderr,
        )
    if done:
        say(look_at(done[0]))
    return 1 if failed else 0


def _stored_as(model: Model, args: argparse.Namespace) -> Model:
    """The model with the way of storing pictures that the arguments name, if they do."""
    flags = {"fps": "stored_fps", "short_side": "short_side", "jpeg_quality": "jpeg_quality"}
    changed = {key: getattr(args, key) for key in flags if getattr(args, key) is not None}
    try:
        return model.stored_as(**changed)
    except UserError as error:
        given = ", ".join(f"--{flags[key]}={value:g}" for key, value in changed.items())
        raise ConfigError(f"{given}: {error}") from error


def _check_out(out: Path | None) -> None:
    """Raises ConfigError for a folder of answers that could not be made or written to."""
    if out is None:
        raise ConfigError("--out is missing; give a folder for the answers, e.g. --out=answers")
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"--out={out}: {there} is no folder that can be written to")
