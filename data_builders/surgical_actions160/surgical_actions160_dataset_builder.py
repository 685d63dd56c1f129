"""SurgicalActions160: 160 short clips of 16 gynecologic actions."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem

ACTIONS = (  # folders 01_ to 16_
    "abdominal_access",
    "injection",
    "cutting",
    "blunt_dissection",
    "dissection_thermal",
    "irrigation",
    "coagulation",
    "suction",
    "needle_positioning",
    "needle_puncture",
    "knot_pushing",
    "knotting",
    "thread_cut",
    "sling-in",
    "endobag-in",
    "endobag-out",
)


class Builder(VideoDatasetBuilder):
    """SurgicalActions160: 16 actions x 10 clips; the recordings they come from are not known."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the folders 01_abdominal_access/ to 16_endobag-out/; download: "
        "http://ftp.itec.aau.at/datasets/SurgicalActions160/"
    )
    DOMAIN = "laparoscopy"
    VIDEO_LABELS: ClassVar = {"action": ACTIONS}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(manual_dir, video=r"(\d{2}_[\w-]+/\d{2}_\d{2})\.mp4")
        items = []
        for key, path in found["video"].items():
            folder, stem = key.split("/")
            number, name = folder.split("_", 1)
            if name not in ACTIONS or int(number) != ACTIONS.index(name) + 1:
                self.leave_out(path, f"{folder} is not one of the 16 folders")
            elif not stem.startswith(number):
                self.leave_out(path, f"a clip of another class lies in {folder}")
            else:
                # The patient of a clip is not known.
                items.append(self.item(stem, path, case=f"clip_{stem}", action=name))
        # Class by class, so that each is in every split.
        return self.deal(items, group=lambda item: item.extra["action"])

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return OpenedVideo(item.path, video_labels={"action": ACTIONS.index(item.extra["action"])})
