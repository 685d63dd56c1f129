"""The prepared data sets of a data_dir, and their records video by video."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Iterator
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

_REDUCED = {  # a picture decoded at one over so much of its size
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


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
    """The contents of a video's records.

    Attributes:
        video_id, case_id: ids as stored.
        frames: number of stored frames.
        labels: track or video label -> class id -> how often (frames of a track, 1 for a video
            label); unlabelled frames and videos are not counted.
    """

    video_id: str
    case_id: str
    frames: int
    labels: dict[str, collections.Counter]


@dataclasses.dataclass(frozen=True, eq=False)
class StoredFrame:
    """A stored frame: RGB uint8 [H, W, 3], its time in seconds, and its owner."""

    split: str
    video_id: str
    case_id: str
    time: float
    picture: np.ndarray


def find_prepared(data_dir: Path) -> list[Prepared]:
    """All data sets below `data_dir`, by name, config and version.

    Raises:
        BuildError: it is not a folder.
    """
    if not data_dir.is_dir():
        raise BuildError(f"--data_dir {safe_text(data_dir)} is not a folder.")
    data_sets = []
    for pattern in ("*/*/dataset_info.json", "*/*/*/dataset_info.json"):
        for path in data_dir.glob(pattern):
            parts = path.parent.relative_to(data_dir).parts
            if not parts[0].startswith("."):
                config = parts[1] if len(parts) == 3 else ""
                data_sets.append(Prepared(parts[0], config, parts[-1], path.parent))
    return sorted(data_sets, key=lambda p: (p.name, p.config, _version(p.version)))


def prepared_at(directory: Path) -> Prepared:
    """The data set of a version folder; raises BuildError where the folder is none."""
    try:
        config = untrusted.read_json(directory / "dataset_info.json").get("configName", "")
    except (OSError, UserError) as error:
        raise BuildError(f"{safe_text(directory)} is not a prepared data set: {error}.") from error
    named = directory.parents[1] if directory.parent.name == config else directory.parent
    return Prepared(named.name, config, directory.name, directory)


def choose_prepared(data_dir: Path, names: list[str]) -> list[Prepared]:
    """The newest version of each data set of `names` ("name" or "name/config"), or of all.

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
    """Reads all videos of a data set: split -> video id -> StoredVideo, in stored order.

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
    directory: Path,
    select: Callable[[str, str, float], bool],
    *,
    splits: Collection[str] | None = None,
    short_side: int | None = None,
) -> Iterator[StoredFrame]:
    """The stored frames for which `select(split, video_id, seconds)` holds, in stored order.

    Args:
        directory: folder of the data set's version.
        select: whether a frame is decoded.
        splits: the splits that are read; None reads all.
        short_side: larger pictures are decoded at a half, a quarter or an eighth of their size,
            with a shorter side of at least so many pixels, which takes less time.

    Raises:
        UserError: a record cannot be read; a frame that is no picture is passed over.
    """
    for split, example in _examples(directory, splits):
        with _interpreting(directory):
            case, video = (_text(example, key) for key in ("case_id", "video_id"))
            times, frames = example["times"].float_list.value, example["frames"].bytes_list.value
            shown = list(zip(times, frames, strict=True))
        scale = None if short_side else 1  # the pictures of a record are of one size
        for time, data in shown:
            if select(split, video, time):
                picture = _picture(data, scale or 1)
                if picture is not None:
                    if scale is None:
                        fits = min(picture.shape[:2]) // short_side
                        scale = max(s for s in _REDUCED if s <= max(fits, 1))
                    yield StoredFrame(split, video, case, time, picture)


def _interpreting(directory: Path):
    return untrusted.interpreting(f"{safe_text(directory)}: a record", error_type=BuildError)


def _text(example: dict, key: str) -> str:
    return example[key].bytes_list.value[0].decode()


def _picture(data: bytes, scale: int) -> np.ndarray | None:
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), _REDUCED[scale])
    except cv2.error:  # empty, or more pixels than OpenCV takes (data_builders/__init__.py)
        return None
    return picture if scale == 1 or picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def class_names(directory: Path) -> dict[str, list[str]]:
    """Class names in id order, by track and video label."""
    features = read_info(directory).features
    names = {}
    if "labels" in features:
        names |= {name: track.feature.names for name, track in features["labels"].items()}
    if "video_labels" in features:
        names |= {name: label.names for name, label in features["video_labels"].items()}
    return names


def _examples(directory: Path, splits: Collection[str] | None = None) -> Iterator[tuple[str, dict]]:
    info = read_info(directory)
    for split in info.splits:
        if splits is not None and split not in splits:
            continue
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
    """Name of the first shard that is missing or has the wrong number of records, or None.

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
    """Formats the number of records per split, from the metadata."""
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
