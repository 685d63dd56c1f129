"""Endoscapes2023: cholecystectomies before the first clip, the critical view of safety."""

import dataclasses
import re
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.labels.tables import Row, read_shared
from data_builders.common.labels.tracks import presence_classes
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.coco import CocoBoxes, read_coco
from data_builders.common.video.maps import MapFiles, by_value
from surgrec_jax.records.errors import check_inside, safe_text
from surgrec_jax.records.maps import VOID

CRITERIA = {  # the three criteria of the critical view of safety -> column
    "two_structures": "C1",
    "hepatocystic_triangle": "C2",
    "cystic_plate": "C3",
}
ANATOMY = (  # grey values 0 to 6 of the maps
    *("background", "cystic_plate", "hepatocystic_triangle", "cystic_artery", "cystic_duct"),
    *("gallbladder", "tool"),
)
BOXED = ("cystic_plate", "calot_triangle", *ANATOMY[3:])  # the same in the files of boxes
FPS = 25  # that file names count frames in; a picture a second is there
PICTURE = re.compile(r"(\d+)_\d+\.jpg", re.IGNORECASE)
TABLE = "all_metadata.csv"


class Builder(VideoDatasetBuilder):
    """Endoscapes2023: 201 videos, three criteria every five seconds; 120 train, 41 val, 40 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold train/, val/, test/ and all_metadata.csv of Endoscapes2023; download: "
        "https://github.com/CAMMA-public/Endoscapes"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = presence_classes("cvs", CRITERIA)
    MAPS: ClassVar = {"anatomy": ANATOMY}
    BOXES: ClassVar = {"anatomy": ANATOMY[1:]}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video="(train|val|test)/",
            others={"table": f"({re.escape(TABLE)})", "masks": r"(semseg)/"},
        )
        boxes = {split: path / "annotation_coco.json" for split, path in found["video"].items()}
        table = self.shared(manual_dir, found["table"], TABLE)
        rows = read_shared(table, ("vid", "frame", "is_ds_keyframe", *CRITERIA.values()), by="vid")
        return [
            self.item(
                number,
                found["video"][split],
                split,
                masks=found["masks"].get("semseg"),
                boxes=boxes[split] if boxes[split].is_file() else None,
                rows=[row for row in rows.get(number, ()) if row.cells["is_ds_keyframe"] == "True"],
            )
            for split in sorted(found["video"])
            for number in sorted({m[1] for m in _pictures(found["video"][split])}, key=int)
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        if item.extra["boxes"] is not None:
            check_inside(item.extra["boxes"], item.path)
        names, rows = rf"{item.video_id}_(\d+)\.", item.extra["rows"]
        pictures, problems = _seconds(numbered_files(item.path, names + "jpg"))
        masks = {}
        if item.extra["masks"] is not None:
            masks, wrong = _seconds(numbered_files(item.extra["masks"], names + "png"))
            problems += wrong
        ids = {k: k for k in range(len(ANATOMY))} | {255: VOID}
        anatomy = MapFiles(masks, by_value(ids))
        opened = open_paired(pictures, scratch_dir, 1.0, sparse=True, anatomy=anatomy)
        start = opened.image_start
        boxes = {}
        if item.extra["boxes"] is not None:
            found = read_coco(item.extra["boxes"], item.video_id, r"(\d+)_(\d+)\.jpg", BOXED)
            between = sorted(n for n in found.numbers if n % FPS)
            problems += [
                f"{found.where(n)}: boxes of a frame that is not on a second" for n in between
            ]
            found = found.counted_from(start * FPS, FPS)
            boxes["anatomy"] = CocoBoxes(found)
        lonely = [row for row in rows if row.integer("frame") // FPS not in pictures]
        problems += [str(row.error("a label without a picture")) for row in lonely]
        tracks = {}
        for track, column in zip(self.TRACKS, CRITERIA.values(), strict=True):
            votes = [
                (row.integer("frame") // FPS - start, _majority(row, column), row)
                for row in rows
                if row not in lonely
            ]
            tracks[track] = sampled_track(votes)
        problems += opened.problems
        return dataclasses.replace(opened, tracks=tracks, boxes=boxes, problems=problems)


def _majority(row: Row, column: str) -> int:
    """Whether most of the three experts saw a criterion met: the cell is their mean."""
    mean = row.number(column)
    if mean > 1:
        raise row.error(f"{column!r} is {mean:g}: no mean of votes from 0 to 1")
    return int(mean >= 0.5)


def _pictures(folder: Path) -> list[re.Match]:
    return [match for path in folder.iterdir() if (match := PICTURE.fullmatch(path.name))]


def _seconds(files: dict[int, Path]) -> tuple[dict[int, Path], list[str]]:
    """Files by second instead of frame; those that are not on a second are told of."""
    wrong = [f"{safe_text(p)}: frame {n} is not on a second" for n, p in files.items() if n % FPS]
    return {n // FPS: path for n, path in files.items() if n % FPS == 0}, wrong
