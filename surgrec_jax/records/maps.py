"""Label maps: a class, or a depth, for every pixel of some of a record's frames.

They lie beside the frames of the same record as PNG files, sparse in time, and are parsed only when
asked for. A map of classes has 8 bits: the id of a class, or VOID. A map of depths has 16 bits: so
many counts of `millimetres` each, or 0 where nothing was measured.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.records.example import NoRecordError
from surgrec_jax.safety.errors import ConfigError

VOID = 255  # a pixel without a class
Kind = Sequence[str] | None  # names of the classes of a map in id order; None for depths


@dataclasses.dataclass(frozen=True)
class StoredMaps:
    """The maps of one name in a record.

    Attributes:
        frames: int64 [K], positions of the frames that have one, rising.
        images: K PNG files, encoded.
        millimetres: of one count of a map of depths; 0 for classes.
    """

    frames: np.ndarray
    images: list[bytes]
    millimetres: float = 0.0


def map_features(maps: Mapping[str, Kind]) -> dict[str, dict]:
    """The TFDS features of label maps, by name.

    Raises:
        ConfigError: more classes than an 8-bit map has ids for.
    """
    feats, made = tfds.features, {}
    for name, classes in sorted(maps.items()):
        made[name] = {"frames": feats.Sequence(np.int32)}
        if classes is None:
            image = feats.Image(shape=(None, None, 1), dtype=np.uint16, encoding_format="png")
            made[name]["millimetres"] = np.float32
        else:
            if len(classes) > VOID:
                raise ConfigError(f"map {name!r} has {len(classes)} classes, more than {VOID}")
            shape = (None, None, 1)
            image = feats.LabeledImage(labels=list(classes), shape=shape, encoding_format="png")
        made[name]["images"] = feats.Sequence(image)
    return made


def kinds(features: tfds.features.FeaturesDict) -> dict[str, Kind]:
    """Name -> classes, or None for depths, of the maps of a prepared data set."""
    stored = features["maps"].items() if "maps" in features else ()
    return {
        name: None if "millimetres" in of_map else tuple(of_map["images"].feature.names)
        for name, of_map in sorted(stored)
    }


def parse_maps(raw: bytes, named: Mapping[str, Kind]) -> dict[str, StoredMaps]:
    """The maps in the record `raw`; they stay encoded.

    Raises:
        NoRecordError: no record, a map without a frame, or depths without a scale.
    """
    try:
        feature = tf_example_pb2.Example.FromString(raw).features.feature
        return {name: _parsed(feature, name, classes) for name, classes in named.items()}
    except DecodeError as error:
        raise NoRecordError(f"is not a record: {error}") from error


def _parsed(feature, name: str, classes: Kind) -> StoredMaps:
    key, count = f"maps/{name}", len(feature["frames"].bytes_list.value)
    frames = np.array(feature[f"{key}/frames"].int64_list.value, np.int64)
    images = list(feature[f"{key}/images"].bytes_list.value)
    inside = not frames.size or (frames[0] >= 0 and frames[-1] < count)
    if len(images) != len(frames) or (np.diff(frames) <= 0).any() or not inside:
        raise NoRecordError(f"has {len(images)} {key} for frames {frames.tolist()} of {count}")
    scale = 0.0
    if classes is None:
        values = feature[f"{key}/millimetres"].float_list.value
        scale = float(values[0]) if len(values) == 1 else 0.0
        if not 0 < scale < math.inf:
            raise NoRecordError(f"has {key} with {list(values)} millimetres a count")
    return StoredMaps(frames, images, scale)
