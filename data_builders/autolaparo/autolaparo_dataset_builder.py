"""AutoLaparo: 21 hysterectomies with seven phases (task 1), pictures with masks (task 3)."""

from pathlib import Path
from typing import ClassVar

from data_builders.autolaparo.scene import SceneConfig
from data_builders.common.labels.annotations import by_number, frame_table
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.reading import check_rate
from surgrec_jax.records.schema import RecordSpec

PHASES = (  # numbered from 1 on disk
    "Preparation",
    "Dividing Ligament and Peritoneum",
    "Dividing Uterine Vessels and Ligament",
    "Transecting the Vagina",
    "Specimen Removal",
    "Suturing",
    "Washing",
)
SPLITS = {"train": range(1, 11), "val": range(11, 15), "test": range(15, 22)}
FPS = 25  # row n of an annotation is frame 25 * (n - 1)


class Builder(VideoDatasetBuilder):
    """AutoLaparo (task 1): 21 hysterectomies, seven phases; 1-10 train, 11-14 val, 15-21 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the folders videos/ and labels/ of AutoLaparo's task 1, with --config scene "
        "imgs/ and masks/ of task 3; access: https://autolaparo.github.io"
    )
    BUILDER_CONFIGS: ClassVar = [
        *VideoDatasetBuilder.BUILDER_CONFIGS,
        SceneConfig(
            name="scene",
            description="Task 3: six pictures of each of 300 clips.",
            record=RecordSpec(fps=FPS),
        ),
    ]
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"videos/(\d{2})\.mp4",
            annotations={"phase": r"label_(\d{2})\.txt"},
            strays=r"videos/[^/]*\.mp4",  # the clips of task 2 are no strays
        )
        return self.split_items(found, SPLITS)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        check_rate(item.path, FPS)
        path = item.needed("phase", f"label_{item.video_id}.txt")
        phases = frame_table(path, ("Frame", "Phase"), first=1, unit=FPS, hold=FPS)
        track = phases.track("Phase", by_number(len(PHASES), first=1))
        return OpenedVideo(item.path, {"phase": track}, extents=[phases.extent])
