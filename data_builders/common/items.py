"""What builders exchange with the base class: a listed video, an opened one, a configuration."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from data_builders.common.labels import Track
from data_builders.common.records import RecordSpec


@dataclasses.dataclass(frozen=True)
class VideoItem:
    """One video of a source, as `list_videos` finds it. Cheap, picklable, hashed for resuming.

    Attributes:
      video_id: unique within its split.
      case_id: the patient or procedure, the unit splits are made on.
      split: name of its split.
      domain: one of records.DOMAINS, or None when unknown.
      path: the video file, or a folder of numbered pictures; None when `open_video` makes it.
      extra: whatever `open_video` needs; plain values only (str, int, float, bool, None, lists,
        dicts, paths): they are part of the fingerprint that tells finished shards from stale ones.
    """

    video_id: str
    case_id: str
    split: str
    domain: str | None = None
    path: Path | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class OpenedVideo:
    """A video ready to be read, with its labels.

    Attributes:
      path: the video file, or a folder of numbered pictures.
      tracks: per-frame labels; a declared track that is missing here is -1 throughout.
      video_labels: ids of per-video labels; a declared one that is missing here is -1.
      image_fps: rate of a folder of pictures, needed there: the picture with number n in its name
        is at (n - image_start) / image_fps seconds.
      image_start: number of the first picture, usually 0 or 1.
    """

    path: Path
    tracks: Mapping[str, Track] = dataclasses.field(default_factory=dict)
    video_labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    image_fps: float | None = None
    image_start: int = 0


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoConfig(tfds.core.BuilderConfig):
    """A TFDS configuration that also says how records are stored. Subclass it for more settings."""

    name: str = "default"
    record: RecordSpec = dataclasses.field(default_factory=RecordSpec)
