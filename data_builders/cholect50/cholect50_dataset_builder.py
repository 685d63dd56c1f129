"""CholecT50: 50 cholecystectomies, a picture a second, with action triplets and phases."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.cholect50.classes import (
    CHALLENGE,
    FOLDS,
    INSTRUMENTS,
    PHASES,
    RDV,
    TARGETS,
    TRIPLETS,
    VERBS,
)
from data_builders.common.labels.annotations import read_json
from data_builders.common.labels.tracks import Sampled, presence_classes
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput

# Track prefix -> names and place in the vector of 15 numbers; -1 there is none.
PARTS = {
    "triplet": (TRIPLETS, 0),
    "instrument": (INSTRUMENTS, 1),
    "verb": (VERBS, 7),
    "target": (TARGETS, 8),
}
PHASE, LENGTH = 14, 15
SPLITS = ("train", "val", "test")


class Builder(VideoDatasetBuilder):
    """CholecT50: 50 videos at 1 fps, 100 triplets, seven phases; split of the Rendezvous paper."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold videos/VIDnn/ (pictures) and labels/VIDnn.json of CholecT50; access: "
        "https://github.com/CAMMA-public/cholect50"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {
        "phase": PHASES,
        **{
            k: v
            for part, (names, _) in PARTS.items()
            for k, v in presence_classes(part, names).items()
        },
    }
    VIDEO_LABELS: ClassVar = {"challenge": SPLITS, "test_fold": tuple("12345")}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"(?:videos|data)/VID(\d+)/",
            annotations={"labels": r"labels/VID(\d+)\.json"},
        )
        return self.split_items(found, RDV, "VID{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        number = int(item.video_id[3:])
        path = item.needed("labels", f"labels/{item.video_id}.json")
        data = read_json(path)
        if not isinstance(data, dict) or (data.get("video"), data.get("fps")) != (number, 1):
            raise BadInput(path, f'must have "video": {number} and "fps": 1')
        frames = _frames(path, data.get("annotations"))
        times = np.array(sorted(frames), np.float64)
        vectors = [frames[int(time)] for time in times]
        columns = {"phase": [rows[0][PHASE] for rows in vectors]}
        for part, (names, place) in PARTS.items():
            shown = [{row[place] for row in rows} for rows in vectors]
            for k, track in enumerate(presence_classes(part, names)):
                columns[track] = [int(k in ids) for ids in shown]
        tracks = {
            name: Sampled(times, np.array(ids, np.int64), max_hold=1)
            for name, ids in columns.items()
        }
        challenge = next((k for k, cases in CHALLENGE.items() if number in cases), "train")
        fold = next(k for k, cases in enumerate(FOLDS) if number in cases)
        return OpenedVideo(
            item.path,
            tracks,
            {"challenge": SPLITS.index(challenge), "test_fold": fold},
            image_fps=1,
            extents=[Extent(path, times[-1] + 1)],
        )


def _frames(path: Path, annotations: object) -> dict[int, list[list]]:
    """Frame -> its vectors, checked."""
    if not isinstance(annotations, Mapping) or not annotations:
        raise BadInput(path, 'has no "annotations" of frames')
    frames = {}
    for name, rows in annotations.items():
        where = f"annotations of frame {name!r}"
        if not name.isdecimal() or not isinstance(rows, list) or not rows:
            raise BadInput(path, f"{where}: a list of vectors under a frame number is expected")
        for row in rows:
            if not isinstance(row, list) or len(row) != LENGTH:
                raise BadInput(path, f"{where}: a vector needs {LENGTH} numbers")
            for part, (names, place) in {**PARTS, "phase": (PHASES, PHASE)}.items():
                if type(row[place]) is not int or not -1 <= row[place] < len(names):
                    raise BadInput(path, f"{where}: {part} {row[place]!r} is no class")
        if len({row[PHASE] for row in rows}) > 1:
            raise BadInput(path, f"{where}: its vectors name several phases")
        frames[int(name)] = rows
    return frames
