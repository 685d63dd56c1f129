"""What every builder must keep, checked on a data set that was built. For the tests of all.

    summary = build(Builder, data_dir=tmp_path, manual_dir=..., num_workers=1, progress=False)
    splits = read_back(summary.directory)             # checks the promises that hold for all
    sources video = splits["train"]["video01"]
    assert_labels(video, "phase", lambda number: ...)  # the class name drawn for frame `number`

Source videos come from fake_video.write_video: the frame number is read from the stored picture
itself.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from surgrec_jax.records.schema import DOMAINS
from tests.data_builders.fake_video import read_number


@dataclasses.dataclass
class StoredVideo:
    """All records of one video put together.

    Attributes:
      pictures: uint8 RGB [N] of [H, W, 3].
      times: float32 [N] in s.
      labels: track -> class names [N], None where unlabelled.
      video_labels: name -> class name or None.
      segment_lengths: frames per record.
      fields: the remaining fields, the same in all records of the video.
    """

    pictures: list[np.ndarray]
    times: np.ndarray
    labels: dict[str, list[str | None]]
    video_labels: dict[str, str | None]
    segment_lengths: list[int]
    fields: dict

    @functools.cached_property
    def numbers(self) -> list[int]:
        """Frame numbers read from the pictures."""
        return [read_number(picture) for picture in self.pictures]


def read_back(directory: Path) -> dict[str, dict[str, StoredVideo]]:
    """Reads every record as anyone would, checks it, and groups by split and video.

    Checked: the features and their types; counts against the metadata; segments of a video stand
    together, in order and full except the last; times start near 0 and increase; one label per
    frame within the classes; no case in two splits; nothing imported TensorFlow.
    """
    builder = tfds.builder_from_directory(directory)
    features = builder.info.features
    out: dict[str, dict[str, StoredVideo]] = {}
    split_of: dict[str, str] = {}
    for split, info in builder.info.splits.items():
        source = builder.as_data_source(split)
        assert len(source) == info.num_examples > 0
        videos: dict[str, list[dict]] = {}
        last = None
        for index in range(len(source)):
            record = source[index]
            assert set(record) == set(features)
            video_id = record["video_id"].decode()
            assert video_id == last or video_id not in videos, "segments of a video stand apart"
            last = video_id
            videos.setdefault(video_id, []).append(record)
            case = record["case_id"].decode()
            assert split_of.setdefault(case, split) == split, f"case {case} in two splits"
        out[split] = {name: _join(features, records) for name, records in videos.items()}
    assert "tensorflow" not in sys.modules
    return out


def assert_labels(
    video: StoredVideo, track: str, expected: Callable[[int], str | None], step: int = 1
) -> None:
    """Every stored frame has the label drawn on it, judged by the number in its picture."""
    assert len(video.labels[track]) == len(video.numbers)
    for number, label, time in zip(video.numbers, video.labels[track], video.times, strict=True):
        wanted = expected(number * step)
        assert label == wanted, (
            f"{track} of frame {number} ({time:.3f} s): {label!r}, not {wanted!r}"
        )


def _join(features, records: list[dict]) -> StoredVideo:
    lengths, tracks, whole = [], {}, {}
    for index, record in enumerate(records):
        lengths.append(len(record["times"]))
        assert record["segment"] == index
        assert len(record["frames"]) == lengths[-1] >= 1
        for name, ids in record.get("labels", {}).items():
            assert len(ids) == lengths[-1]
            names = features["labels"][name].feature.names
            tracks.setdefault(name, []).extend(_name(names, value) for value in ids)
        for name, value in record.get("video_labels", {}).items():
            label = _name(features["video_labels"][name].names, value)
            assert whole.setdefault(name, label) == label
        for maps in record.get("maps", {}).values():
            assert set(maps["frames"]) <= set(range(lengths[-1]))
            assert {image.shape[:2] for image in maps["images"]} <= {record["frames"][0].shape[:2]}
        for frame in record["frames"]:
            assert frame.dtype == np.uint8 and frame.shape == records[0]["frames"][0].shape
    assert len(set(lengths[:-1])) <= 1 and lengths[-1] <= lengths[0], lengths
    times = np.concatenate([record["times"] for record in records])
    assert times.dtype == np.float32 and (np.diff(times) > 0).all()
    joined = ("frames", "times", "segment", "labels", "video_labels", "maps")
    fields = {key: value for key, value in records[0].items() if key not in joined}
    for record in records:
        assert {key: record[key] for key in fields} == fields
    for key in ("source", "case_id", "video_id"):
        fields[key] = fields[key].decode()
    assert fields["source"] and fields["case_id"] and fields["native_fps"] > 0
    fields["domain"] = _name(DOMAINS, fields["domain"])
    pictures = [frame for record in records for frame in record["frames"]]
    height, width = pictures[0].shape[:2]
    assert height <= fields["native_height"] and width <= fields["native_width"]
    return StoredVideo(pictures, times, tracks, whole, lengths, fields)


def _name(names, value) -> str | None:
    assert -1 <= value < len(names)
    return None if value == -1 else names[value]
