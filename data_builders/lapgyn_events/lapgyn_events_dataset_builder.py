"""Events in gynaecologic laparoscopy (ITEC): short clips with one of four events, or without it."""

import re
from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import safe_text

EVENTS = {  # folder -> the subfolder of clips that show the event; the others are in `Rest`
    "AbdominalAccess": "AbdominalAccess",
    "Bleeding": "Bleeding",
    "Coag-Transection": "Transection",
    "NeedlePassing": "NeedlePassing",
}
LABELS = {"AbdominalAccess": "abdominal_access", "Bleeding": "bleeding"}
LABELS |= {"Coag-Transection": "coag_transection", "NeedlePassing": "needle_passing"}
REST = "Rest"
SPLITS = {"Train": "train", "Test": "test"}


class Builder(VideoDatasetBuilder):
    """LapGyn events: gynaecologic laparoscopy clips, four events, each against the rest."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "It must hold Bleeding/Train/Bleeding/case_110_... and so on."
    # `event` is known of clips that show one. Of the rest it is only known which one they lack:
    # four binary questions, each asked of the clips of its own folder.
    DOMAIN = "laparoscopy"
    VIDEO_LABELS: ClassVar = {
        "event": tuple(EVENTS),
        **{label: (REST, event) for event, label in LABELS.items()},
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        name = rf"((?:{'|'.join(EVENTS)})/(?:Train|Test)/[^/]+/case_\d+_.+_\d+\.mp4)"
        items: list[VideoItem] = []
        for key, path in self.find_files(manual_dir, video=name)["video"].items():
            event, side, kind, stem = key.removesuffix(".mp4").split("/")
            if kind not in (EVENTS[event], REST):
                reason = f"lies in a folder {kind!r}; expected {EVENTS[event]!r} or {REST!r}"
                self.leave_out(path, reason)
                continue
            shown = kind != REST
            labels = {
                "event": list(EVENTS).index(event) if shown else -1,
                LABELS[event]: int(shown),
            }
            items.append(
                self.item(
                    safe_text(key.removesuffix(".mp4")),
                    path,
                    SPLITS[side],
                    case=re.match(r"case_\d+", stem)[0],
                    labels=labels,
                )
            )
        tested = {item.case_id for item in items if item.split == "test"}
        kept = [item for item in items if item.split == "test" or item.case_id not in tested]
        for item in items:
            if item.split == "train" and item.case_id in tested:
                reason = f"left out of train: the owner has clips of {item.case_id} in Test as well"
                self.leave_out(item.path, reason)
        return kept

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return OpenedVideo(item.path, {}, item.extra["labels"])
