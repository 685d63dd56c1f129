"""PmLR50: laparoscopic liver resections with the Pringle manoeuvre, five phases."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_number, class_id, split_rows
from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.source.builder import (
    Extent,
    OpenedVideo,
    VideoDatasetBuilder,
    VideoItem,
)
from surgrec_jax.records.errors import BadInput

PHASES = (
    "Preparation stage",
    "Knotting of the Foley catheter",
    "Procedure of the liver resection",
    "Release of the Foley catheter",
    "Postprocessing stage",
)
SPLITS = {
    "train": (*range(1, 34), 49, 50),
    "val": (*range(34, 38), 48),
    "test": range(38, 48),
}


class Builder(VideoDatasetBuilder):
    """PmLR50: 50 liver resections as pictures by the second, 5 phases; 35 train, 5 val, 10 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold frames/01/ ... and phase_annotations/ of PmLR50; download: "
        "https://github.com/RascalGdd/PmNet"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"frames/(\d{2})/",
            annotations={"phase": r"phase_annotations/(?:(?:train|val|test)/)?(\d{2})\.txt"},
        )
        return self.split_items(found, SPLITS)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        path = item.needed("phase", f"phase_annotations/{item.video_id}.txt")
        rows = split_rows(path, ("frame", "phase"))
        if not rows[0].cells["frame"].isdecimal():  # a header; its words are not known
            rows = rows[1:]
        if not rows:
            raise BadInput(path, "holds no labels")
        ids = by_number(len(PHASES))
        samples = [
            (row.integer("frame"), class_id(row, row.cells["phase"], ids), row) for row in rows
        ]
        track = sampled_track(samples)
        end, _, last = max(samples, key=lambda sample: sample[0])
        extent = Extent(path, end + 1, line=last.line)
        return OpenedVideo(item.path, {"phase": track}, image_fps=1.0, extents=[extent])
