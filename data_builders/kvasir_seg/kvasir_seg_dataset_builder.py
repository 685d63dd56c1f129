"""Kvasir-SEG: 1,000 pictures of polyps with their outlines filled."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import open_paired
from data_builders.common.video.maps import Above, MapFiles
from surgrec_jax.records.errors import BadInput

THRESHOLD = 128  # masks are JPEG files: their edges hold all values between 0 and 255
CLASSES = ("background", "polyp")
FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


class Builder(VideoDatasetBuilder):
    """Kvasir-SEG: 1,000 pictures of polyps, a mask each; 80 % train, 10 % val, 10 % test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold images/ and masks/ of Kvasir-SEG; download: "
        "https://datasets.simula.no/kvasir-seg/"
    )
    DOMAIN = "endoscopy"
    MAPS: ClassVar = {"polyp": CLASSES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"images/([^/]+)\.jpg",
            annotations={"mask": r"masks/([^/]+)\.jpg"},
        )
        return self.deal(self.split_items(found, None), fractions=FRACTIONS)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        mask = item.extra["mask"]
        if mask is None:
            raise BadInput(item.path, f"has no mask (expected masks/{item.path.name})")
        polyp = MapFiles({0: mask}, Above(THRESHOLD))
        return open_paired({0: item.path}, scratch_dir, 1.0, polyp=polyp)
