"""C3VD: a colonoscope in phantom colons, the depth of every pixel known."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import MapFiles, depths
from surgrec_jax.records.schema import RecordSpec

MILLIMETRES = 100 / 65535  # of one count: 16 bits stand for 0 to 100 mm
FPS = 30
# By segment of the colon: all its textures and camera paths show one shape.
SPLIT_OF = {"cecum": "train", "desc": "train", "sigmoid": "val", "trans": "test"}


class Builder(VideoDatasetBuilder):
    """C3VD: 22 sequences in four segments of a phantom colon, depth per pixel; by segment."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the folders cecum_t1_a, ... trans_t4_b of C3VD, each with 0000_color.png, "
        "0000_depth.tiff, ...; download: https://durrlab.github.io/C3VD/"
    )
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(
            description="64 JPEG frames a record, all frames, short side 256.",
            record=RecordSpec(fps=FPS),
        )
    ]
    DOMAIN = "endoscopy"
    MAPS: ClassVar = {"depth": None}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        segments = "|".join(SPLIT_OF)
        found = self.find_files(manual_dir, video=rf"((?:{segments})_t\d+_[a-z])/")
        return [  # a case is a segment in one texture, filmed along several paths
            self.item(key, path, SPLIT_OF[key.split("_")[0]], case=key.rpartition("_")[0])
            for key, path in found["video"].items()
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        pictures = numbered_files(item.path, r"(\d+)_color\.png")
        maps = numbered_files(item.path, r"(\d+)_depth\.tiff?")
        return open_paired(pictures, scratch_dir, FPS, depth=MapFiles(maps, depths, MILLIMETRES))
