"""Embeds the records of prepared sources with a frozen encoder, in shards that can be resumed."""

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tqdm

from surgrec_jax.curation.shards import FORMAT, INDEX, identity, plan_shards, write_shard
from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.data.loading.pipeline import eval_clips
from surgrec_jax.evaluation.features import extraction
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.records.source import Source
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Named:
    """A source and its name in configs, e.g. "phantom_surgery/tiny@train"."""

    name: str
    source: Source


def embed(
    encoder: Encoder,
    checkpoint: str,
    sources: Sequence[Named],
    folder: Path,
    *,
    clips_per_record: int = 1,
    shard_records: int = 4096,
    num_threads: int = 2,
    process_index: int = 0,
    process_count: int = 1,
) -> float | None:
    """Embeds every record of the sources; finished shards are not made again.

    A record's row is the mean of the features of its `clips_per_record` evenly spaced clips (centre
    crop, the encoder's own length, size and rate), stored as float16. Shard i is made by process
    i mod `process_count`; the bytes do not depend on who makes it, nor on interruptions.

    Returns:
        Clips per second of this call, None if all shards were finished.

    Raises:
        DataError: the folder holds embeddings of something else (named), or features that are
            not finite in float16.
    """
    index = make_index(encoder, checkpoint, sources, clips_per_record, shard_records)
    _keep_index(folder, index, write=process_index == 0)
    mine = index["shards"][process_index::process_count]
    todo = [shard for shard in mine if not (folder / shard["file"]).is_file()]
    by_name = {named.name: named.source for named in sources}
    total = sum(shard["records"] for shard in mine) * clips_per_record
    left = sum(shard["records"] for shard in todo) * clips_per_record
    if not todo:
        return None
    began = time.perf_counter()
    with tqdm.tqdm(
        total=total,
        initial=total - left,
        desc="embedding",
        unit=" clips",
        mininterval=0.5 if sys.stderr.isatty() else 30,  # a line now and then in a log file
    ) as bar:
        for shard in todo:
            source = by_name[shard["source"]]
            _embed_shard(encoder, source, shard, folder, clips_per_record, num_threads, bar)
    return left / (time.perf_counter() - began)


def make_index(
    encoder: Encoder,
    checkpoint: str,
    sources: Sequence[Named],
    clips_per_record: int,
    shard_records: int,
) -> dict:
    """The content of index.json: everything that rows depend on, their shards, the checkpoint."""
    if clips_per_record < 1 or shard_records < 1:
        raise ConfigError(
            f"clips_per_record {clips_per_record} and shard_records {shard_records} must be at "
            "least 1"
        )
    frames, size, fps = encoder.clip
    described = [
        {
            "name": named.name,
            "records": len(named.source),
            "fingerprint": named.source.fingerprint,
            "classes": {
                name: list(names)
                for name, names in {**named.source.video_labels, **named.source.tracks}.items()
            },
        }
        for named in sources
    ]
    return {
        "format": FORMAT,
        "encoder": {
            "name": encoder.name,
            "checkpoint": checkpoint,
            "fingerprint": encoder.fingerprint,
            "dtype": np.dtype(encoder.compute.dtype).name,
        },
        "clip": {"frames": frames, "size": size, "fps": fps, "per_record": clips_per_record},
        "width": encoder.width,
        "sources": described,
        "shards": plan_shards(described, shard_records),
    }


def _keep_index(folder: Path, index: dict, *, write: bool) -> None:
    """Writes the index, or compares it with that of an earlier start."""
    path = folder / INDEX
    index = json.loads(json.dumps(index))
    if path.is_file():
        before = identity(untrusted.read_made_json(path, "delete the folder and start again"))
        now = identity(index)
        for key in now:
            if before.get(key) != now[key]:
                raise DataError(
                    f"{path} was begun with another {key}: {_first_difference(before, now, key)}."
                    " Use another folder, or delete this one"
                )
        return
    folder.mkdir(parents=True, exist_ok=True)
    if write:
        files.write_json(path, index)


def _first_difference(before: dict, now: dict, key: str) -> str:
    """The first and innermost difference, in words."""
    a, b = before.get(key), now[key]
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        a, b = next((x, y) for x, y in zip(a, b, strict=True) if x != y)
    if isinstance(a, dict) and isinstance(b, dict):
        name = a.get("name", "") if key == "sources" else ""
        field = next(k for k in b if a.get(k) != b[k])
        return f"{name} {field} {a.get(field)!r}, now {b[field]!r}".strip()
    return f"{str(a)[:200]}, now {str(b)[:200]}"


def _embed_shard(encoder, source, shard, folder, clips_per_record, num_threads, bar) -> None:
    clip = clip_of(encoder.clip)
    records = np.arange(shard["first"], shard["first"] + shard["records"])
    clips = _clips(source, clip, records, clips_per_record, encoder.batch_size, num_threads, bar)
    table = extraction.extract({encoder.name: encoder.features}, clips)[encoder.name]
    rows = table.features.reshape(len(records), clips_per_record, -1).mean(1).astype(np.float16)
    if not np.isfinite(rows).all():
        bad = int(records[np.argmax(~np.isfinite(rows).all(1))])
        raise DataError(
            f"{source.where(bad)}: its features do not fit float16 (beyond 65504); use another "
            "checkpoint"
        )
    middle = slice(clips_per_record // 2, None, clips_per_record)
    labels = {name: values[middle] for name, values in table.labels.items()}
    facts = {
        "record": table.record[middle],
        "domain": labels.pop("#domain").astype(np.int8),
        "case": table.case_id[middle],
        "video": table.video_id[middle],
        "time": table.time[middle],
        **{f"label/{name}": values.astype(np.int16) for name, values in labels.items()},
    }
    write_shard(folder / shard["file"], rows, facts)


def _clips(source, clip, records, clips_per_record, batch_size, num_threads, bar) -> Iterator[dict]:
    """Clips of some records for `extraction.extract`, with the domain among the labels."""
    with eval_clips(
        source,
        clip,
        clips_per_record=clips_per_record,
        batch_size=batch_size,
        records=records,
        num_threads=num_threads,
    ) as batches:
        for batch in batches:
            labels = {**batch["video_labels"], **batch["labels"], "#domain": batch["domain"]}
            yield {**batch, "labels": labels}
            bar.update(len(batch["video"]))
