"""CholecSeg8k: 101 clips of 80 frames of Cholec80, every pixel of 13 classes."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import MapFiles, by_value
from surgrec_jax.records.maps import VOID
from surgrec_jax.records.schema import RecordSpec

# Class -> grey value in the watershed masks.
VALUES = {
    "black_background": 50,
    "abdominal_wall": 11,
    "liver": 21,
    "gastrointestinal_tract": 13,
    "fat": 12,
    "grasper": 31,
    "connective_tissue": 23,
    "blood": 24,
    "cystic_duct": 25,
    "l_hook_electrocautery": 32,
    "gallbladder": 22,
    "hepatic_vein": 33,
    "liver_ligament": 5,
}
UNMARKED = (0, 255)  # pixels that were left out, and the white edge of some masks
FPS = 25
# Along Cholec80's own split, so that an encoder pretrained on its videos 1-40 meets no test case.
SPLITS = {"train": range(1, 29), "val": range(29, 41), "test": range(41, 81)}


class Builder(VideoDatasetBuilder):
    """CholecSeg8k: 101 clips of 17 videos of Cholec80, 13 classes; every frame has a map."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold video01/video01_00080/frame_80_endo.png ... of CholecSeg8k; download: "
        "https://www.kaggle.com/datasets/newslab/cholecseg8k"
    )
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(
            description="A clip a record: 80 frames at 25 fps, short side 256.",
            record=RecordSpec(frames=80, fps=25),
        )
    ]
    DOMAIN = "laparoscopy"
    MAPS: ClassVar = {"scene": tuple(VALUES)}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(manual_dir, video=r"video\d{2}/(video\d{2}_\d{5})/")
        return self.split_items(
            found, SPLITS, number=lambda key: int(key[5:7]), case=lambda key: key[:7]
        )

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        pictures = numbered_files(item.path, r"frame_(\d+)_endo\.png")
        masks = numbered_files(item.path, r"frame_(\d+)_endo_watershed_mask\.png")
        ids = {value: k for k, value in enumerate(VALUES.values())} | dict.fromkeys(UNMARKED, VOID)
        scene = MapFiles(masks, by_value(ids))
        return open_paired(pictures, scratch_dir, FPS, scene=scene)
