"""cataract-101: 101 cataract operations with the starts of ten phases."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.from_tables import starts_track
from data_builders.common.labels.tables import read_shared, single
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.reading import check_rate
from surgrec_jax.records.errors import BadInput

PHASES = (  # phases.csv numbers them from 1
    "Incision",
    "Viscous agent injection",
    "Rhexis",
    "Hydrodissection",
    "Phacoemulsification",
    "Irrigation and aspiration",
    "Capsule polishing",
    "Lens implant setting-up",
    "Viscous agent removal",
    "Tonifying and antibiotics",
)
FPS = 25  # that FrameNo counts in


class Builder(VideoDatasetBuilder):
    """cataract-101: 101 cataract operations, ten phases, surgeon and experience."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack cataract-101: videos/case_269.mp4, annotations.csv, ..."
    DOMAIN = "cataract"
    TRACKS: ClassVar = {"phase": PHASES}
    VIDEO_LABELS: ClassVar = {"surgeon": ("1", "2", "3", "4"), "experience": ("low", "high")}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        videos = self.find_files(
            manual_dir,
            video=r"videos/case_(\d+)\.mp4",
            others={"tables": r"([^/]+/(?:videos|annotations)\.csv)"},
        )["video"]
        root = next(iter(videos.values())).parents[1]
        columns = ("VideoID", "Frames", "Surgeon", "Experience")
        about = read_shared(root / "videos.csv", columns, by="VideoID", delimiter=";")
        table, columns = root / "annotations.csv", ("VideoID", "FrameNo", "Phase")
        phases = read_shared(table, columns, by="VideoID", delimiter=";")
        for case in sorted(phases.keys() - videos.keys()):
            self.pass_over(phases[case][0].error(f"case {case} is annotated, but has no video"))
        items = [
            self.item(f"case_{case}", path, about=about.get(case, []), phases=phases.get(case, []))
            for case, path in videos.items()
        ]
        return self.deal(items)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        about = single(item.extra["about"], item.path, "videos.csv")
        if not item.extra["phases"]:
            raise BadInput(item.path, "has no row in annotations.csv")
        check_rate(item.path, FPS)
        count, starts = about.integer("Frames"), []
        for row in item.extra["phases"]:
            start = row.integer("FrameNo")
            if start >= count:
                raise row.error(f"starts at frame {start}, but videos.csv counts {count} frames")
            starts.append((start, row.one_based("Phase", len(PHASES)), row))
        return OpenedVideo(
            item.path,
            {"phase": starts_track(starts, clock="frames")},
            {
                "surgeon": about.one_based("Surgeon", 4),
                "experience": about.one_based("Experience", 2),
            },
            extents=[Extent(about.path, count, "frames", line=about.line)],
        )
