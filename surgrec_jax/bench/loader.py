"""The input pipeline alone: clips per second and per CPU second, and the cost of each stage.

    python -m surgrec_jax.bench loader                                  data it writes itself
    python -m surgrec_jax.bench loader --source=cholec80 --data_dir=DATA

CPU time is that of this process and its workers, all threads. Stages are timed one after another in
one thread on the same draws; "batch" is what the pipeline costs beyond them (sampling, threads,
Grain; negative when noise is larger).
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.bench.timing import machine, timed
from surgrec_jax.data.loading import clips
from surgrec_jax.data.loading.pipeline import ClipSpec, source_sampler, train_batches
from surgrec_jax.data.loading.transforms import crop_resize_flip
from surgrec_jax.records.source import Source, open_source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench loader`."""
    parser.add_argument(
        "--source", help="a prepared source; none: synthetic records, written first"
    )
    parser.add_argument("--data_dir", default="data", help="where --source is prepared")
    parser.add_argument("--config", help="builder config of --source")
    parser.add_argument("--frames", type=int, default=16, help="frames per clip")
    parser.add_argument("--fps", type=float, default=2.0, help="frames per second of a clip")
    parser.add_argument("--size", type=int, default=224, help="pixels of a clip")
    parser.add_argument("--crop", default="random_resized", choices=clips.CROPS)
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--clips", type=int, default=160, help="clips timed in every run")
    parser.add_argument("--repeats", type=int, default=4, help="crops per draw in the last run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="also time so many worker processes")
    parser.add_argument("--compare", choices=("decord",), help="see bench/decord_loader.py")
    parser.add_argument("--minutes", type=float, default=30, help="of the videos for --compare")
    parser.add_argument("--records", type=int, default=48, help="synthetic records of 64 frames")


def run(args: argparse.Namespace) -> dict:
    """Measures the pipeline; returns {"machine", "data", "stages_ms_per_clip", "runs"}."""
    if args.compare:
        from surgrec_jax.bench import decord_loader

        return decord_loader.run(args, _time, _cpu_seconds)
    clip = ClipSpec(args.frames, args.fps, args.size, args.crop, flip=True)
    with contextlib.ExitStack() as stack:
        if args.source:
            source = open_source(args.data_dir, args.source, args.config)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench_loader_")))
            source = open_source(folder, write_synthetic(folder, records=args.records))
        cv2.setNumThreads(1)
        runs = [_time(source, clip, args, num_threads=n) for n in (0, args.threads)]
        if args.workers:
            runs.append(_time(source, clip, args, num_threads=1, num_workers=args.workers))
        if args.repeats > 1:
            runs.append(_time(source, clip, args, num_threads=args.threads, repeats=args.repeats))
        stages = _stages(source, clip, args.clips)
        stages["batch"] = runs[0]["cpu_ms_per_clip"] - sum(stages.values())
        return {
            "machine": machine(),
            "data": _describe(source),
            "clip": f"{clip.frames} frames at {clip.fps:g} fps, {clip.size} px, {clip.crop}",
            "stages_ms_per_clip": {name: round(ms, 3) for name, ms in stages.items()},
            "runs": runs,
        }


def _time(source: Source, clip: ClipSpec, args, *, num_threads, num_workers=0, repeats=1) -> dict:
    batch = args.batch_size * repeats
    steps = max(1, args.clips // batch)
    warm = 2 + 2 * num_workers
    with train_batches(
        [source], None, clip, batch_size=batch, seed=0, repeats=repeats, num_threads=num_threads,
        num_workers=num_workers, num_steps=warm + steps,
    ) as batches:  # fmt: skip
        for _ in range(warm):
            next(batches)
        own, began = _cpu_seconds(), time.perf_counter()
        for _ in range(steps):
            next(batches)
        seconds = time.perf_counter() - began
        used = _cpu_seconds() - own
    count = steps * batch
    return {
        "num_threads": num_threads,
        "num_workers": num_workers,
        "repeats": repeats,
        "clips": count,
        "clips_per_s": round(count / seconds, 2),
        "clips_per_cpu_s": round(count / used, 2),
        "cpu_ms_per_clip": round(1000 * used / count, 3),
    }


def _stages(source: Source, clip: ClipSpec, count: int) -> dict[str, float]:
    """Measures CPU milliseconds per clip of reading, parsing, decoding and cropping."""
    draws = source_sampler([source], None, seed=0).draws(np.arange(count))
    spent = dict.fromkeys(("read", "parse", "decode", "crop"), 0.0)

    def run_stage(stage: str, work: Callable, *arguments):
        value, _, cpu = timed(functools.partial(work, *arguments))
        spent[stage] += cpu
        return value

    out = np.empty((clip.frames, clip.size, clip.size, 3), np.uint8)
    rng = np.random.default_rng(0)
    for index in draws.record.tolist():
        raw = run_stage("read", source.raw, index)
        record = run_stage("parse", source.parse, raw, index)
        start = int(rng.integers(clips.num_starts(record.times, clip)))
        frames = run_stage("decode", clips.decode_clip, source, index, record, start, clip)
        box, flip = clips.pick_box(rng, *frames[0].shape[:2], clip)
        run_stage("crop", crop_resize_flip, frames, box, out, flip)
    return {stage: 1000 * seconds / count for stage, seconds in spent.items()}


def _describe(source: Source) -> str:
    some = range(0, len(source), max(1, len(source) // 8))
    records = [source.record(i) for i in some]
    frames = np.mean([len(r.frames) for r in records])
    kb = np.mean([sum(map(len, r.frames)) for r in records]) / 1e3
    height, width = cv2.imdecode(np.frombuffer(records[0].frames[0], np.uint8), 1).shape[:2]
    return (
        f"{source.name}/{source.split}, {len(source)} records of {frames:.0f} JPEG frames"
        f" ({width}x{height}, {kb:.0f} kB)"
    )


def _cpu_seconds() -> float:
    """CPU seconds of this process and its living children (by Linux's /proc; elsewhere NaN)."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        try:
            fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total
