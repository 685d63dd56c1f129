"""Shards: which videos go where, how a finished one is recognised, and the writing of one."""

import dataclasses
import hashlib
import json
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from data_builders.common.build.decode_process import read_apart, read_here
from data_builders.common.labels import label_counts
from data_builders.common.source.builder import VideoDatasetBuilder, VideoItem
from data_builders.common.video.frames import ReadReport
from surgrec_jax.records.errors import BadInput, BuildError, safe_text
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError, UserError

FORMAT = 2  # raise it when the same inputs give other bytes
SOURCE_BYTES_PER_SHARD = 256 * 2**20
VIDEOS_PER_SHARD = 256
MIN_SHARDS = 8  # enough to keep a small machine busy; few enough not to matter in a large data set
SCRATCH = "scratch"  # workers' folder beside the shards; a killed build's is found and removed
MIN_FREE_BYTES = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class ShardJob:
    """One shard: whole videos of one split.

    Attributes:
        split, index, count: shard `index` of `count` of this split.
        items: its videos, in order.
        path: the file to write; `path` + ".json" stands beside it when it is finished.
        fingerprint: hash of everything its bytes depend on.
        source_bytes: size of its input files, to start the largest first.
    """

    split: str
    index: int
    count: int
    items: tuple[VideoItem, ...]
    path: Path
    fingerprint: str
    source_bytes: int

    @property
    def note(self) -> Path:
        return self.path.with_name(self.path.name + ".json")


@dataclasses.dataclass
class ShardResult:
    """The contents of a finished shard, kept as JSON beside it."""

    fingerprint: str
    file_bytes: int = 0
    videos: int = 0
    records: int = 0
    record_bytes: int = 0
    frames: int = 0
    source_seconds: float = 0.0
    skipped: list[list[str]] = dataclasses.field(default_factory=list)
    partial: list[list[str]] = dataclasses.field(default_factory=list)
    noted: list[list[str]] = dataclasses.field(default_factory=list)
    filtered: dict[str, list[int]] = dataclasses.field(default_factory=dict)  # videos, frames
    labels: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)


