"""M2CAI16-Workflow: 41 cholecystectomies from two hospitals with eight phases."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, frame_table
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.reading import check_rate

PHASES = (
    "TrocarPlacement",
    "Preparation",
    "CalotTriangleDissection",
    "ClippingCutting",
    "GallbladderDissection",
    "GallbladderPackaging",
    "CleaningCoagulation",
    "GallbladderRetraction",
)
FPS = 25  # that annotations count frames in


class Builder(VideoDatasetBuilder):
    """M2CAI16-Workflow: 41 cholecystectomies, eight phases; 27 train, 14 test, by folder."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold train_dataset/ and test_dataset/ of M2CAI16-Workflow; access: "
        "https://camma.unistra.fr/datasets/"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        # The folder is part of the name: train 05 and test 05 are different patients. Predictions
        # (_pred.txt) and time stamps (_timestamp.txt) beside the labels match nothing.
        stem = "(train_dataset/workflow_video_{0}|test_dataset/test_workflow_video_{0})"
        stem = stem.format(r"\d{2}")
        found = self.find_files(
            manual_dir,
            video=stem + r"\.mp4",
            annotations={"phase": stem + r"\.txt"},
        )
        return [
            self.item(
                key.split("/")[1],
                path,
                "train" if key.startswith("train") else "test",
                phase=found["phase"].get(key),
            )
            for key, path in found["video"].items()
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        check_rate(item.path, FPS)
        path = item.needed("phase", f"{item.video_id}.txt")
        phases = frame_table(path, ("Frame", "Phase"))
        track = phases.track("Phase", by_name(PHASES))
        return OpenedVideo(item.path, {"phase": track}, extents=[phases.extent])
