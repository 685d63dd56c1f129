"""Colonoscopic (UCI 408): 76 lesions of the colon, each in white light and narrow-band light."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import safe_text

LESIONS = ("Adenoma", "Hyperplasic", "Serrated")  # the site's spelling, alphabetical
LIGHTS = ("WL", "NBI")


class Builder(VideoDatasetBuilder):
    """Colonoscopic (UCI 408): 76 lesions of three classes, in white and narrow-band light."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "It must hold Adenoma/adenoma_01/videos/NBI.mp4 and so on."
    DOMAIN = "endoscopy"
    VIDEO_LABELS: ClassVar = {"lesion": LESIONS, "light": LIGHTS}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        video = rf"((?:{'|'.join(LESIONS)})/[^/]+/videos/(?:{'|'.join(LIGHTS)})\.mp4)"
        items = []
        for path in self.find_files(manual_dir, video=video)["video"].values():
            lesion, case, _, _ = path.parts[-4:]
            if not case.lower().startswith(f"{lesion.lower()}_"):
                reason = f"is in a folder {case!r} under {lesion!r}: which class is it?"
                self.leave_out(path, reason)
                continue
            labels = {"lesion": LESIONS.index(lesion), "light": LIGHTS.index(path.stem)}
            case = safe_text(case)
            items.append(self.item(f"{case}_{path.stem}", path, case=case, labels=labels))
        return self.deal(items, group=lambda item: item.extra["labels"]["lesion"])

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return OpenedVideo(item.path, {}, item.extra["labels"])
