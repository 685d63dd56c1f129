"""EndoVis 2017: robotic operations on pigs, every pixel of an instrument's type and part."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import Above, Layers, MapFiles, by_value
from surgrec_jax.records.errors import BadInput, check_inside
from surgrec_jax.records.maps import VOID

# A part of the name of a folder of masks -> class.
TYPES = (
    *("Bipolar_Forceps", "Prograsp_Forceps", "Large_Needle_Driver", "Vessel_Sealer"),
    *("Grasping_Retractor", "Monopolar_Curved_Scissors", "Other"),
)
PARTS = {"background": 0, "shaft": 10, "wrist": 20, "claspers": 30}  # class -> grey value
PROBE = 40  # the part of a drop-in probe
FPS = 2
# The first of the four folds that are usual: sequences 1 and 3 are tested on.
SPLITS = {"train": (4, 6, 7, 8), "val": (2, 5), "test": (1, 3)}
NAMES = r"frame(\d+)\.png"


class Builder(VideoDatasetBuilder):
    """EndoVis 2017: 8 sequences, 7 types and 3 parts of instruments; 4 train, 2 val, 2 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold instrument_dataset_1/left_frames/frame000.png and "
        "instrument_dataset_1/ground_truth/.../frame000.png ... of the training releases of "
        "EndoVis 2017; access: https://endovissub2017-roboticinstrumentsegmentation.grand-challenge.org"
    )
    DOMAIN = "robotic"
    MAPS: ClassVar = {
        "instrument": ("background", *(name.lower() for name in TYPES)),
        "part": tuple(PARTS),
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(manual_dir, video=r"instrument_dataset_(\d{1,2})/")
        return self.split_items(found, SPLITS, "instrument_dataset_{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        pictures = numbered_files(item.path / "left_frames", NAMES)
        types, parts = [], []
        for folder in sorted((item.path / "ground_truth").glob("*/")):
            check_inside(folder, item.path)
            kind = next((k for k, name in enumerate(TYPES, 1) if name in folder.name), None)
            if kind is None:
                raise BadInput(folder, f"is of no known instrument ({', '.join(TYPES)})")
            files = numbered_files(folder, NAMES)
            other = kind == len(TYPES)  # no part of a robot's instrument: unlabelled among parts
            ids = {value: k for k, value in enumerate(PARTS.values())} | {PROBE: VOID}
            parts.append(MapFiles(files, Above(1, VOID) if other else by_value(ids)))
            ids = {value: kind if value else 0 for value in (*PARTS.values(), PROBE)}
            types.append(MapFiles(files, Above(1, kind) if other else by_value(ids)))
        if not types:
            raise BadInput(item.path, "has no ground_truth; the training releases have one")
        maps = {"instrument": Layers(types), "part": Layers(parts)}
        return open_paired(pictures, scratch_dir, FPS, **maps)
