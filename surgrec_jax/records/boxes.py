"""Label boxes: rectangles with a class around things in some of a record's frames.

They lie beside the frames of the same record, sparse in time, and are parsed only when asked for. A
frame may have been looked at and hold none, which is not the same as a frame without boxes.
Corners are (top, left, bottom, right) as fractions of the stored frame, as TFDS's BBox has them.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.records.example import NoRecordError

Names = Sequence[str]  # of the classes of boxes, in id order


@dataclasses.dataclass(frozen=True)
class StoredBoxes:
    """The boxes of one name in a record.

    Attributes:
        frames: int64 [K], positions of the frames that were looked at, rising.
        counts: int64 [K], boxes of each.
        corners: float32 [B, 4], top, left, bottom, right as fractions, frame after frame.
        classes: int64 [B].
    """

    frames: np.ndarray
    counts: np.ndarray
    corners: np.ndarray
    classes: np.ndarray

    def of(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Corners [n, 4] and classes [n] of the k-th of `frames`."""
        first = int(self.counts[:k].sum())
        here = slice(first, first + int(self.counts[k]))
        return self.corners[here], self.classes[here]


def box_features(boxes: Mapping[str, Names]) -> dict[str, dict]:
    """The TFDS features of label boxes, by name."""
    feats = tfds.features
    return {
        name: {
            "frames": feats.Sequence(np.int32),
            "counts": feats.Sequence(np.int32),
            "corners": feats.Sequence(feats.BBoxFeature()),
            "classes": feats.Sequence(feats.ClassLabel(names=list(classes))),
        }
        for name, classes in sorted(boxes.items())
    }


def box_kinds(features: tfds.features.FeaturesDict) -> dict[str, tuple[str, ...]]:
    """Name -> classes of the boxes of a prepared data set."""
    stored = features["boxes"].items() if "boxes" in features else ()
    return {name: tuple(of["classes"].feature.names) for name, of in sorted(stored)}


def parse_boxes(raw: bytes, named: Mapping[str, Names]) -> dict[str, StoredBoxes]:
    """The boxes in the record `raw`.

    Raises:
        NoRecordError: no record, boxes without a frame, counts that do not add up, corners outside
            of the frame or the wrong way round, or an id that is no class.
    """
    try:
        feature = tf_example_pb2.Example.FromString(raw).features.feature
        return {name: _parsed(feature, name, len(classes)) for name, classes in named.items()}
    except DecodeError as error:
        raise NoRecordError(f"is not a record: {error}") from error


def _parsed(feature, name: str, classes: int) -> StoredBoxes:
    def values(key: str, kind: str, dtype: type) -> np.ndarray:
        return np.array(getattr(feature[f"boxes/{name}/{key}"], kind).value, dtype)

    frames, counts, ids = (
        values(key, "int64_list", np.int64) for key in ("frames", "counts", "classes")
    )
    corners, total = values("corners", "float_list", np.float32), len(ids)
    inside = not frames.size or (
        frames[0] >= 0 and frames[-1] < len(feature["frames"].bytes_list.value)
    )
    if len(counts) != len(frames) or (np.diff(frames) <= 0).any() or not inside:
        raise NoRecordError(f"has boxes/{name} for frames {frames.tolist()}, which it has not")
    if (counts < 0).any() or counts.sum() != total or corners.size != 4 * total:
        raise NoRecordError(f"has boxes/{name} whose counts do not add up")
    corners = corners.reshape(-1, 4)
    top, left, bottom, right = corners.T
    sound = (top >= 0) & (left >= 0) & (bottom <= 1) & (right <= 1) & (top < bottom)
    if not (sound & (left < right)).all():
        raise NoRecordError(f"has boxes/{name} outside of their frame")
    if ((ids < 0) | (ids >= classes)).any():
        raise NoRecordError(f"has boxes/{name} of a class that is none of 0 to {classes - 1}")
    return StoredBoxes(frames, counts, corners, ids)
