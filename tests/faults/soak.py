"""A run of the quickstart's size on damaged data, for as long as asked: memory and files stay flat.

Needs the phantom corpus (`python -m data_builders build phantom_surgery --config tiny`), and
damages a copy: frames that do not decode, records that do not parse, overwritten bytes of shards.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
from tensorflow_datasets.proto import tf_example_pb2

from tests.faults import runs
from tests.faults.runs import expect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `faults soak`."""
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument(
        "--data", type=Path, default=runs.ROOT / "data", help="with phantom_surgery"
    )
    parser.add_argument("--share", type=float, default=0.1, help="of the records that are damaged")
    parser.add_argument("--workers", type=int, default=0, help="loader processes")
    parser.add_argument("--growth_mib", type=float, default=100, help="allowed from 1/3 to the end")


def inject(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Trains on damaged records and measures; then stops the run with SIGTERM."""
    corpus = args.data / "phantom_surgery" / "tiny"
    expect(corpus.is_dir(), f"{corpus} is not there: build it first, see --help")
    copy = folder / "data" / "phantom_surgery" / "tiny"
    if not copy.exists():
        shutil.copytree(corpus, copy)
        damaged = damage(copy, args.share, np.random.default_rng(args.seed))
        (folder / "damaged.json").write_text(json.dumps(damaged) + "\n")
    damaged = json.loads((folder / "damaged.json").read_text())
    workdir = folder / "run"
    command = [
        *(sys.executable, "-m", "surgrec_jax.main"),
        f"--config={runs.ROOT / 'configs' / 'mae.py'}:tiny",
        f"--workdir={workdir}",
        f"--config.data.data_dir={folder / 'data'}",
        "--config.steps=10000000",
        "--config.probe.every=0",
        "--config.images.every=200",
        "--config.checkpoint.every=100",
        "--config.data.max_bad_share=0.5",
        f"--config.data.num_workers={args.workers}",
    ]
    with (folder / "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(command, cwd=folder, env=runs.environment(folder), stderr=stderr)
        try:
            samples = _watch(process, workdir, 60 * args.minutes)
            process.send_signal(signal.SIGTERM)
            code = process.wait(timeout=120)
        finally:
            process.kill()
    said = (folder / "stderr.txt").read_text()
    expect(code == 75, f"the run ended with {code}: {said[-3000:]}")
    listed = (workdir / "bad_records.jsonl").read_text().splitlines()
    expect(listed, "no damaged record was listed")
    expect(len(set(listed)) == len(listed), "a record is listed twice")
    return _figures(samples, args) | {
        "records_damaged": damaged,
        "records_met_and_listed": len(listed),
        "steps": max(runs.losses(workdir)),
        "exit_code": code,
    }


def damage(folder: Path, share: float, rng: np.random.Generator) -> dict[str, int]:
    """Damages a share of the training records of a prepared data set; kind -> how many."""
    counts = {"frames": 0, "protos": 0, "shards": 0}
    for path in sorted(folder.glob("*/*-train.array_record-*")):
        reader = ArrayRecordReader(str(path))
        records = [reader.read([k])[0] for k in range(reader.num_records())]
        reader.close()
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for raw in records:
            kind = ("frames", "protos")[int(rng.integers(2))] if rng.random() < share else None
            if kind == "protos":
                raw = raw[: int(rng.integers(1, len(raw)))]
            elif kind == "frames":
                proto = tf_example_pb2.Example.FromString(raw)
                frames = proto.features.feature["frames"].bytes_list.value
                for k in range(len(frames)):
                    frames[k] = rng.bytes(len(frames[k]))
                raw = proto.SerializeToString()
            if kind:
                counts[kind] += 1
            writer.write(raw)
        writer.close()
        if rng.random() < 0.25:  # one place of the file overwritten, away from its index
            size = path.stat().st_size
            with path.open("r+b") as file:
                file.seek(int(rng.integers(size // 4, size // 2)))
                file.write(rng.bytes(64))
            counts["shards"] += 1
    return counts


def _watch(process: subprocess.Popen, workdir: Path, seconds: float) -> list[dict[str, float]]:
    """Memory (RSS), open files and threads of the run and its workers, every five seconds."""
    began, samples, root = time.monotonic(), [], psutil.Process(process.pid)
    while time.monotonic() - began < seconds:
        expect(process.poll() is None, f"the run ended with {process.returncode} in mid-soak")
        sample = {"s": time.monotonic() - began, "rss_mib": 0.0, "files": 0, "threads": 0}
        with contextlib.suppress(psutil.NoSuchProcess):
            for one in (root, *root.children(recursive=True)):
                sample["rss_mib"] += one.memory_info().rss / 2**20
                sample["files"] += len(os.listdir(f"/proc/{one.pid}/fd"))
                sample["threads"] += one.num_threads()
            samples.append(sample)
        with (workdir.parent / "samples.jsonl").open("a") as file:
            file.write(json.dumps(sample) + "\n")
        time.sleep(5)
    return samples


def _figures(samples: list[dict[str, float]], args: argparse.Namespace) -> dict[str, object]:
    figures: dict[str, object] = {"minutes": args.minutes, "samples": len(samples)}
    third = len(samples) // 3
    for name in ("rss_mib", "files", "threads"):
        values = np.array([s[name] for s in samples])
        middle, last = np.median(values[third : 2 * third]), np.median(values[2 * third :])
        figures[name] = {
            "median of the second third": float(middle),
            "median of the last third": float(last),
            "largest": float(values.max()),
        }
        allowed = {"rss_mib": args.growth_mib, "files": 10, "threads": 5}[name]
        expect(last - middle <= allowed, f"{name} grows from {middle:.0f} to {last:.0f}")
    return figures
