"""The parallel build: a process per shard, resumable, the same bytes for any number of processes.

A data set grows in `data_dir/.building/<name>/<config>/<version>/`, a finished shard at a time, and
is renamed to its place when it is whole. An interrupted build leaves its finished shards there; the
same command goes on from them. Beside a shard stands a note with a fingerprint of the videos,
settings and classes it was made from, so that a shard of other inputs is never taken for a finished
one.
"""

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from tensorflow_datasets.core import naming

from data_builders.common.build import beam as beam_pipeline
from data_builders.common.build import pool
from data_builders.common.build.build_lock import WORK, claimed, discard
from data_builders.common.build.shards import (
    ShardResult,
    data_fingerprint,
    disk_trouble,
    finished,
    plan_shards,
)
from data_builders.common.build.summary import LISTINGS, BuildSummary, SplitSummary
from data_builders.common.labels import label_counts
from data_builders.common.source.builder import VideoDatasetBuilder
from data_builders.common.source.previous_build import kept_sentence, read_earlier
from data_builders.common.source.registry import builder_class, check_config
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.records.info import NOTE
from surgrec_jax.records.prepared import damaged_shard
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import UserError


def build(
    builder_name: str | type[VideoDatasetBuilder],
    *,
    data_dir: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    config: str | tfds.core.BuilderConfig | None = None,
    num_workers: int | None = None,
    shards: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    progress: bool = True,
    beam: str | None = None,
) -> BuildSummary:
    """Builds a data set into `data_dir/<name>/<config>/<version>`, or goes on with its build.

    Args:
        builder_name: a source (see `registry.sources`), or a builder class.
        data_dir: root of the prepared data sets.
        manual_dir: the user's download, for sources that need one.
        config: name of a configuration, or a VideoConfig.
        num_workers: processes; by default one per core, at least 2. With 1 all is done in this
            process, where a video that crashes the decoder ends the build (see `decode_process`).
        shards: number of shards per split; by default from the number and size of the videos.
        overwrite: replace a prepared data set that was made from other inputs.
        strict: stop at the first video that is unreadable or damaged, and before it when files
            would be passed over.
        progress: show a progress bar.
        beam: options of Apache Beam ("--runner=FlinkRunner ..."; "" for its DirectRunner), to run
            as a pipeline instead of in processes of this machine.

    Returns:
        The summary. When the data set is there already, its stored summary with `fresh` False.

    Raises:
        BuildError: bad arguments or input, or a disk that cannot be written; says what to do.
        KeyboardInterrupt: on Ctrl-C; finished shards are kept.
    """
    start = time.monotonic()
    if num_workers is not None and num_workers < 1:
        raise BuildError(f"the number of workers is {num_workers}: give 1 or more.")
    if num_workers is not None and beam is not None:
        raise BuildError("--workers is for builds without --beam: Beam's options give its number.")
    if shards is not None and shards < 1:
        raise BuildError(f"the number of shards is {shards}: give 1 or more.")
    builder_cls = builder_class(builder_name) if isinstance(builder_name, str) else builder_name
    data_dir = Path(os.path.abspath(data_dir))
    manual_dir = None if manual_dir is None else Path(os.path.abspath(manual_dir))
    work_root = data_dir / WORK
    check_config(builder_cls, config)
    builder = builder_cls(data_dir=work_root, config=config, manual_dir=manual_dir)
    work = Path(builder.data_path)
    target = data_dir / work.relative_to(work_root)
    builder.earlier, trouble = read_earlier(target, builder.dealt_by())
    items = builder.checked_videos(manual_dir)
    cases = {item.case_id: item.split for item in items}
    listed = list(builder.skipped)
    if strict and listed:
        what = f"{len(listed)} files would be passed over (stopped because of --strict):"
        raise BuildError("\n  ".join([f"{builder.name}: {what}", *map(": ".join, listed)]))

    jobs = plan_shards(builder, items, work / "shards", manual_dir, shards)
    fingerprint = data_fingerprint(jobs)
    if target.exists() and not overwrite:
        return _already_there(target, fingerprint)
    with claimed(work):
        results = _run(builder, jobs, num_workers, strict, progress, beam)
        summary = _summarise(builder, target, jobs, results, listed)
        if not summary.splits:
            discard(work, work_root)
            raise BuildError(
                f"{builder.name}: none of {len(items)} videos could be read; nothing was kept."
                f"{builder.other_folder()}\n"
                + "\n".join(f"  {path}: {reason}" for path, reason in summary.skipped)
            )
        summary.seconds = time.monotonic() - start
        summary.dealt = trouble or kept_sentence(builder.earlier, cases)
        note = {"fingerprint": fingerprint, "dealt_by": builder.dealt_by(), "cases": cases}
        try:
            _finish(builder, work, target, jobs, results, summary, note)
        except OSError as error:
            raise BuildError(disk_trouble(error.filename or target, error.strerror)) from error
        discard(work, work_root)
    return summary


