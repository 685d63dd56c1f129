"""EndoVis 2018: robotic kidney operations on pigs, every pixel of 12 classes."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import MapFiles, by_colour

# Class -> (red, green, blue) of the label pictures, as labels.json of the release has them.
COLOURS = {
    "background_tissue": (0, 0, 0),
    "instrument_shaft": (0, 255, 0),
    "instrument_clasper": (0, 255, 255),
    "instrument_wrist": (125, 255, 12),
    "kidney_parenchyma": (255, 55, 0),
    "covered_kidney": (24, 55, 125),
    "thread": (187, 155, 25),
    "clamps": (0, 255, 125),
    "suturing_needle": (255, 255, 125),
    "suction_instrument": (123, 15, 175),
    "small_intestine": (124, 155, 5),
    "ultrasound_probe": (12, 255, 141),
}
FPS = 2  # of the pictures; stretches without motion were taken out
# The test split is what ISINet (Gonzalez et al. 2020) and its followers report on.
SPLITS = {
    "train": (1, 3, 6, 7, 8, 10, 12, 13, 16),
    "val": (4, 11, 14),
    "test": (2, 5, 9, 15),
}
NAMES = r"frame(\d+)\.png"


class Builder(VideoDatasetBuilder):
    """EndoVis 2018: sequences of robotic kidney operations, 12 classes; 9 train, 3 val, 4 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold seq_1/left_frames/frame000.png and seq_1/labels/frame000.png ... of the "
        "training releases of EndoVis 2018; access: "
        "https://endovissub2018-roboticscenesegmentation.grand-challenge.org"
    )
    DOMAIN = "robotic"
    MAPS: ClassVar = {"scene": tuple(COLOURS)}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(manual_dir, video=r"seq_(\d{1,2})/")
        return self.split_items(found, SPLITS, "seq_{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        pictures = numbered_files(item.path / "left_frames", NAMES)
        labels = numbered_files(item.path / "labels", NAMES)
        ids = {colour: k for k, colour in enumerate(COLOURS.values())}
        return open_paired(pictures, scratch_dir, FPS, scene=MapFiles(labels, by_colour(ids)))
