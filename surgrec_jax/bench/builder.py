"""Building of records from video: seconds of video per CPU second of one core, and their size.

    python -m surgrec_jax.bench builder                        a 480p video it writes itself
    python -m surgrec_jax.bench builder --video=case.mp4       a file of yours (copied)
    python -m surgrec_jax.bench builder --memory               peak memory against length

The same file is read in three ways in one thread: every frame is decoded and dropped (the floor),
read by the builders (frames picked by time stamp, shrunk), and built into records (labels, JPEG,
ArrayRecord, metadata). CPU time is that of this process; the least of `--repeats` counts. A build
on N cores is N such processes. OpenCV's own encoder is MPEG-4 part 2: H.264 costs more to decode.

`--memory` builds files of `--minutes`, each in a process of its own, and tells its peak of resident
memory, and its memory after the imports.
"""

import argparse
import functools
import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable
from concurrent import futures
from pathlib import Path

import cv2

from data_builders.common.build.build import build
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.video.container import open_file
from data_builders.common.video.decoder import Faults, decode
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import read_video
from data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from surgrec_jax.bench.synthetic import drifting_frames
from surgrec_jax.bench.timing import machine, memory, timed
from surgrec_jax.records.schema import RecordSpec
from surgrec_jax.safety.errors import ConfigError, UserError

FOURCC = "mp4v"
SPEC = RecordSpec()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench builder`."""
    parser.add_argument("--video", type=Path, help="measure on this file; none: one is written")
    parser.add_argument("--seconds", type=float, default=40, help="length of the written video")
    parser.add_argument("--height", type=int, default=480, help="of the written video; 16:9")
    parser.add_argument("--fps", type=float, default=25, help="of the written video")
    parser.add_argument("--repeats", type=int, default=3, help="the least CPU time counts")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of speed")
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=(1, 30), help="lengths that --memory compares"
    )


def run(args: argparse.Namespace) -> dict:
    """Measures video seconds per CPU second and bytes per hour of video, or memory by minutes.

    Raises:
        ConfigError: the video cannot be read, or the options give no video.
    """
    if args.repeats < 1 or args.seconds * args.fps < 1 or args.height < 16:
        raise ConfigError("bench builder: give --repeats, --seconds, --fps and --height above 0")
    if args.memory:
        return _memory(args.minutes, args.height, args.fps)
    with tempfile.TemporaryDirectory(prefix="bench_builder_") as name, one_thread_and_quiet():
        folder = Path(name)
        videos = folder / "videos"
        videos.mkdir()
        if args.video is None:
            video = write_video(videos / "video.mp4", args.seconds, args.height, args.fps)
        else:
            video = Path(shutil.copyfile(args.video, videos / args.video.name))
        size = video.stat().st_size
        report = ReadReport()
        decode_s = _least_cpu(args.repeats, lambda k: _decode(video))
        read_s = _least_cpu(args.repeats, lambda k: _read(video, report))
        summaries = []
        build_s = _least_cpu(
            args.repeats, lambda k: summaries.append(build_folder(videos, folder / f"data{k}"))
        )
    seconds = summaries[0].source_seconds
    stored = sum(split.bytes for split in summaries[0].splits.values())
    return {
        "machine": machine(),
        "video": (
            f"{report.native_width}x{report.native_height}, {report.native_fps:.4g} fps, "
            f"{seconds:.0f} s" + ("" if args.video else f", {FOURCC}, written here")
        ),
        "records": f"{SPEC.fps:g} fps, short side {SPEC.short_side}, quality {SPEC.jpeg_quality}",
        "video_s_per_cpu_s": {
            "decoding alone": seconds / decode_s,
            "reading": seconds / read_s,
            "build": seconds / build_s,
        },
        "cpu_of_a_build_over_decoding": build_s / decode_s,
        "bytes_per_video_hour": {
            "file": float(size * 3600 / seconds),
            "records": float(stored * 3600 / seconds),
        },
    }


def _memory(minutes: Iterable[float], height: int, fps: float) -> dict:
    video, peaks = f"{height} lines, {fps:g} fps, {FOURCC}, written here", []
    for length in minutes:
        with tempfile.TemporaryDirectory(prefix="bench_builder_") as name:
            folder = Path(name)
            (folder / "videos").mkdir()
            write_video(folder / "videos" / "video.mp4", 60 * length, height, fps)
            # Every build has a new process, as a peak does not go down again.
            spawn = multiprocessing.get_context("spawn")
            with futures.ProcessPoolExecutor(1, spawn) as process:
                peak = process.submit(_peak, folder).result()
            peaks.append({"minutes": length, **peak})
    return {"machine": machine(), "video": video, "builds": peaks}


def _peak(folder: Path) -> dict[str, float]:
    """The memory of this process in MiB, before and after a build of one file."""
    # The peak of getrusage is inherited from the process that started this one.
    before = memory("VmHWM") / 2**20
    with one_thread_and_quiet():
        summary = build_folder(folder / "videos", folder / "data")
    (counts,) = summary.splits.values()
    return {
        "records": counts.segments,
        "stored_MiB": counts.bytes / 2**20,
        "imports_MiB": before,
        "peak_MiB": memory("VmHWM") / 2**20,
    }


def build_folder(videos: Path, data_dir: Path):
    """Builds a folder of videos into one training split; returns the summary of the build."""
    return build(
        "video_folder",
        data_dir=data_dir,
        manual_dir=videos,
        config=VideoFolderConfig(split=(1.0, 0.0, 0.0)),
        num_workers=1,
        progress=False,
    )


def write_video(path: Path, seconds: float, height: int, fps: float) -> Path:
    """Writes the frames of `synthetic.drifting_frames`."""
    writer = None
    for picture in drifting_frames(seconds, height, fps):
        if writer is None:
            size = picture.shape[1::-1]
            code = cv2.VideoWriter_fourcc(*FOURCC)
            writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, size)
            if not writer.isOpened():
                raise UserError(f"OpenCV cannot write {FOURCC} at {size}, {fps:g} fps")
        writer.write(picture)
    writer.release()
    return path


def _decode(path: Path) -> None:
    with open_file(path) as file:
        for _ in decode(file, Faults()):
            pass


def _read(path: Path, report: ReadReport) -> None:
    for _ in read_video(path, fps=SPEC.fps, short_side=SPEC.short_side, report=report):
        pass


def _least_cpu(repeats: int, work: Callable[[int], object]) -> float:
    return min(timed(functools.partial(work, k))[2] for k in range(repeats))
