"""Prepared sources: random access to the records of one split of a TFDS data set in ArrayRecord.

The schema is the data set's own: label tracks and class names are read from its features. Records
are read as raw bytes and parsed as tf.train.Example protos, without TensorFlow and without decoding
any frame.
"""

import dataclasses
import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.data.locate import build_command, find_version

_REBUILD = "Build the data set again, or restore the file from a copy"
_CHECKED_SHARDS = 256  # up to so many, records are counted when the source is opened (0.1 ms each)


class DamagedRecordError(ValueError):
    """A record that cannot be used; the message names the source, the record and its file."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One stored segment: N frames of one video.

    Attributes:
      frames: N JPEG images, encoded.
      times: float32 [N], seconds from the start of the video, rising.
      domain: index into the DOMAINS of the builders, -1 unknown.
      labels: per track int64 [N], -1 = unlabelled. video_labels: one int per name, -1 = unlabelled.
    """

    frames: list[bytes]
    times: np.ndarray
    source: str
    domain: int
    case_id: str
    video_id: str
    segment: int
    labels: dict[str, np.ndarray]
    video_labels: dict[str, int]


class _Mismatch(Exception):
    """What is wrong with a record, as the end of a sentence."""


class Source:
    """One split of a prepared data set. Picklable; files are opened per process when first read.

    Attributes:
      name, split, directory: which data set; directory is that of the version.
      tracks: label track -> class names. video_labels: per-video label -> class names.
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
        fingerprint: str,
    ):
        self.name, self.split, self.directory = name, split, directory
        self.tracks, self.video_labels, self.fingerprint = tracks, video_labels, fingerprint
        self._shards = shards  # (file name, records)
        self._ends = np.cumsum([count for _, count in shards])
        self._open_lock()

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"Source({self.name}/{self.split}, {len(self)} records, {self.directory})"

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in ("_readers", "_lock")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open_lock()

    def describe(self) -> dict[str, str | int]:
        """What a run writes down about its data."""
        return {
            "name": self.name,
            "split": self.split,
            "directory": str(self.directory),
            "records": len(self),
            "fingerprint": self.fingerprint,
        }

    def raw(self, index: int) -> bytes:
        """The serialised record.

        Raises:
          IndexError: no such record.
          DamagedRecordError: the shard is missing, cannot be read, or holds another number of
            records than the metadata says.
        """
        if not 0 <= index < len(self):
            raise IndexError(
                f"{self.name}/{self.split} has records 0 to {len(self) - 1}, not {index}"
            )
        shard = int(np.searchsorted(self._ends, index, side="right"))
        place = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        reader = self._readers[shard] or self._open(shard)
        try:
            (raw,) = reader.read([place])
        except (IndexError, RuntimeError, ValueError) as e:
            raise DamagedRecordError(f"{self.where(index)} cannot be read: {e}. {_REBUILD}") from e
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
            return self._parse(raw)
        except (KeyError, IndexError, UnicodeDecodeError, DecodeError) as e:
            why = f"has no {e}" if isinstance(e, KeyError) else f"is not a record: {e}"
        except _Mismatch as e:
            why = str(e)
        raise DamagedRecordError(f"{self.where(index)} {why}. {_REBUILD}")

    def where(self, index: int) -> str:
        """Words that tell a reader where record `index` lies."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        place = int(index) - (int(self._ends[shard - 1]) if shard else 0)
        path = self.directory / self._shards[shard][0]
        return f"source {self.name}/{self.split}: record {index} (number {place} of {path})"

    def close(self) -> None:
        """Closes the shards this process has opened; reading opens them again."""
        with self._lock:
            for reader in self._readers:
                if reader is not None:
                    reader.close()
            self._readers = [None] * len(self._shards)

    def _open_lock(self) -> None:
        self._lock = threading.Lock()
        self._readers: list[ArrayRecordReader | None] = [None] * len(self._shards)

    def _open(self, shard: int) -> ArrayRecordReader:
        with self._lock:
            if self._readers[shard] is None:
                name, count = self._shards[shard]
                self._readers[shard] = _open_shard(self.directory / name, count)
            return self._readers[shard]

    def _parse(self, raw: bytes) -> Record:
        feature = tf_example_pb2.Example.FromString(raw).features.feature

        def text(key: str) -> str:
            return _values(feature, key, "bytes_list")[0].decode()

        def ints(key: str) -> np.ndarray:
            return np.array(_values(feature, key, "int64_list"), np.int64)

        frames = list(_values(feature, "frames", "bytes_list"))
        times = np.array(_values(feature, "times", "float_list"), np.float32)
        labels = {track: ints(f"labels/{track}") for track in self.tracks}
        lengths = {"times": len(times), **{f"labels/{t}": len(v) for t, v in labels.items()}}
        for key, length in lengths.items():
            if length != len(frames):
                raise _Mismatch(f"holds {len(frames)} frames but {length} {key}")
        if not frames:
            raise _Mismatch("holds no frame")
        if not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
            raise _Mismatch("has times that do not rise")
        return Record(
            frames=frames,
            times=times,
            source=text("source"),
            domain=int(ints("domain")[0]),
            case_id=text("case_id"),
            video_id=text("video_id"),
            segment=int(ints("segment")[0]),
            labels=labels,
            video_labels={v: int(ints(f"video_labels/{v}")[0]) for v in self.video_labels},
        )


