"""Sources: random access to the records of one split of a prepared TFDS data set.

The schema is the data set's own: label tracks and class names are read from its features. Records
are read from ArrayRecord as raw bytes and parsed as tf.train.Example protos, without TensorFlow and
without decoding any frame.
"""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from surgrec_jax.records import storage
from surgrec_jax.records.boxes import StoredBoxes, box_kinds, parse_boxes
from surgrec_jax.records.example import DamagedRecordError, NoRecordError, Record, parse_record
from surgrec_jax.records.info import read_info, shards_of, stored_as
from surgrec_jax.records.locate import build_command, find_version
from surgrec_jax.records.maps import Kind, StoredMaps, kinds, parse_maps
from surgrec_jax.records.open_shards import OPEN, open_shard
from surgrec_jax.safety.errors import ConfigError, DataError, MissingError

__all__ = ["DamagedRecordError", "Record", "Source", "open_source"]

_CHECKED_SHARDS = 256  # the records of up to so many shards are counted at opening (0.1 ms each)


@dataclasses.dataclass(eq=False, repr=False)
class Source:
    """One split of a prepared data set; its files are opened when read (`open_shards.OPEN`).

    Attributes:
        name, split: names of the data set and the split.
        directory: folder of the version.
        shards: (file name, number of records) of every shard.
        tracks, video_labels: class names by label track and by per-video label.
        domains: number of domains.
        fingerprint: SHA-256 over the metadata files and the names and sizes of the split's shards.
        whole: whether no shard was missing or damaged when the source was opened.
        maps: by label map, its class names, or None for depths.
        boxes: class names by the name of label boxes.
    """

    name: str
    split: str
    directory: Path
    shards: tuple[tuple[str, int], ...]
    tracks: dict[str, tuple[str, ...]]
    video_labels: dict[str, tuple[str, ...]]
    domains: int
    fingerprint: str
    whole: bool = True
    maps: dict[str, Kind] = dataclasses.field(default_factory=dict)
    boxes: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([count for _, count in self.shards])

    def _place(self, index: int) -> tuple[str, int, int]:
        """The shard of a record, its number of records, and the record's number in it."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return *self.shards[shard], int(index) - (int(self._ends[shard - 1]) if shard else 0)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"Source({self.name}/{self.split}, {len(self)} records, {self.directory})"

    @property
    def config(self) -> str:
        """The builder config; "" for a data set without one."""
        above = self.directory.parent.name  # of the version's folder
        return "" if above == self.name else above

    @property
    def label(self) -> str:
        """The source as name/split, or name/config/split."""
        return "/".join(filter(None, (self.name, self.config, self.split)))

    def describe(self) -> dict[str, Any]:
        """The entry of this source in a run's checkpoints and environment."""
        return {
            "name": self.name,
            "config": self.config,
            "split": self.split,
            "directory": str(self.directory),
            "records": len(self),
            "fingerprint": self.fingerprint,
            "stored": stored_as(self.directory),
        }

    def raw(self, index: int) -> bytes:
        """Reads a serialised record.

        Raises:
            IndexError: there is no such record.
            DamagedRecordError: the shard is missing, damaged, or holds another number of records
                than the metadata says.
            StorageError: the file system failed; reading may be tried again (storage.patiently).
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"{self.name}/{self.split} has records 0 to {len(self) - 1}, not {index}"
            )
        name, count, place = self._place(index)
        path = self.directory / name
        try:
            reader = OPEN.reader(path, count)
        except DamagedRecordError as e:
            fault = e.fault.removeprefix(f"shard {path} ")
            raise DamagedRecordError(f"{self.where(index)}: its shard {fault}") from e
        try:
            (raw,) = reader.read([place])
        except (IndexError, OSError, RuntimeError, ValueError) as e:
            failed = storage.trouble(path, e)
            if failed is not None:
                OPEN.forget(path)  # a stale handle stays stale: open the file anew
                raise failed from e
            raise DamagedRecordError(f"{self.where(index)} cannot be read: {e}") from e
        return raw

    def record(self, index: int) -> Record:
        """Reads a record; its frames stay encoded.

        Raises:
            DamagedRecordError: as `raw`, or the bytes are not a record of this schema.
        """
        return self.parse(self.raw(index), index)

    def parse(self, raw: bytes, index: int) -> Record:
        """Parses `raw`, the bytes of record `index`; raises as `record` does."""
        schema = self.tracks, self.video_labels, self.domains
        return self._parsed(index, parse_record, raw, *schema)

    def parse_maps(self, raw: bytes, index: int) -> dict[str, StoredMaps]:
        """The label maps in `raw`, the bytes of record `index`; raises as `record` does."""
        return self._parsed(index, parse_maps, raw, self.maps)

    def parse_boxes(self, raw: bytes, index: int) -> dict[str, StoredBoxes]:
        """The label boxes in `raw`, the bytes of record `index`; raises as `record` does."""
        return self._parsed(index, parse_boxes, raw, self.boxes)

    def _parsed(self, index: int, parse: Callable, *args: Any) -> Any:
        try:
            return parse(*args)
        except NoRecordError as e:
            raise DamagedRecordError(f"{self.where(index)} {e}") from e

    def where(self, index: int) -> str:
        """Describes for messages where record `index` lies."""
        name, _, place = self._place(index)
        path = self.directory / name
        return f"source {self.name}/{self.split}: record {index} (number {place} of {path})"


def open_source(
    data_dir: str | os.PathLike,
    name: str,
    config: str | None = None,
    split: str = "train",
    skip_damaged: bool = False,
) -> Source:
    """Opens the newest version of a prepared data set `data_dir/name[/config]/version`.

    Args:
        config: the builder config; None takes the data set without configs, its config "default",
            or its only config.
        skip_damaged: log shards that are missing or damaged instead of refusing them; reading their
            records raises DamagedRecordError.

    Raises:
        FileNotFoundError: not prepared, or a shard is missing.
        ValueError: several configs and none chosen, no such split, an empty split, metadata that
            cannot be read or is not that of video records, or a shard with another number of
            records than the metadata says.
        StorageError: the file system failed.
    """
    directory = find_version(Path(data_dir), name, config)
    info = read_info(directory)
    if split not in info.splits:
        raise ConfigError(
            f"{directory} has no split {split!r}, only {', '.join(sorted(info.splits))}"
        )
    features = info.features
    missing = [
        key for key in ("frames", "times", "domain", "case_id", "video_id") if key not in features
    ]
    if missing:
        raise DataError(
            f"{directory} has no feature {', '.join(missing)}: it holds no video records;"
            f" build one with {build_command(name, data_dir)}"
        )
    shards = shards_of(info, split, directory)
    if sum(count for _, count in shards) == 0:
        raise DataError(f"split {split!r} of {directory} has no record")
    digest, whole = hashlib.sha256(), True
    for path in sorted(directory.glob("*.json")) + sorted(directory.glob("*.labels.txt")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for shard, count in shards:
        path = directory / shard
        try:
            if not path.is_file():
                raise MissingError(
                    f"shard {path} is missing; restore it from a copy, or build all of it again "
                    f"with {build_command(name, data_dir, config)} and --overwrite"
                )
            digest.update(f"{shard}\0{count}\0{path.stat().st_size}\0".encode())
            OPEN.forget(path)  # it may be another file than the one read before
            if len(shards) <= _CHECKED_SHARDS:
                open_shard(path, count).close()
        except (FileNotFoundError, DamagedRecordError) as error:
            if not skip_damaged:
                raise
            digest.update(f"{shard}\0{count}\0damaged\0".encode())
            whole = False
            logging.warning("%s/%s: none of %d records: %s", name, split, count, error)
    return Source(
        name,
        split,
        directory,
        shards,
        {track: tuple(f.feature.names) for track, f in _sub(features, "labels")},
        {name: tuple(f.names) for name, f in _sub(features, "video_labels")},
        features["domain"].num_classes,
        digest.hexdigest(),
        whole,
        kinds(features),
        box_kinds(features),
    )


def _sub(features: tfds.features.FeaturesDict, key: str) -> list[tuple]:
    return sorted(features[key].items()) if key in features else []