def plan_shards(
    builder: VideoDatasetBuilder,
    items: Sequence[VideoItem],
    folder: Path,
    manual_dir: Path | None,
    shards: int | None = None,
) -> list[ShardJob]:
    """Deals videos into shards, a function of the videos alone (never of the number of processes).

    Args:
        shards: number per split; by default from the number and size of the videos, at least 8.
            There are never more shards than videos.
    """
    common = _common_inputs(builder, manual_dir)
    splits: dict[str, list[VideoItem]] = {}
    for item in items:
        splits.setdefault(item.split, []).append(item)
    jobs = []
    for split in sorted(splits, key=_usual_order):
        members = splits[split]
        stats = [_input_stats(builder, item, manual_dir) for item in members]
        sizes = [sum(size for _, size, _ in stat) for stat in stats]
        by_need = max(
            MIN_SHARDS,
            math.ceil(sum(sizes) / SOURCE_BYTES_PER_SHARD),
            math.ceil(len(members) / VIDEOS_PER_SHARD),
        )
        count = min(len(members), shards or by_need)
        for index in range(count):
            part = slice(len(members) * index // count, len(members) * (index + 1) // count)
            inputs = [
                [_plain(item, manual_dir), stat]
                for item, stat in zip(members[part], stats[part], strict=True)
            ]
            jobs.append(
                ShardJob(
                    split=split,
                    index=index,
                    count=count,
                    items=tuple(members[part]),
                    path=folder / f"{split}-{index:05d}-of-{count:05d}.part",
                    fingerprint=_digest([common, inputs]),
                    source_bytes=sum(sizes[part]),
                )
            )
    return jobs


def _usual_order(split: str) -> tuple[int, str]:
    usual = ("train", "val", "test")
    return usual.index(split) if split in usual else len(usual), split


def data_fingerprint(jobs: Sequence[ShardJob]) -> str:
    """Fingerprint of a whole data set: of its shards in order."""
    return _digest([[job.split, job.index, job.count, job.fingerprint] for job in jobs])


def finished(job: ShardJob) -> ShardResult | None:
    """The result of an earlier run, if the shard is there, whole, and made from the same inputs."""
    try:
        with untrusted.interpreting(job.note):
            result = ShardResult(**untrusted.read_json(job.note))
        whole = job.path.stat().st_size == result.file_bytes
    except (FileNotFoundError, DataError):
        return None
    return result if whole and result.fingerprint == job.fingerprint else None


def write_shard(
    builder: VideoDatasetBuilder,
    job: ShardJob,
    *,
    strict: bool,
    progress: Callable[[int, int], None],
    isolated: bool = False,
) -> ShardResult:
    """Reads the shard's videos and writes it; the file appears under its name only when whole.

    Args:
        strict: stop at the first video that is unreadable or damaged.
        progress: called with (source frames read, videos finished) since the last call; it may
            raise to stop the build.
        isolated: read every video in a process of its own, see `decode_process`.

    Raises:
        BuildError: nothing can be written (a full disk), or `strict` and a bad video.
    """
    result = ShardResult(job.fingerprint)
    root = job.path.parent / SCRATCH
    job.note.unlink(missing_ok=True)
    try:
        root.mkdir(exist_ok=True)
        # A folder of its own: a Beam runner may write a shard twice at the same time.
        with tempfile.TemporaryDirectory(prefix=job.path.stem + ".", dir=root) as scratch:
            temporary = Path(scratch, job.path.name)
            read = read_apart if isolated else read_here
            _write_videos(builder, job, temporary, result, strict, progress, read)
            result.file_bytes = temporary.stat().st_size
            temporary.replace(job.path)
        files.write_json(job.note, dataclasses.asdict(result))
    except UserError:
        raise
    except OSError as error:
        raise BuildError(disk_trouble(error.filename or job.path, error.strerror)) from error
    except RuntimeError as error:
        if "() failed: " not in str(error):  # how ArrayRecord's file errors begin
            raise
        reason = str(error).split("() failed: ")[1].split(";")[0]
        raise BuildError(disk_trouble(job.path, reason)) from error
    return result


def _write_videos(builder, job, path, result, strict, progress, read) -> None:
    writer = ArrayRecordWriter(os.fspath(path), "group_size:1")
    try:
        for item in job.items:
            # ArrayRecord tells of a full disk only when the file is closed, hours later perhaps.
            if shutil.disk_usage(job.path.parent).free < MIN_FREE_BYTES:
                raise BuildError(disk_trouble(job.path.parent, "the disk is full"))
            _write_video(builder, item, path.parent, writer, result, strict, progress, read)
    finally:
        writer.close()
    _check_written(path, result.records)


def _write_video(builder, item, scratch, writer, result, strict, progress, read) -> None:
    report, told, records = ReadReport(), 0, 0
    name = safe_text(item.path) if item.path is not None else item.video_id
    try:
        for data, frames in read(builder, item, report, scratch, lambda: progress(0, 0)):
            writer.write(data)
            records += 1
            result.records += 1
            result.record_bytes += len(data)
            result.frames += frames
            progress(report.frames_read - told, 0)
            told = report.frames_read
    except BadInput as error:
        if strict:
            raise BuildError(f"{error} (stopped because of --strict).") from error
        if records:
            report.problems.append(f"cut short after {records} records: {error.reason}")
        else:
            where = error.where if error.path == name else f"{name} ({error.where})"
            result.skipped.append([where, error.reason])
    if strict and report.problems:
        raise BuildError(f"{name}: {'; '.join(report.problems)} (stopped because of --strict).")
    if records:
        label_counts.merge(result.labels, report.labels)
        result.videos += 1
        result.source_seconds += report.duration
        for listed, texts in ((result.partial, report.problems), (result.noted, report.notes)):
            if texts:
                listed.append([name, "; ".join(texts)])
    for filter_name, count in report.filtered.items():
        videos, frames = result.filtered.get(filter_name, (0, 0))
        result.filtered[filter_name] = [videos + (count > 0), frames + count]
    progress(report.frames_read - told, 1)


def _check_written(path: Path, records: int) -> None:
    reader = ArrayRecordReader(os.fspath(path))
    found = reader.num_records()
    reader.close()
    if found != records:
        raise BuildError(disk_trouble(path, f"holds {found} of {records} records"))


def disk_trouble(path: str | os.PathLike, reason: str | None) -> str:
    """The sentence for a full disk or a folder that cannot be written."""
    return (
        f"cannot write {safe_text(path)}: {reason}; make room or choose another --data_dir, then "
        "run the same command again (finished shards are kept)."
    )


def _common_inputs(builder: VideoDatasetBuilder, manual_dir: Path | None) -> list[Any]:
    config = builder.builder_config
    unhashed = ("description", "tags", "release_notes", "supported_versions", "version")
    unhashed += ("splits_dir", "pseudonyms", "duplicates")  # what comes of them is in the items
    settings = {
        field.name: _plain(getattr(config, field.name), manual_dir)
        for field in dataclasses.fields(config)
        if field.name not in unhashed
    }
    classes = [builder.hooks.tracks(), builder.hooks.video_label_names()]
    classes += filter(None, [builder.hooks.maps(), builder.hooks.boxes()])
    return [FORMAT, builder.name, str(builder.version), settings, _plain(classes, None)]


def _input_stats(builder, item, manual_dir) -> list[list[Any]]:
    stats = []
    for path in builder.inputs(item):
        try:
            stat = os.stat(path)
            stats.append([_plain(Path(path), manual_dir), stat.st_size, stat.st_mtime_ns])
        except OSError:  # the shard that needs it will say so
            stats.append([_plain(Path(path), manual_dir), 0, 0])
    return stats


def _plain(value: Any, manual_dir: Path | None) -> Any:
    """`value` as JSON; paths relative to the source folder, so that it may be moved."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name), manual_dir) for f in fields}
    if isinstance(value, os.PathLike):
        path = Path(value)
        if manual_dir is not None and path.is_relative_to(manual_dir):
            path = path.relative_to(manual_dir)
        return safe_text(path)
    if hasattr(value, "items"):
        return {str(key): _plain(val, manual_dir) for key, val in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry, manual_dir) for entry in value]
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError(f"a video's extra or a configuration holds {value!r}; use plain values.")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, allow_nan=True)
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()
