"""Writes shards as an Apache Beam pipeline, on any of Beam's runners (the `beam` extra).

A shard is the pipeline's element: Create(shards) | Reshuffle | write. Planning, writing, the notes
that tell finished shards, and the naming of the result are those of the build on one machine
(`shards`, `build`), so that bytes and order are the same. Results travel by the notes beside the
shards: workers must see the download and the data_dir under the same paths as this process.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.common.build.shards import ShardJob, ShardResult, finished, write_shard
from data_builders.common.source.builder import VideoDatasetBuilder
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.safety import files

INSTALL = "pip install '.[beam]'"


def run_jobs(
    builder: VideoDatasetBuilder,
    jobs: Sequence[ShardJob],
    *,
    options: str,
    strict: bool,
    progress: bool,
) -> dict[Path, ShardResult]:
    """Writes all shards with Beam; results by the shard's path.

    Args:
        options: Beam's pipeline options as on a command line; "" is the DirectRunner, in this
            process.

    Raises:
        BuildError: Beam is not installed or refuses the options, a shard cannot be written, or the
            workers write to another disk; finished shards are kept.
        KeyboardInterrupt: stopped by the user; finished shards are kept.
    """
    beam, pipeline_options = _import()
    parsed = _parse(pipeline_options, options)
    if not jobs:
        return {}
    # Large ones last would cost time; a runner may take them in another order.
    jobs = sorted(jobs, key=lambda job: -job.source_bytes)
    for job in jobs:
        _failure(job).unlink(missing_ok=True)
    runner = parsed.view_as(pipeline_options.StandardOptions).runner or "DirectRunner"
    if progress:
        print(f"{builder.name}: {len(jobs)} shard(s) with Beam's {runner} ...", flush=True)
    try:
        pipeline = beam.Pipeline(options=parsed)
        _ = (
            pipeline
            | "Shards" >> beam.Create(jobs)
            | "Spread" >> beam.Reshuffle()  # otherwise one worker may get all of them
            | "Write" >> beam.Map(_write, builder=builder, strict=strict)
        )
        result = pipeline.run()
    except (RuntimeError, ValueError) as error:
        if "while running" in str(error):  # in our own code, by the DirectRunner
            raise
        raise BuildError(f"Beam's {runner} cannot run: {error}") from error
    try:
        state = result.wait_until_finish()
    except KeyboardInterrupt:
        result.cancel()
        raise
    except RuntimeError as error:  # a cluster's error; its own pages show the rest
        last = str(error).strip().splitlines()[-1:] or ["it does not say why"]
        raise BuildError(
            f"Beam's {runner} failed: {last[0]}; run the same command again (finished shards are "
            "kept)."
        ) from error
    for job in jobs:
        if _failure(job).exists():
            raise BuildError(json.loads(_failure(job).read_text(encoding="utf-8")))
    if state != "DONE":
        raise BuildError(
            f"Beam's {runner} ended as {state}; run the same command again (finished shards are "
            "kept)."
        )
    results = {job.path: finished(job) for job in jobs}
    if missing := sum(result is None for result in results.values()):
        raise BuildError(
            f"Beam's {runner} is done, but {missing} of {len(jobs)} shards are not in "
            f"{safe_text(jobs[0].path.parent)}; give a --data_dir that all workers see under that "
            "path."
        )
    return results


def _write(job: ShardJob, builder: VideoDatasetBuilder, strict: bool) -> None:
    """On a worker. What the user has to mend is noted: a runner would try it again and again."""
    if finished(job):  # a runner may do a piece of work twice
        return
    job.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with one_thread_and_quiet():
            write_shard(builder, job, strict=strict, progress=lambda frames, videos: None)
    except BuildError as error:
        files.write_json(_failure(job), str(error))


def _failure(job: ShardJob) -> Path:
    return job.path.with_name(job.path.name + ".failed")


def _import():
    try:
        import apache_beam
        from apache_beam.options import pipeline_options
    except ImportError as error:
        raise BuildError(
            f"--beam needs Apache Beam: {INSTALL} (in an environment of its own; it holds protobuf "
            "and pyarrow back)."
        ) from error
    return apache_beam, pipeline_options


def _parse(pipeline_options, text: str):
    """Beam's options, of which it must know every one.

    Raises:
        BuildError: an unknown option, or one that lacks its value.
    """
    try:
        words = shlex.split(text)
        given = pipeline_options.PipelineOptions(words).get_all_options(
            drop_default=True, retain_unknown_options=True
        )
    except (ValueError, SystemExit) as error:  # argparse has printed what it lacks
        raise BuildError(f"Beam does not take --beam_options {text!r}.") from error
    known = pipeline_options.PipelineOptions([]).get_all_options()
    if unknown := sorted(set(given) - set(known)):
        raise BuildError(f"Beam has no option --{unknown[0]} (in --beam_options).")
    if (given.get("runner") or "DirectRunner") == "DirectRunner":
        # Otherwise it downloads another runner, Prism, first; there are no triggers here.
        words.append("--allow_unsafe_triggers")
    return pipeline_options.PipelineOptions(words)
