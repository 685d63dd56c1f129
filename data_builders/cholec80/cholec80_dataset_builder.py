"""Cholec80: 80 cholecystectomies with seven phases and the presence of seven tools."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import PRESENT, by_name, frame_table
from data_builders.common.labels.tracks import presence_classes
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.reading import check_rate

PHASES = (
    "Preparation",
    "CalotTriangleDissection",
    "ClippingCutting",
    "GallbladderDissection",
    "GallbladderPackaging",
    "CleaningCoagulation",
    "GallbladderRetraction",
)
TOOLS = ("Grasper", "Bipolar", "Hook", "Scissors", "Clipper", "Irrigator", "SpecimenBag")
SPLITS = {"train": range(1, 41), "test": range(41, 81)}
FPS = 25  # that annotations count frames in
PICTURE_FPS = 1  # of the variant in pictures


class Builder(VideoDatasetBuilder):
    """Cholec80: 80 cholecystectomies, seven phases, seven tools; videos 1-40 train, 41-80 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold videos/ (or frames/), phase_annotations/ and tool_annotations/ of Cholec80; "
        "access: https://camma.unistra.fr/datasets/"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {"phase": PHASES, **presence_classes("tool", TOOLS)}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=[r"video(\d{2})\.mp4", r"frames/video(\d{2})/"],
            annotations={"phase": r"video(\d{2})-phase\.txt", "tool": r"video(\d{2})-tool\.txt"},
        )
        return self.split_items(found, SPLITS, "video{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        pictures = item.path.is_dir()
        if pictures:  # one a second: rows at 25 a second are placed by time
            unit, clock = 1 / FPS, "seconds"
        else:
            unit, clock = 1, "frames"
            check_rate(item.path, FPS)
        phases = frame_table(
            item.needed("phase", f"{item.video_id}-phase.txt"),
            ("Frame", "Phase"),
            unit=unit,
            hold=unit,
            clock=clock,
        )
        tools = frame_table(  # a row per 25th frame, which speaks for its second
            item.needed("tool", f"{item.video_id}-tool.txt"),
            ("Frame", *TOOLS),
            unit=unit,
            hold=FPS * unit,
            clock=clock,
        )
        tracks = {"phase": phases.track("Phase", by_name(PHASES))}
        tracks |= {f"tool_{tool.lower()}": tools.track(tool, PRESENT) for tool in TOOLS}
        return OpenedVideo(
            item.path,
            tracks,
            image_fps=PICTURE_FPS if pictures else None,
            image_start=1,
            extents=(phases.extent, tools.extent),
        )
