"""Labels, label maps and boxes of a video on their way into its records: checked, then stored."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_builders.common.source.items import OpenedVideo, VideoItem
from data_builders.common.video.boxes import Boxes
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.maps import LabelMaps
from data_builders.common.video.segments import Segment
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.maps import Kind
from surgrec_jax.records.schema import UNLABELLED, record_features


@dataclasses.dataclass(frozen=True)
class Declared:
    """The labels that a source declares, by name: their classes (None for maps of depths)."""

    tracks: Mapping[str, Sequence[str]]
    video_labels: Mapping[str, Sequence[str]]
    maps: Mapping[str, Kind]
    boxes: Mapping[str, Sequence[str]]

    @classmethod
    def of(cls, hooks: Any) -> "Declared":
        """What a builder, or its substitute, declares."""
        boxes = hooks.boxes()
        return cls(hooks.tracks(), hooks.video_label_names(), hooks.maps(), boxes)

    def features(self) -> tfds.features.FeaturesDict:
        """The features of records with these labels."""
        return record_features(self.tracks, self.video_labels, self.maps, self.boxes)

    def checked(self, source: str, item: VideoItem, opened: OpenedVideo) -> dict[str, np.ndarray]:
        """Checks the labels of a video before it is read.

        Returns:
            The labels of the whole video: name -> id, -1 where it has none.

        Raises:
            ValueError: one is not declared (a mistaken builder).
            BadInput: an id that is no class, or depths without a scale.
        """
        for field in dataclasses.fields(self):
            given, declared = getattr(opened, field.name), getattr(self, field.name)
            if unknown := sorted(set(given) - set(declared)):
                raise ValueError(
                    f"{source}: {field.name.replace('_', ' ')} {unknown[0]!r} of {item.video_id} "
                    f"is not declared; declared are {sorted(declared)}."
                )
        check_scales(item, opened.maps, self.maps)
        for name, track in opened.tracks.items():
            checked_ids(item, name, track.ids(), self.tracks[name])
        return {
            name: checked_ids(item, name, np.asarray(opened.video_labels.get(name, -1)), names)
            for name, names in self.video_labels.items()
        }

    def labels_along(
        self, item: VideoItem, opened: OpenedVideo, segment: Segment
    ) -> dict[str, np.ndarray]:
        """Track -> ids of a segment's frames."""
        labels = {}
        for name, names in self.tracks.items():
            ids = np.full(len(segment.times), UNLABELLED, np.int64)
            if name in opened.tracks:
                ids = opened.tracks[name].along(segment.times, segment.numbers)
            labels[name] = checked_ids(item, name, ids, names)
        return labels

    def examples(
        self,
        labels: Mapping[str, np.ndarray],
        whole: Mapping[str, np.ndarray],
        opened: OpenedVideo,
        segment: Segment,
    ) -> dict[str, Any]:
        """The features of a record that hold labels; those without content are not there."""
        found = {
            "labels": dict(labels),
            "video_labels": {name: int(value) for name, value in whole.items()},
            "maps": map_examples(self.maps, opened.maps, segment.maps),
            "boxes": box_examples(self.boxes, segment.boxes),
        }
        return {key: value for key, value in found.items() if value}


def checked_ids(item: VideoItem, name: str, ids: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Refuses ids that are not a class: a wrong label must never be stored."""
    wrong = ids[(ids < UNLABELLED) | (ids >= len(names))]
    if wrong.size:
        raise BadInput(
            item.path or item.video_id,
            f"label {name!r} has id {int(wrong.flat[0])}; its classes are 0 to {len(names) - 1}",
        )
    return ids


def example_of(
    source: str, item: VideoItem, segment: Segment, native_fps: float, report: ReadReport
) -> dict[str, Any]:
    """A record without its labels."""
    return {
        "frames": segment.frames,
        "times": segment.times.astype(np.float32),
        "source": source,
        "domain": UNLABELLED if item.domain is None else item.domain,
        "case_id": item.case_id,
        "video_id": item.video_id,
        "segment": segment.index,
        "native_fps": native_fps,
        "native_height": report.native_height,
        "native_width": report.native_width,
    }


def check_scales(item: VideoItem, given: Mapping[str, LabelMaps], maps: Mapping[str, Kind]) -> None:
    """Raises BadInput for depths without a scale."""
    for name, of_video in given.items():
        if maps[name] is None and not 0 < of_video.millimetres < math.inf:
            raise BadInput(
                item.path or item.video_id,
                f"its {name} maps have no scale ({of_video.millimetres} millimetres a count)",
            )


def map_examples(
    maps: Mapping[str, Kind],
    given: Mapping[str, LabelMaps],
    stored: Mapping[str, Sequence[tuple[int, bytes]]],
) -> dict[str, dict[str, Any]]:
    """The feature `maps` of a record; `stored` has (position, PNG file) of the maps it holds."""
    examples = {}
    for name, classes in maps.items():
        of_record = stored.get(name, ())
        examples[name] = {
            "frames": [place for place, _ in of_record],
            "images": [image for _, image in of_record],
        }
        if classes is None:  # a video without maps of depths has any scale
            examples[name]["millimetres"] = given[name].millimetres if name in given else 1.0
    return examples


def box_examples(
    boxes: Mapping[str, Sequence[str]], stored: Mapping[str, Sequence[tuple[int, Boxes]]]
) -> dict[str, dict[str, Any]]:
    """The feature `boxes` of a record; `stored` has (position, boxes) of the frames looked at."""
    return {
        name: {
            "frames": [place for place, _ in stored.get(name, ())],
            "counts": [len(found.classes) for _, found in stored.get(name, ())],
            "corners": [
                tfds.features.BBox(*map(float, corners))
                for _, found in stored.get(name, ())
                for corners in found.corners
            ],
            "classes": [int(k) for _, found in stored.get(name, ()) for k in found.classes],
        }
        for name in boxes
    }
