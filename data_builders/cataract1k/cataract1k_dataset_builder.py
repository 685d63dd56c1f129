"""Cataract-1K, phase part: 56 cataract operations with intervals of twelve phases."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, class_id
from data_builders.common.labels.from_tables import interval_track
from data_builders.common.labels.tables import read_rows
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem

PHASES = (  # the owner's spelling; there are no numbers on disk
    "Incision",
    "Viscoelastic",
    "Capsulorhexis",
    "Hydrodissection",
    "Phacoemulsification",
    "Irrigation/Aspiration",
    "Capsule Pulishing",
    "Lens Implantation",
    "Lens positioning",
    "Viscoelastic_Suction",
    "Anterior_Chamber Flushing",
    "Tonifying/Antibiotics",
)
CLASSES = by_name(PHASES, also={"Capsule Polishing": PHASES.index("Capsule Pulishing")})
PART = "Phase_recognition_dataset"


class Builder(VideoDatasetBuilder):
    """Cataract-1K (phase part): 56 cataract operations, twelve phases."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = f"Unpack the phase part: {PART}/videos, {PART}/annotations."
    DOMAIN = "cataract"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=rf"{PART}/videos/case_(\d+)\.mp4",
            annotations={"phase": r"annotations/case_\d+/case_(\d+)_annotations_phases\.csv"},
            strays=rf"{PART}/.*\.mp4",  # the other parts' videos are not meant
        )
        return self.deal(self.split_items(found, None, "case_{}".format))

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        name = f"{item.case_id}_annotations_phases.csv"
        path, spans, empty = item.needed("phase", name), [], []
        for row in read_rows(path, ("caseId", "comment", "sec", "endSec")):
            if f"case_{row.cells['caseId']}" != item.case_id:
                raise row.error(f"is of case {row.cells['caseId']!r}, not of {item.case_id}")
            start, end = row.number("sec"), row.number("endSec")
            spans.append((start, end, class_id(row, row.text("comment"), CLASSES), row))
            if start == end:
                empty.append(f"{name}:{row.line}: an interval of no length labels nothing")
        end, line = max((span[1], span[3].line) for span in spans)
        return OpenedVideo(
            item.path,
            {"phase": interval_track(spans)},
            extents=[Extent(path, end, whole=False, line=line)],
            problems=empty,
        )
