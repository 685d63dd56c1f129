"""The usual loader of video pretraining, which seeks in whole video files, beside this project's.

    pip install decord av torch==2.13.0       # only this comparison needs them
    python -m surgrec_jax.bench loader --compare=decord

Two H.264 videos of `--minutes` are written (x264's defaults: a key frame every 250 frames), at 480
lines and again at 256. The usual loader, as VideoMAE's training code has it, opens a file for every
clip, seeks to a random start, takes every fourth of 64 frames with decord, and crops; two worker
processes of a torch DataLoader. Crops are this project's on both sides. Here the same 480-line
files are built into records first, as they would be once for a whole training.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.build.build import build
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from surgrec_jax.bench.synthetic import drifting_frames
from surgrec_jax.data.loading import clips
from surgrec_jax.data.loading.clips import ClipSpec
from surgrec_jax.data.loading.transforms import crop_resize_flip
from surgrec_jax.records.source import open_source
from surgrec_jax.safety.errors import ConfigError

FPS, STRIDE, WORKERS, VIDEOS = 25, 4, 2, 2
LINES = (480, 256)
# Written once and repeated, without encoding it again, to the length that is asked for.
SECONDS = 40


def run(
    args: argparse.Namespace, time_ours: Callable[..., dict], cpu_seconds: Callable[[], float]
) -> dict[str, Any]:
    """Clips per CPU second of both.

    Args:
        args: of `bench loader`.
        time_ours: times this project's pipeline over a source.
        cpu_seconds: of this process and its children.

    Raises:
        ConfigError: decord, av or torch is not installed.
    """
    try:
        import av  # noqa: F401
        import decord  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--compare=decord needs decord, av and torch: {error}") from error
    clip = ClipSpec(args.frames, FPS / STRIDE, args.size, args.crop, flip=True)
    figures: dict[str, Any] = {"videos": f"{VIDEOS} of {args.minutes:g} minutes, {FPS} fps, H.264"}
    with tempfile.TemporaryDirectory(prefix="bench_decord_") as name, one_thread_and_quiet():
        for lines in LINES:
            folder = Path(name) / str(lines)
            write_videos(folder, lines, args.minutes)
            speed = time_decord(folder, clip, args, cpu_seconds)
            figures[f"decord on {lines} lines, clips per CPU s"] = speed
        build(
            "video_folder",
            data_dir=Path(name) / "data",
            manual_dir=Path(name) / str(LINES[0]),
            config=VideoFolderConfig(split=(1.0, 0.0, 0.0)),
            num_workers=1,
            progress=False,
        )
        source = open_source(Path(name) / "data", "video_folder")
        ours = time_ours(source, clip, args, num_threads=args.threads)["clips_per_cpu_s"]
    figures["ours, clips per CPU s"] = ours
    for lines in LINES:
        figures[f"ours / decord on {lines}"] = (
            ours / figures[f"decord on {lines} lines, clips per CPU s"]
        )
    return figures


def write_videos(folder: Path, lines: int, minutes: float) -> None:
    """Two videos of one drifting picture each."""
    folder.mkdir()
    for number in range(VIDEOS):
        short = folder / "short.mp4"
        _encode(short, drifting_frames(SECONDS, lines, FPS, seed=number))
        _repeat(short, folder / f"case{number}.mp4", max(1, round(60 * minutes / SECONDS)))
        short.unlink()


def _encode(path: Path, frames: Iterator[np.ndarray]) -> None:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.pix_fmt = "yuv420p"
        for number, picture in enumerate(frames):
            if number == 0:
                stream.height, stream.width = picture.shape[:2]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))


def _repeat(path: Path, longer: Path, times: int) -> None:
    """The same packets again and again, each time later."""
    import av

    with av.open(str(longer), "w") as out:
        stream, offset = None, 0
        for _ in range(times):
            with av.open(str(path)) as source:
                read = source.streams.video[0]
                stream = stream or out.add_stream_from_template(read)
                for packet in source.demux(read):
                    if packet.dts is None:  # the flush at the end
                        continue
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    out.mux(packet)
                offset += read.duration


@dataclasses.dataclass
class SeekingClips:
    """What a torch DataLoader reads: clip i of some videos, [T, side, side, 3] uint8."""

    paths: list[str]
    clip: ClipSpec
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> np.ndarray:
        import decord

        rng = np.random.default_rng(index)
        reader = decord.VideoReader(self.paths[index % len(self.paths)], num_threads=1)
        span = STRIDE * self.clip.frames
        start = int(rng.integers(len(reader) - span))
        frames = reader.get_batch(range(start, start + span, STRIDE)).asnumpy()  # [T, H, W, 3]
        out = np.empty((self.clip.frames, self.clip.size, self.clip.size, 3), np.uint8)
        box, flip = clips.pick_box(rng, *frames.shape[1:3], self.clip)
        crop_resize_flip(list(frames), box, out, flip)
        return out


def time_decord(
    folder: Path, clip: ClipSpec, args: argparse.Namespace, cpu_seconds: Callable[[], float]
) -> float:
    """Clips per CPU second, after two batches of every worker to warm up."""
    from torch.utils.data import DataLoader

    warm = 2 * WORKERS
    steps = max(1, args.clips // args.batch_size)
    paths = [str(path) for path in sorted(folder.glob("*.mp4"))]
    loader = DataLoader(
        SeekingClips(paths, clip, (warm + steps) * args.batch_size),
        batch_size=args.batch_size,
        num_workers=WORKERS,
        prefetch_factor=1,  # little of what is timed was made before, and little is not timed
        multiprocessing_context="spawn",
    )
    batches = iter(loader)
    for _ in range(warm):
        next(batches)
    own = cpu_seconds()
    for _ in range(steps):
        next(batches)
    used = cpu_seconds() - own
    del batches
    return steps * args.batch_size / used
