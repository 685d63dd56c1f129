"""GraSP: 13 robot-assisted prostatectomies with phases, steps and outlined instruments."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.common.labels.annotations import normal, read_json
from data_builders.common.labels.tracks import Sampled
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.coco import CocoBoxes, CocoMaps, read_coco
from surgrec_jax.records.errors import BadInput, check_inside

PHASES = (
    "Idle",
    "LPIL",
    "RPIL",
    "Retzius_Space",
    "Dorsal_Venous_Complex",
    "Id_Bladder_Neck",
    "Seminal_Vesicles",
    "Denonvilliers_Fascia",
    "Pedicle_Control",
    "Severing_Prostate_Urethra",
    "Bladder_Neck_Rec",
)
STEPS = (
    "Idle",
    "Id_Illiac_Vein_Artery",
    "Dissection_Illiac_Lymph_Nodes",
    "Dissection_Obturator_Lymph_Nodes",
    "Pack_Lymph_Nodes",
    "Prevessical_Dissection",
    "Ligation_Dorsal_Venous_Complex",
    "Prostate_Dissection",
    "Seminal_Vessicle_Dissection",
    "Denon_Dissection",
    "Cut_Prostate",
    "Hold_Prostate",
    "Pack_Prostate",
    "Pass_Suture_Urethra",
    "Pass_Suture_Neck",
    "Pull_Suture",
    "Tie_Suture",
    "Suction",
    "Cut",
    "Cut_Bladder",
    "Clip_Pedicles",
)
INSTRUMENTS = (
    *("Bipolar Forceps", "Prograsp Forceps", "Large Needle Driver", "Monopolar Curved Scissors"),
    *("Suction Instrument", "Clip Applier", "Laparoscopic Grasper"),
)
TASKS = {"phase": ("phases", PHASES), "step": ("steps", STEPS)}  # track -> key on disk, names
SPLITS = {"train": (1, 2, 3, 4, 7, 14, 15, 21), "test": (41, 47, 50, 51, 53)}


class Builder(VideoDatasetBuilder):
    """GraSP: 13 prostatectomies, 11 phases, 21 steps, 7 outlined instruments; 8 train, 5 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold frames/CASE001/ ... and beside frames/ the folder annotations/ of GraSP; "
        "download: https://github.com/BCV-Uniandes/GraSP"
    )
    DOMAIN = "robotic"
    TRACKS: ClassVar = {track: names for track, (_, names) in TASKS.items()}
    MAPS: ClassVar = {"instrument": ("background", *map(normal, INSTRUMENTS))}
    BOXES: ClassVar = {"instrument": tuple(map(normal, INSTRUMENTS))}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        case = r"frames/CASE(\d{3})/"
        found = self.find_files(
            manual_dir,
            video=[r"GraSP_30fps/" + case, case],
            others={
                "labels": r"([^/]+/annotations/grasp_long-term_(?:train|test)\.json)",
                "outlines": r"([^/]+/annotations/grasp_short-term_(?:train|test)\.json)",
            },
        )
        return [
            self.item(
                f"CASE{number}",
                path,
                split,
                # The picture numbers of an annotation are those of the release it came with.
                labels=path.parents[1] / "annotations" / f"grasp_long-term_{split}.json",
                outlines=path.parents[1] / "annotations" / f"grasp_short-term_{split}.json",
            )
            for number, path, split in self.in_split(found["video"], SPLITS)
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        path = item.extra["labels"]
        check_inside(path, path.parents[1])
        data = read_json(path)
        if not isinstance(data, Mapping):
            raise BadInput(path, "is not an object with images and annotations")
        for key, names in TASKS.values():
            _compare_names(path, data.get(f"{key}_categories"), names)
        frames = _frames(path, data, item.video_id)
        numbers = np.array(sorted(frames), np.int64)
        spacing = np.diff(numbers)
        second = int(np.median(spacing)) if len(spacing) else 0
        # A key frame a second; pictures of some cases are numbered at 45 a second, others at 30.
        if second < 1 or np.mean(np.abs(spacing - second) <= (second > 1)) < 0.9:
            raise BadInput(path, f"the key frames of {item.video_id} are not evenly spaced")
        tracks = {
            track: Sampled(
                numbers,
                np.array([frames[number][track] for number in numbers.tolist()], np.int64),
                max_hold=second,
                clock="frames",
            )
            for track in TASKS
        }
        extent = Extent(path, float(numbers[-1] / second + 1))
        maps, boxes = {}, {}
        if item.extra["outlines"].exists():
            check_inside(item.extra["outlines"], path.parents[1])
            names = r"(?:.*/)?(CASE\d{3})/(\d+)\.jpg"
            found = read_coco(item.extra["outlines"], item.video_id, names, INSTRUMENTS)
            maps["instrument"] = CocoMaps(found)
            boxes["instrument"] = CocoBoxes(found)
        return OpenedVideo(
            item.path, tracks, image_fps=float(second), extents=[extent], maps=maps, boxes=boxes
        )


def _compare_names(path: Path, categories: object, names: tuple[str, ...]) -> None:
    """Raises BadInput unless the file's own classes are `names` in this order."""
    try:
        found = {entry["id"]: entry["name"] for entry in categories}
    except (TypeError, KeyError):
        raise BadInput(path, "has no lists of categories with id and name") from None
    known = dict(enumerate(names))
    for k in known | found:
        if found.get(k) != known.get(k):
            raise BadInput(path, f"its class {k} is called {found.get(k)!r}, not {known.get(k)!r}")


def _frames(path: Path, data: Mapping, case: str) -> dict[int, dict[str, int]]:
    """Picture number -> track -> id, of one case."""
    try:
        number_of = {
            image["id"]: image["frame_num"]
            for image in data["images"]
            if image["video_name"] == case
        }
        frames: dict[int, dict[str, int]] = {}
        for entry in data["annotations"]:
            number = number_of.get(entry["image_id"])
            if number is None:
                continue
            ids = {track: entry[key] for track, (key, _) in TASKS.items()}
            for value in (number, *ids.values()):
                if type(value) is not int or value < 0:
                    raise BadInput(path, f"annotation {entry.get('id')!r} holds {value!r}")
            for track, (_, names) in TASKS.items():
                if ids[track] >= len(names):
                    raise BadInput(path, f"{track} {ids[track]} of {case} is no class")
            if frames.setdefault(number, ids) != ids:
                raise BadInput(path, f"frame {number} of {case} has two labels")
    except (KeyError, TypeError) as error:
        raise BadInput(path, f"images or annotations are not as expected: {error!r}") from None
    if not frames:
        raise BadInput(path, f"holds no labels of {case}")
    return frames
