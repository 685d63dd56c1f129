"""Cataract-21 (ITEC cat-21): 21 cataract operations with a phase per frame."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, class_id
from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.labels.tables import read_rows
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem

PHASES = (  # the owner's names; there are no numbers on disk
    "Incision",
    "Viscoelasticum",
    "Rhexis",
    "Hydrodissektion",
    "Phako",
    "Irrigation-Aspiration",
    "Kapselpolishing",
    "Linsenimplantation",
    "Visco-Absaugung",
    "Tonisieren",
    "Antibiotikum",
)
CLASSES = by_name(PHASES, also={"not_initialized": -1})
NAME = r"case_(\d{2})(?:_training|_validation)?"  # the side stands in the name or in a folder's


class Builder(VideoDatasetBuilder):
    """Cataract-21: 21 cataract operations, eleven phases."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack cat-21: training/case_01.mp4, training/case_01.csv, ..."
    DOMAIN = "cataract"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=rf"{NAME}\.mp4",
            annotations={"phase": rf"{NAME}\.csv"},
        )
        items = []
        for case, path in found["video"].items():
            split = "train" if 1 <= int(case) <= 17 else "val" if 18 <= int(case) <= 21 else None
            other = {"train": "validation", "val": "training"}.get(split)
            if split is None or other in path.relative_to(manual_dir).as_posix():
                reason = "cases 1 to 17 are the owner's training, 18 to 21 the validation videos"
                self.leave_out(path, reason)
                continue
            items.append(self.item(f"case_{case}", path, split, phase=found["phase"].get(case)))
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        path = item.needed("phase", f"{item.path.stem}.csv")
        rows = read_rows(path, ("frame", "phase"), header=None)
        samples = [
            (row.integer("frame"), class_id(row, row.text("phase"), CLASSES), row) for row in rows
        ]
        return OpenedVideo(
            item.path,
            {"phase": sampled_track(samples)},
            extents=[Extent(path, max(samples, key=lambda s: s[0])[0] + 1, "frames")],
        )
