"""The prepared data sets of a data_dir, and their records video by video."""

import collections
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.records.example import DamagedRecordError
from surgrec_jax.records.info import read_info, shards_of
from surgrec_jax.records.open_shards import open_shard
from surgrec_jax.records.storage import StorageError
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A prepared data set: `name/config` (config "" where there is none), version, its folder."""

    name: str
    config: str
    version: str
    directory: Path

    @property
    def title(self) -> str:
        return f"{self.name}/{self.config}" if self.config else self.name


@dataclasses.dataclass
class StoredVideo:
    """What the records of one video say.

    Attributes:
      video_id, case_id: as stored. frames: number of stored frames.
      labels: track or video label -> class id -> how often (frames of a track, 1 for a video
        label); unlabelled frames and videos are not counted.
    """

    video_id: str
    case_id: str
    frames: int
    labels: dict[str, collections.Counter]


@dataclasses.dataclass(frozen=True, eq=False)
class StoredFrame:
    """A stored frame: RGB uint8 [H, W, 3], seconds, and whose it is."""

    split: str
    video_id: str
    case_id: str
    time: float
    picture: np.ndarray


def find_prepared(data_dir: Path) -> list[Prepared]:
    """All data sets below `data_dir`, by name, config and version.

    Raises:
      BuildError: not a folder.
    """
    if not data_dir.is_dir():
        raise BuildError(f"--data_dir {safe_text(data_dir)} is not a folder.")
    found = []
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for path in data_dir.glob(pattern):
            parts = path.parent.relative_to(data_dir).parts
            if not parts[0].startswith("."):
                config = parts[1] if len(parts) == 3 else ""
                found.append(Prepared(parts[0], config, parts[-1], path.parent))
    return sorted(found, key=lambda p: (p.name, p.config, _version(p.version)))


def prepared_at(directory: Path) -> Prepared:
    """The data set whose version folder this is. Raises BuildError where it is none."""
    try:
        config = untrusted.read_json(directory / "dataset_info.json").get("configName", "")
    except (OSError, UserError) as error:
        raise BuildError(f"{safe_text(directory)} is not a prepared data set: {error}.") from error
    named = directory.parents[1] if directory.parent.name == config else directory.parent
    return Prepared(named.name, config, directory.name, directory)


def choose_prepared(data_dir: Path, names: list[str]) -> list[Prepared]:
    """The newest version of each data set that `names` ask for ("name" or "name/config"), or all.

    Raises:
      BuildError: a name that is not prepared.
    """
    newest = {(p.name, p.config): p for p in find_prepared(data_dir)}
    if not names:
        return list(newest.values())
    chosen = []
    for name in names:
        hits = [p for p in newest.values() if name in (p.name, p.title)]
        if not hits:
            there = ", ".join(sorted(p.title for p in newest.values())) or "nothing"
            raise BuildError(f"{name!r} is not prepared in {safe_text(data_dir)}; there: {there}.")
        chosen += [p for p in hits if p not in chosen]
    return chosen


def read_videos(directory: Path) -> dict[str, dict[str, StoredVideo]]:
    """Split -> video id -> what its records say, in stored order.

    Raises:
      UserError: the folder is no data set of this project, or a record cannot be read.
    """
    splits: dict[str, dict[str, StoredVideo]] = {}
    for split, example in _examples(directory):
        with _interpreting(directory):
            case, video = (_text(example, key) for key in ("case_id", "video_id"))
            frames = len(example["frames"].bytes_list.value)
        stored = splits.setdefault(split, {}).setdefault(video, StoredVideo(video, case, 0, {}))
        first = stored.frames == 0
        stored.frames += frames
        for key, feature in example.items():
            kind, _, name = key.partition("/")
            if kind == "labels" or (kind == "video_labels" and first):
                counts = stored.labels.setdefault(name, collections.Counter())
                counts.update(value for value in feature.int64_list.value if value >= 0)
    return splits


def decoded_frames(
    directory: Path, wanted: Callable[[str, str, float], bool]
) -> Iterator[StoredFrame]:
    """The stored frames for which `wanted(split, video_id, seconds)` holds, in stored order.

    Raises:
      UserError: a record cannot be read; a frame that is no picture is passed over.
    """
    for split, example in _examples(directory):
        with _interpreting(directory):
            case, video = (_text(example, key) for key in ("case_id", "video_id"))
            times, frames = example["times"].float_list.value, example["frames"].bytes_list.value
            shown = list(zip(times, frames, strict=True))
        for time, data in shown:
            if wanted(split, video, time):
                picture = _picture(data)
                if picture is not None:
                    yield StoredFrame(split, video, case, time, picture)


def _interpreting(directory: Path):
    return untrusted.interpreting(f"{safe_text(directory)}: a record", error_type=BuildError)


def _text(example: dict, key: str) -> str:
    return example[key].bytes_list.value[0].decode()


def _picture(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # empty, or more pixels than OpenCV takes (data_builders/__init__.py)
        return None


def class_names(directory: Path) -> dict[str, list[str]]:
    """Track or video label -> class names in id order."""
    features = read_info(directory).features
    names = {}
    if "labels" in features:
        names |= {name: track.feature.names for name, track in features["labels"].items()}
    if "video_labels" in features:
        names |= {name: label.names for name, label in features["video_labels"].items()}
    return names


def _examples(directory: Path) -> Iterator[tuple[str, dict]]:
    info = read_info(directory)
    for split in info.splits:
        for name, count in shards_of(info, split, directory):
            reader = open_shard(directory / name, count)
            for index in range(count):
                try:
                    (raw,) = reader.read([index])
                    yield split, tf_example_pb2.Example.FromString(raw).features.feature
                except (RuntimeError, ValueError, IndexError, DecodeError) as error:
                    path = safe_text(directory / name)
                    raise BuildError(f"{path} cannot be read: {error}.") from error


def damaged_shard(directory: Path) -> str | None:
    """Name of the first shard that is missing, or does not hold the records it should; None: none.

    Raises:
      UserError: the folder is no data set of this project.
    """
    info = read_info(directory)
    for split in info.splits:
        for name, count in shards_of(info, split, directory):
            try:
                open_shard(directory / name, count).close()
            except (DamagedRecordError, StorageError):
                return name
    return None


def counts(prepared: Prepared) -> str:
    """Records per split, from the metadata."""
    try:
        path = prepared.directory / "dataset_info.json"
        with untrusted.interpreting(path):
            splits = untrusted.read_json(path).get("splits", [])
            lengths = {s["name"]: sum(map(int, s.get("shardLengths", []))) for s in splits}
        return ", ".join(f"{name} {length}" for name, length in lengths.items())
    except (OSError, UserError) as error:
        return f"unreadable: {error}"


def _version(text: str) -> tuple:
    return tuple(int(part) if part.isdigit() else -1 for part in text.split("."))
