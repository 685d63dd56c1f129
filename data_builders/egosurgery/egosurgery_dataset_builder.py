"""EgoSurgery: open surgery from the surgeon's head, nine phases, boxes of tools and hands."""

import dataclasses
import re
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, class_id, normal
from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.labels.tables import Row, read_rows
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.coco import CocoBoxes, read_coco

PHASES = (
    *("disinfection", "design", "anesthesia", "incision", "dissection", "hemostasis"),
    *("irrigation", "closure", "dressing"),
)
TOOLS = (
    *("Bipolar Forceps", "Electric Cautery", "Forceps", "Gauze", "Hook", "Mouth Gag"),
    *("Needle Holders", "Raspatory", "Retractor", "Scalpel", "Scissors", "Skewer"),
    *("Suction Cannula", "Syringe", "Tweezers"),
)
HANDS = ("Own hands left", "Own hands right", "Other hands left", "Other hands right")
KINDS = {"tool": TOOLS, "hand": HANDS}
SPLITS = {
    "train": (1, 2, 3, 6, 8, *range(11, 16)),
    "val": (9, 10),
    "test": (4, 5, 7),
}
FPS = 0.5
FRAME = r"(\d{2}_\d+)_(\d+)"  # the session, the number


class Builder(VideoDatasetBuilder):
    """EgoSurgery: 15 videos of open surgery, nine phases, boxes; 10 train, 2 val, 3 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold images/01/01_1_0001.jpg, ..., phase/01_1.csv, ... and the files of boxes of "
        "EgoSurgery; access: https://github.com/Fujiry0/EgoSurgery"
    )
    DOMAIN = "open"
    TRACKS: ClassVar = {"phase": PHASES}
    BOXES: ClassVar = {name: tuple(map(normal, classes)) for name, classes in KINDS.items()}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"(?:images|train|val|test)/(\d{2})/",
            others={
                "phase": r"phase/(\d{2}_\d+)\.csv",
                "tool": r"(?:instances_|by_split/tools/)(train|val|test)\.json",
                "hand": r"by_split/hands/(train|val|test)\.json",
            },
        )
        return [
            self.item(
                session,
                path,
                split,
                case=video,
                phase=found["phase"].get(session),
                **{name: found[name].get(split) for name in KINDS},
            )
            for video, path, split in self.in_split(found["video"], SPLITS)
            for session in sorted(_sessions(path))
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        session = item.video_id
        path = item.needed("phase", f"{session}.csv")
        pictures = numbered_files(item.path, rf"{session}_(\d+)\.jpg")
        opened = open_paired(pictures, scratch_dir, FPS)
        start, ids, samples, problems = opened.image_start, by_name(PHASES), [], []
        for row in read_rows(path, ("Frame", "Phase")):
            number = _number(row, session)
            phase = class_id(row, row.text("Phase"), ids)
            if number in pictures:
                samples.append((number - start, phase, row))
            else:
                problems.append(str(row.error("a label without a picture")))
        boxes = {}
        for name, classes in KINDS.items():
            if item.extra[name] is not None:
                frames = read_coco(
                    item.extra[name], session, rf"(?:.*/)?{FRAME}\.jpg", classes
                ).counted_from(start)
                boxes[name] = CocoBoxes(frames)
        track = sampled_track(samples)
        return dataclasses.replace(
            opened, tracks={"phase": track}, boxes=boxes, problems=[*problems, *opened.problems]
        )


def _sessions(folder: Path) -> set[str]:
    matches = (re.fullmatch(FRAME + r"\.jpg", path.name) for path in folder.iterdir())
    return {match[1] for match in matches if match}


def _number(row: Row, session: str) -> int:
    match = re.fullmatch(FRAME, row.text("Frame"))
    if match is None or match[1] != session:
        raise row.error(f"{row.text('Frame')!r} is no frame of {session}")
    return int(match[2])
