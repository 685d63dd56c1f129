"""The bytes of a stored record as a Record: a tf.train.Example proto, checked, no TensorFlow."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

from surgrec_jax.safety.errors import UserError

REBUILD = "Build the data set again, or restore the file from a copy"


class DamagedRecordError(UserError, ValueError):
    """A record that cannot be used; the message names the source, the record and its file.

    Attributes:
      fault: the message without the remedy.
    """

    def __init__(self, fault: str):
        super().__init__(f"{fault}. {REBUILD}")
        self.fault = fault

    def __reduce__(self):  # exceptions travel between processes
        return DamagedRecordError, (self.fault,)


class NoRecordError(UserError, ValueError):
    """What is wrong with the bytes of a record, as the end of a sentence."""


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


def parse_record(
    raw: bytes,
    tracks: Mapping[str, Sequence[str]],
    video_labels: Mapping[str, Sequence[str]],
    domains: int,
) -> Record:
    """The record in `raw`, its frames still encoded.

    Args:
      tracks, video_labels: name -> class names. domains: how many there are.

    Raises:
      NoRecordError: no proto, a feature missing, lengths that differ, times that do not rise, or an
        id that is no class.
    """
    try:
        feature = tf_example_pb2.Example.FromString(raw).features.feature
        return _checked(feature, tracks, video_labels, domains)
    except (IndexError, UnicodeDecodeError, DecodeError) as error:
        raise NoRecordError(f"is not a record: {error}") from error


def _checked(feature, tracks, video_labels, domains) -> Record:
    def text(key: str) -> str:
        return _values(feature, key, "bytes_list")[0].decode()

    def ids(key: str, classes: int) -> np.ndarray:
        found = np.array(_values(feature, key, "int64_list"), np.int64)
        wrong = found[(found < -1) | (found >= classes)]
        if wrong.size:
            raise NoRecordError(f"has {key} {wrong[0]}, which is none of 0 to {classes - 1}")
        return found

    frames = list(_values(feature, "frames", "bytes_list"))
    times = np.array(_values(feature, "times", "float_list"), np.float32)
    labels = {track: ids(f"labels/{track}", len(names)) for track, names in tracks.items()}
    lengths = {"times": len(times), **{f"labels/{t}": len(v) for t, v in labels.items()}}
    for key, length in lengths.items():
        if length != len(frames):
            raise NoRecordError(f"holds {len(frames)} frames but {length} {key}")
    if not frames:
        raise NoRecordError("holds no frame")
    if not np.all(np.isfinite(times)) or np.any(np.diff(times) < 0):
        raise NoRecordError("has times that do not rise")
    return Record(
        frames=frames,
        times=times,
        source=text("source"),
        domain=int(ids("domain", domains)[0]),
        case_id=text("case_id"),
        video_id=text("video_id"),
        segment=int(_values(feature, "segment", "int64_list")[0]),
        labels=labels,
        video_labels={
            name: int(ids(f"video_labels/{name}", len(names))[0])
            for name, names in video_labels.items()
        },
    )


def _values(feature, key: str, kind: str):
    """The values of a feature; protos drop empty lists, so only a wholly absent key is an error."""
    if key not in feature:
        raise NoRecordError(f"has no {key!r}")
    return getattr(feature[key], kind).value
