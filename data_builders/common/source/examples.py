"""Labels and label maps of a video on their way into its records: checked, then stored."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from data_builders.common.source.items import VideoItem
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.maps import LabelMaps
from data_builders.common.video.segments import Segment
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.maps import Kind
from surgrec_jax.records.schema import UNLABELLED


def check_declared(source: str, item: VideoItem, *labels: tuple[Mapping, Mapping, str]) -> None:
    """Raises ValueError where one of (given, declared, kind) gives what is not declared."""
    for given, declared, kind in labels:
        if unknown := sorted(set(given) - set(declared)):
            raise ValueError(
                f"{source}: {kind} {unknown[0]!r} of {item.video_id} is not declared; "
                f"declared are {sorted(declared)}."
            )


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
