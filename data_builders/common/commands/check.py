"""The `check` command: walks a download before anything is built, and says what to mend.

It uses what a build would use: the source's own listing and annotation parsers, and the video
reader. By default only annotations, headers and the first frames are read.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.build.summary import human_bytes
from data_builders.common.commands import settings
from data_builders.common.source import registry
from data_builders.common.source.builder import VideoDatasetBuilder
from data_builders.common.source.examples import checked_ids
from data_builders.common.source.items import OpenedVideo, VideoItem
from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frame_labels import FrameLabels
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.images import IMAGE_SUFFIXES, read_picture
from data_builders.common.video.joined import read_joined
from data_builders.common.video.reading import probe
from surgrec_jax.next_commands import after_check, say
from surgrec_jax.records.errors import BadInput, safe_text
from surgrec_jax.records.schema import UNLABELLED

# kind -> (must be mended, what to do)
KINDS = {
    "missing": (True, "get the file from the source's owner and put it where its README says"),
    "unreadable": (True, "download the file again; a build skips the video"),
    "annotation": (True, "compare with the owner's current annotations; a build skips the video"),
    "contradictory": (True, "check that video and annotation are of one version; a build keeps "
                            "labels where there are frames"),
    "damaged": (True, "download the file again; a build keeps the frames that can be decoded"),
    "passed over": (False, "rename, complete or remove these; a build leaves them out and goes on "
                           "(with --strict it stops)"),
    "note": (False, "nothing, if that is how the owner publishes it"),
}  # fmt: skip


@dataclasses.dataclass
class CheckReport:
    """The contents of a download and its faults.

    Attributes:
        name, folder: the source and the download.
        splits: split -> (videos, cases, bytes of video files).
        rates, sizes: frames per second, and "WxH", each with the number of videos.
        labels: track or video label -> class names that occur in no annotation.
        findings: (kind, path, reason).
        seconds: length of the videos as far as headers tell, or as decoded.
        decoded: whether every frame was read.
    """

    name: str
    folder: str
    splits: dict[str, tuple[int, int, int]] = dataclasses.field(default_factory=dict)
    rates: dict[str, int] = dataclasses.field(default_factory=dict)
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)
    labels: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    findings: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    decoded: bool = False

    def to_mend(self, strict: bool = False) -> int:
        """How many findings must be mended; with `strict`, all."""
        return sum(1 for kind, _, _ in self.findings if strict or KINDS[kind][0])

    def text(self) -> str:
        """The report as lines for a terminal."""
        lines = [f"{self.name} in {self.folder}:"]
        for split, (videos, cases, size) in self.splits.items():
            lines.append(f"  {split:<10}{videos:>7} videos{cases:>7} cases  {human_bytes(size)}")
        for title, counted in (("frame rates", self.rates), ("sizes", self.sizes)):
            if counted:
                some = [f"{value} ({count})" for value, count in list(counted.items())[:8]]
                more = f" and {len(counted) - 8} more" if len(counted) > 8 else ""
                lines.append(f"  {title}: {', '.join(some)}{more}")
        lines.append(
            f"  {self.seconds / 3600:.2f} h of video"
            + ("" if self.decoded else " by the headers; --decode reads every frame")
        )
        for name, unused in self.labels.items():
            if unused:
                lines.append(f"  {name}: never annotated: {', '.join(unused)}")
        for kind, (_, remedy) in KINDS.items():
            found = [(path, reason) for k, path, reason in self.findings if k == kind]
            if found:
                lines.append(f"{kind}: {len(found)}")
                lines += [f"  {path}: {reason}" for path, reason in found]
                lines.append(f"  -> {remedy}")
        count, left_out = self.to_mend(), sum(kind == "passed over" for kind, _, _ in self.findings)
        end = [f"{count} to mend" if count else "ready to build"]
        end += [f"{left_out} passed over"] if left_out else []
        lines.append(", ".join(end) + ".")
        return "\n".join(lines)


def check(builder: VideoDatasetBuilder, *, decode: bool = False) -> CheckReport:
    """Checks the download of `builder.manual_dir`.

    Args:
        builder: of the source; nothing is written to its data_dir.
        decode: read every frame of every video instead of headers and first frames.

    Raises:
        BuildError: the folder is not this source at all.
    """
    report = CheckReport(builder.name, safe_text(builder.manual_dir or "(none)"), decoded=decode)
    items = builder.checked_videos(builder.manual_dir)
    report.findings += [("passed over", path, reason) for path, reason in builder.skipped]
    report.findings += [("note", builder.name, note) for note in [*builder.notes, *builder.remarks]]
    splits: dict[str, list[VideoItem]] = {}
    for item in items:
        splits.setdefault(item.split, []).append(item)
    for split, members in splits.items():
        size = sum(_size(item.path) for item in members)
        report.splits[split] = (len(members), len({item.case_id for item in members}), size)
    used: dict[str, set[int]] = collections.defaultdict(set)
    with tempfile.TemporaryDirectory(prefix="surgrec_") as scratch:
        for index, item in enumerate(items):
            folder = Path(scratch, str(index))
            folder.mkdir()
            try:
                _check_video(builder, item, folder, report, used, decode)
            except BadInput as error:
                lacking = error.reason.startswith("has no ") and "annotation" in error.reason
                kind = "missing" if lacking else "annotation"
                report.findings.append((kind, error.where, error.reason))
    if report.to_mend() and builder.elsewhere:
        where = safe_text(builder.elsewhere)
        reason = f"holds the videos alone; the other files lie in {where}: give that folder"
        report.findings.append(("missing", report.folder, reason))
    for counted in (report.rates, report.sizes):
        ordered = sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))
        counted.clear()
        counted.update(ordered)
    for name, names in {**builder.hooks.tracks(), **builder.hooks.video_label_names()}.items():
        if name in used:
            report.labels[name] = [c for k, c in enumerate(names) if k not in used[name]]
    return report


def _check_video(builder, item, scratch, report, used, decode) -> None:
    decode_spec = builder.builder_config.decode
    lost = [path for path in builder.inputs(item) if not os.path.exists(path)]
    for path in lost:
        report.findings.append(("missing", safe_text(path), f"needed for {item.video_id}"))
    if lost:
        return
    if item.path is None and not decode:
        return  # made by the source itself, frame by frame
    if item.path is not None and not item.path.is_dir():
        try:
            probe(item.path, decode_spec=decode_spec)  # before its annotations ask for its rate
        except BadInput as error:
            report.findings.append(("unreadable", error.where, error.reason))
            return
    opened = builder.opened(item, scratch)
    try:
        read = (_decoded if decode else _headers)(opened, report, decode_spec)
    except BadInput as error:
        report.findings.append(("unreadable", error.where, error.reason))
        return
    rate, size = f"{read.native_fps:.5g}", f"{read.native_width}x{read.native_height}"
    report.rates[rate] = report.rates.get(rate, 0) + 1
    report.sizes[size] = report.sizes.get(size, 0) + 1
    report.seconds += read.duration
    name = safe_text(opened.path)
    report.findings += [("note", name, text) for text in (*opened.problems, *read.notes)]
    if read.duration:
        for extent in opened.extents:
            if reason := extent.misfit(read.native_fps, read.duration):
                report.findings.append(("contradictory", name, reason))
    _check_ids(builder, item, opened, used)


def _check_ids(builder, item: VideoItem, opened: OpenedVideo, used) -> None:
    """Refuses ids that are no class, as a build does, and notes those that occur."""
    declared = {**builder.hooks.tracks(), **builder.hooks.video_label_names()}
    given = {name: track.ids() for name, track in opened.tracks.items()}
    given |= {name: np.array([value]) for name, value in opened.video_labels.items()}
    for name, ids in given.items():
        used[name] |= {int(k) for k in np.unique(ids)} - {UNLABELLED}
        checked_ids(item, name, ids, declared[name])


def _decoded(opened: OpenedVideo, report: CheckReport, decode_spec: DecodeSpec) -> ReadReport:
    """The report of reading every frame."""
    read = ReadReport()
    along = FrameLabels(opened.maps, opened.boxes)
    options = {"report": read, "decode_spec": decode_spec, "labels": along}
    pictures = {"image_fps": opened.image_fps, "image_start": opened.image_start}
    frames = read_joined((opened.path, *opened.more), **options, **pictures)
    collections.deque(frames, maxlen=0)
    read.problems += along.left(read.frames_read)
    if read.problems:
        report.findings.append(("damaged", safe_text(opened.path), "; ".join(read.problems)))
    return read


def _headers(opened: OpenedVideo, report: CheckReport, decode_spec: DecodeSpec) -> ReadReport:
    """The report of headers and first frames, or of names of pictures and the first of them."""
    parts = [
        _pictures(path, opened, report) if path.is_dir() else probe(path, decode_spec=decode_spec)
        for path in (opened.path, *opened.more)
    ]
    lengths = [part.duration or part.header_seconds for part in parts]
    parts[0].duration = sum(lengths) if all(lengths) else 0.0
    return parts[0]


def _pictures(folder: Path, opened: OpenedVideo, report: CheckReport) -> ReadReport:
    names = sorted(n for n in os.listdir(folder) if n.lower().endswith(IMAGE_SUFFIXES))
    if not names:
        raise BadInput(folder, "holds no picture")
    numbers = [int(found[-1]) for n in names if (found := re.findall(r"\d{1,12}", Path(n).stem))]
    empty = [name for name in names if not os.path.getsize(folder / name)]
    for name in empty:
        report.findings.append(("damaged", safe_text(folder / name), "is empty (0 bytes)"))
    absent = max(numbers, default=0) - min(numbers, default=0) + 1 - len(numbers)
    if absent > 0:
        text = f"{absent} numbers are missing between the first and the last picture"
        report.findings.append(("note", safe_text(folder), text))
    begins = next((name for name in names if name not in empty), names[0])
    first = read_picture(folder / begins)
    if first is None:
        raise BadInput(folder / begins, "is not a picture that can be read")
    start = min(numbers, default=0) if opened.image_start is None else opened.image_start
    rate, last = opened.image_fps or 0.0, max(numbers, default=-1) - start + 1
    return ReadReport(
        native_fps=rate,
        native_height=first.shape[0],
        native_width=first.shape[1],
        duration=last / rate if rate else 0.0,
    )


def _size(path: Path | None) -> int:
    with contextlib.suppress(OSError):
        return 0 if path is None or path.is_dir() else path.stat().st_size
    return 0


def add_check(commands, argv: Sequence[str]) -> None:
    """Adds the command's parser, with the options of the source that `argv` names."""
    parser = commands.add_parser(
        "check",
        help="look through a download before building it",
        allow_abbrev=False,
        description="Lists what a download holds, what is missing, unreadable or contradictory.",
    )
    parser.add_argument("name", metavar="NAME", help=f"a source: {', '.join(registry.sources())}")
    parser.add_argument("--manual_dir", help="your download of the source")
    parser.add_argument("--config", help="configuration of the source (default: its first)")
    parser.add_argument("--decode", action="store_true", help="read every frame (slow)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for any finding")
    parser.add_argument("--json", metavar="FILE", help="write the report there as JSON")
    settings.add_decoding(parser)
    parser.set_defaults(run=functools.partial(_check, argv))
    if len(argv) > 1 and argv[0] == "check" and not argv[1].startswith("-"):
        registry.builder_class(argv[1]).add_arguments(parser.add_argument_group(argv[1]))


def _check(argv: Sequence[str], args: argparse.Namespace) -> int:
    builder_cls = registry.builder_class(args.name)
    config = builder_cls.config_from_arguments(args)
    decode = settings.given(args, settings.DECODING)
    config = settings.with_settings(builder_cls, config, decode=decode)
    manual_dir = None if args.manual_dir is None else Path(os.path.abspath(args.manual_dir))
    with tempfile.TemporaryDirectory(prefix="surgrec_") as nowhere:
        builder = builder_cls(data_dir=nowhere, config=config, manual_dir=manual_dir)
        with one_thread_and_quiet():
            report = check(builder, decode=args.decode)
    print(report.text())
    if args.json:
        settings.write_json(args.json, dataclasses.asdict(report))
    to_mend = report.to_mend(args.strict)
    say(after_check(argv, to_mend))
    return 1 if to_mend else 0