def _run(builder, jobs, num_workers, strict, progress, beam) -> list[tuple[ShardResult, bool]]:
    """Results of all shards in order, each with whether an earlier run had finished it."""
    done = {job.path: result for job in jobs if (result := finished(job)) is not None}
    todo = [job for job in jobs if job.path not in done]
    stale = sum(1 for job in todo if job.path.exists())
    if progress and done:
        print(f"{len(done)} of {len(jobs)} shards are finished from an earlier run.", flush=True)
    if progress and stale:
        print(
            f"{stale} shard(s) of an earlier run were made from other files or settings and are "
            "made anew.",
            flush=True,
        )
    how = {"strict": strict, "progress": progress}
    if beam is None:
        workers = num_workers or max(2, os.cpu_count() or 1)
        fresh = pool.run_jobs(builder, todo, num_workers=workers, **how)
    else:
        fresh = beam_pipeline.run_jobs(builder, todo, options=beam, **how)
    return [
        (done[job.path], True) if job.path in done else (fresh[job.path], False) for job in jobs
    ]


def _summarise(builder, target, jobs, results, listed) -> BuildSummary:
    parts = [builder.name, builder.builder_config_name, str(builder.version)]
    summary = BuildSummary(
        name="/".join(part for part in parts if part),
        directory=target,
        splits={},
        skipped=list(listed),
        partial=[],
        source_seconds=0.0,
        seconds=0.0,
        shards=len(jobs),
        resumed=sum(resumed for _, resumed in results),
        notes=list(builder.notes),
        remarks=list(builder.remarks),
    )
    labels: label_counts.Counts = {}
    if builder.builder_config.duplicates is not None:
        summary.filtered["drop_duplicates"] = [builder.duplicates_dropped, 0]
    for job, (result, _) in zip(jobs, results, strict=True):
        if result.records:
            counts = summary.splits.setdefault(job.split, SplitSummary())
            counts.videos += result.videos
            counts.segments += result.records
            counts.frames += result.frames
            counts.bytes += result.record_bytes
        for listing in LISTINGS:
            getattr(summary, listing).extend(map(tuple, getattr(result, listing)))
        summary.source_seconds += result.source_seconds
        label_counts.merge(labels, result.labels)
        for name, (videos, frames) in result.filtered.items():
            before = summary.filtered.get(name, (0, 0))
            summary.filtered[name] = [before[0] + videos, before[1] + frames]
    names = builder.hooks.tracks(), builder.hooks.video_label_names()
    summary.labels = label_counts.named(labels, *names)
    return summary


def _finish(builder, work, target, jobs, results, summary, note) -> None:
    """Gives the shards their TFDS names, writes the metadata, and moves the whole to its place."""
    ready = work / "ready"
    shutil.rmtree(
        ready, ignore_errors=True
    )  # left by a run that was killed here; its shards are made anew
    ready.mkdir()
    split_infos = []
    for split in summary.splits:
        kept = [
            (job, result)
            for job, (result, _) in zip(jobs, results, strict=True)
            if job.split == split and result.records  # readers do not take empty shards
        ]
        template = naming.ShardedFileTemplate(
            data_dir=ready, dataset_name=builder.name, split=split, filetype_suffix="array_record"
        )
        for index, (job, _) in enumerate(kept):
            name = template.sharded_filepath(shard_index=index, num_shards=len(kept)).name
            job.path.rename(ready / name)
        split_infos.append(
            tfds.core.SplitInfo(
                name=split,
                shard_lengths=[result.records for _, result in kept],
                num_bytes=sum(result.record_bytes for _, result in kept),
                filename_template=template,
            )
        )
    info = builder.info
    info.set_file_format("array_record", override=True)
    info.set_splits(tfds.core.splits.SplitDict(split_infos))
    info.write_to_directory(ready)
    note |= {
        "record": dataclasses.asdict(builder.record_spec),
        "filters": dataclasses.asdict(builder.builder_config.filters),
        "summary": _stored(builder, summary),
    }
    files.write_json(ready / NOTE, note)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():  # --overwrite
        target.rename(work / "replaced")
    ready.rename(target)


def _stored(builder, summary: BuildSummary) -> dict[str, Any]:
    """The summary that stands beside the data; with pseudonyms, without the names of files."""
    stored = summary.to_json()
    if getattr(builder.builder_config, "pseudonyms", None):
        for key in LISTINGS:
            stored[key] = [("a video", "told when it was built (--pseudonyms)")] * len(stored[key])
        stored["remarks"] = ["told when it was built (--pseudonyms)"] * len(stored["remarks"])
    return stored


def _already_there(target: Path, fingerprint: str) -> BuildSummary:
    remedy = "give --overwrite to replace it, or choose another --data_dir"
    try:
        with untrusted.interpreting(target / NOTE):
            note = untrusted.read_json(target / NOTE)
            summary = BuildSummary.from_json(note["summary"], target)
    except (OSError, UserError) as error:
        raise BuildError(
            f"{safe_text(target)} is there, but was not written by this build; {remedy}."
        ) from error
    if note.get("fingerprint") != fingerprint:
        raise BuildError(
            f"{safe_text(target)} was made from other files or settings; {remedy} or another name."
        )
    shard = damaged_shard(target)
    if shard is not None:
        raise BuildError(
            f"{safe_text(target)} is there, but its shard {safe_text(shard)} is missing or "
            "damaged; restore the file from a copy, or give --overwrite to build all of it again."
        )
    return summary
