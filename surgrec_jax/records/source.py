"""Prepared sources: random access to the records of one split of a TFDS data set in ArrayRecord.

The schema is the data set's own: label tracks and class names are read from its features. Records
are read as raw bytes and parsed as tf.train.Example protos, without TensorFlow and without decoding
any frame.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from surgrec_jax.records import storage
from surgrec_jax.records.example import DamagedRecordError, NoRecordError, Record, parse_record
from surgrec_jax.records.info import read_info, shards_of
from surgrec_jax.records.locate import build_command, find_version
from surgrec_jax.records.open_shards import OPEN, open_shard
from surgrec_jax.safety.errors import ConfigError, DataError, MissingError

__all__ = ["DamagedRecordError", "Record", "Source", "open_source"]

_CHECKED_SHARDS = 256  # up to so many, records are counted when the source is opened (0.1 ms each)


class Source:
    """One split of a prepared data set. Picklable; its files are opened when read (`shards.OPEN`).

    Attributes:
      name, split, directory: which data set; directory is that of the version.
      tracks: label track -> class names. video_labels: per-video label -> class names.
      domains: how many domains there are.
      fingerprint: SHA-256 over the metadata files and the names and sizes of the split's shards.
    """

    def __init__(
        self,
        name: str,
        split: str,
        directory: Path,
        shards: tuple[tuple[str, int], ...],
        tracks: dict[str, tuple[str, ...]],
        video_labels: dict[str, tuple[str, ...]],
        domains: int,
        fingerprint: str,
    ):
        self.name, self.split, self.directory = name, split, directory
        self.tracks, self.video_labels, self.domains = tracks, video_labels, domains
        self.fingerprint = fingerprint
        self._shards = shards  # (file name, records)
        self._ends = np.cumsum([count for _, count in shards])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"Source({self.name}/{self.split}, {len(self)} records, {self.directory})"

    @property
    def config(self) -> str:
        """The builder config; "" for a data set without."""
        above = self.directory.parent.name  # of the version's folder
        return "" if above == self.name else above

    @property
    def label(self) -> str:
        """name/split, or name/config/split."""
        return "/".join(filter(None, (self.name, self.config, self.split)))

    def describe(self) -> dict[str, str | int]:
        """What a run writes down about its data."""
        return {
            "name": self.name,
            "config": self.config,
            "split": self.split,
            "directory": str(self.directory),
            "records": len(self),
            "fingerprint": self.fingerprint,
        }

    def raw(self, index: int) -> bytes:
        """The serialised record.

        Raises:
          IndexError: no such record.
          DamagedRecordError: the shard is missing, damaged, or holds another number of records than
            the metadata says.
          StorageError: the file system failed; reading may be tried again (storage.patiently).
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"{self.name}/{self.split} has records 0 to {len(self) - 1}, not {index}"
            )
        shard = int(np.searchsorted(self._ends, index, side="right"))
        place = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        name, count = self._shards[shard]
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
        """The record, its frames still encoded.

        Raises:
          DamagedRecordError: see `raw`; or the bytes are not a record of this schema.
        """
        return self.parse(self.raw(index), index)

    def parse(self, raw: bytes, index: int) -> Record:
        """The record in `raw`, the bytes of record `index`. Raises as `record` does."""
        try:
            return parse_record(raw, self.tracks, self.video_labels, self.domains)
        except NoRecordError as e:
            raise DamagedRecordError(f"{self.where(index)} {e}") from e

    def where(self, index: int) -> str:
        """Words that tell a reader where record `index` lies."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        place = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        path = self.directory / self._shards[shard][0]
        return f"source {self.name}/{self.split}: record {index} (number {place} of {path})"


def open_source(
    data_dir: str | os.PathLike,
    name: str,
    config: str | None = None,
    split: str = "train",
    version: str | None = None,
    skip_damaged: bool = False,
) -> Source:
    """Opens a prepared data set `data_dir/name[/config]/version`.

    Args:
      config: the builder config; None takes the data set without configs, its config "default", or
        its only config.
      version: e.g. "1.0.0"; None takes the newest.
      skip_damaged: log shards that are missing or damaged instead of refusing them; reading their
        records raises DamagedRecordError.

    Raises:
      FileNotFoundError: not prepared, or a shard is missing.
      ValueError: several configs and none chosen, no such split, an empty split, metadata that
        cannot be read or is not that of video records, or a shard with another number of records
        than the metadata says.
      StorageError: the file system failed.
    """
    directory = find_version(Path(data_dir), name, config, version)
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
    digest = hashlib.sha256()
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
    )


def _sub(features: tfds.features.FeaturesDict, key: str) -> list[tuple]:
    return sorted(features[key].items()) if key in features else []