def open_source(
    data_dir: str | os.PathLike,
    name: str,
    config: str | None = None,
    split: str = "train",
    version: str | None = None,
) -> Source:
    """Opens a prepared data set `data_dir/name[/config]/version`.

    Args:
      config: the builder config; None takes the data set without configs, or its only config.
      version: e.g. "1.0.0"; None takes the newest.

    Raises:
      FileNotFoundError: not prepared, or a shard is missing.
      ValueError: several configs and none chosen, no such split, an empty split, features that are
        not those of a record, or a shard with another number of records than the metadata says.
    """
    directory = find_version(Path(data_dir), name, config, version)
    info = tfds.builder_from_directory(directory).info
    if split not in info.splits:
        raise ValueError(
            f"{directory} has no split {split!r}, only {', '.join(sorted(info.splits))}"
        )
    features = info.features
    missing = [key for key in ("frames", "times", "case_id", "video_id") if key not in features]
    if missing:
        raise ValueError(
            f"{directory} has no feature {', '.join(missing)}: it holds no video records;"
            f" build one with {build_command(name, data_dir)}"
        )
    shards = tuple(
        (Path(path).name, count)
        for path, count in zip(
            info.splits[split].filepaths, info.splits[split].shard_lengths, strict=True
        )
    )
    if sum(count for _, count in shards) == 0:
        raise ValueError(f"split {split!r} of {directory} has no record")
    digest = hashlib.sha256()
    for path in sorted(directory.glob("*.json")) + sorted(directory.glob("*.labels.txt")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for shard, count in shards:
        path = directory / shard
        if not path.is_file():
            raise FileNotFoundError(
                f"shard {path} is missing; run {build_command(name, data_dir)} again"
            )
        digest.update(f"{shard}\0{count}\0{path.stat().st_size}\0".encode())
        if len(shards) <= _CHECKED_SHARDS:
            _open_shard(path, count).close()
    return Source(
        name,
        split,
        directory,
        shards,
        {track: tuple(f.feature.names) for track, f in _sub(features, "labels")},
        {name: tuple(f.names) for name, f in _sub(features, "video_labels")},
        digest.hexdigest(),
    )


def _sub(features: tfds.features.FeaturesDict, key: str) -> list[tuple]:
    return sorted(features[key].items()) if key in features else []


def _open_shard(path: Path, count: int) -> ArrayRecordReader:
    """A reader that many threads may share, as array_record's own data source opens it."""
    try:
        options = "readahead_buffer_size:0"
        reader = ArrayRecordReader(str(path), options=options, file_reader_buffer_size=1 << 16)
        found = reader.num_records()
        if found != count:
            reader.close()  # of a file that is no ArrayRecord, array_record complains only here
    except (OSError, RuntimeError, ValueError) as e:
        raise DamagedRecordError(f"shard {path} cannot be opened: {e}. {_REBUILD}") from e
    if found != count:
        raise DamagedRecordError(
            f"shard {path} holds {found} records, its metadata says {count}. {_REBUILD}"
        )
    return reader


def _values(feature, key: str, kind: str):
    """The values of a feature; protos drop empty lists, so only a wholly absent key is an error."""
    if key not in feature:
        raise KeyError(key)
    return getattr(feature[key], kind).value
