"""The record that every builder writes: its TFDS features, and how its frames are stored.

One record is one segment: up to `RecordSpec.frames` consecutive stored frames of one video, with a
label per stored frame for every track. -1 always means "not labelled" and is never a class.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from surgrec_jax.records.boxes import box_features
from surgrec_jax.records.maps import Kind, map_features
from surgrec_jax.safety.errors import ConfigError

DOMAINS = ("laparoscopy", "endoscopy", "cataract", "robotic", "open")
UNLABELLED = -1
_TRACK_NAME = re.compile(r"[a-z0-9][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class RecordSpec:
    """The options of cutting and storing a video.

    Attributes:
        frames: stored frames per record; the last record of a video may hold fewer (at least 1).
        fps: upper bound of the stored rate in frames per second; a slower video keeps its own rate.
        short_side: upper bound of the shorter picture side in pixels; nothing is enlarged.
        jpeg_quality: 1 to 100, as OpenCV's encoder takes it.
    """

    frames: int = 64
    fps: float = 8.0
    short_side: int = 256
    jpeg_quality: int = 90

    def __post_init__(self):
        for name, low, high in (
            ("frames", 1, 4096),
            ("fps", 0.01, 1000),
            ("short_side", 16, 4096),
            ("jpeg_quality", 1, 100),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"RecordSpec.{name} is {value!r}: choose a number from {low} to {high}."
                )


def record_features(
    tracks: Mapping[str, Sequence[str]],
    video_labels: Mapping[str, Sequence[str]],
    maps: Mapping[str, Kind] | None = None,
    boxes: Mapping[str, Sequence[str]] | None = None,
) -> tfds.features.FeaturesDict:
    """Builds the TFDS features of a record.

    Args:
        tracks: label tracks, one id per stored frame: name -> class names in id order.
        video_labels: labels of a whole video: name -> class names in id order.
        maps: label maps: name -> class names in id order, or None for depths.
        boxes: label boxes: name -> class names in id order.

    Returns:
        A FeaturesDict. `frames` takes JPEG bytes (never arrays), `times` float32 seconds from the
        start of the video, one per frame. `labels`, `video_labels`, `maps` and `boxes` are
        there only when they have content.

    Raises:
        ConfigError: a track or class name that TFDS would not give back as it was written.
    """
    feats = tfds.features
    features = {
        "frames": feats.Sequence(feats.Image(shape=(None, None, 3), encoding_format="jpeg")),
        "times": feats.Sequence(np.float32),
        "source": feats.Text(),
        "domain": feats.ClassLabel(names=list(DOMAINS)),
        "case_id": feats.Text(),
        "video_id": feats.Text(),
        "segment": np.int32,
        "native_fps": np.float32,
        "native_height": np.int32,
        "native_width": np.int32,
    }
    if tracks:
        features["labels"] = {
            name: feats.Sequence(_class_label("track", name, names))
            for name, names in sorted(tracks.items())
        }
    if video_labels:
        features["video_labels"] = {
            name: _class_label("video label", name, names)
            for name, names in sorted(video_labels.items())
        }
    for name, classes in (maps or {}).items():
        _class_label("map", name, ("depth",) if classes is None else classes)
    if maps:
        features["maps"] = map_features(maps)
    for name, classes in (boxes or {}).items():
        _class_label("box", name, classes)
    if boxes:
        features["boxes"] = box_features(boxes)
    return feats.FeaturesDict(features)


def _class_label(kind: str, name: str, names: Sequence[str]) -> tfds.features.ClassLabel:
    if not _TRACK_NAME.fullmatch(name):
        raise ConfigError(
            f"{kind} {name!r}: use lower-case letters, digits and underscores, beginning with a "
            "letter or digit."
        )
    if isinstance(names, str) or not names:
        raise ConfigError(f"{kind} {name!r} needs a sequence of at least one class name.")
    seen = set()
    for class_name in names:
        # TFDS keeps class names in a text file, one a line, and strips them when it reads them.
        one_line = len(class_name.splitlines()) == 1 and class_name.strip() == class_name
        if not one_line or not class_name.isprintable():
            raise ConfigError(
                f"{kind} {name!r}: class name {class_name!r} must be one line of printable text "
                "without spaces at its ends."
            )
        if class_name in seen:
            raise ConfigError(f"{kind} {name!r}: class name {class_name!r} stands there twice.")
        seen.add(class_name)
    return tfds.features.ClassLabel(names=list(names))
