"""GenSurgery (GSViT): pictures of surgery on YouTube, one a second, without labels."""

from pathlib import Path

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.pictures import list_pictures, open_pictures

PATTERN = r"(?:.*/)?frames/(?P<video>[^/]+)/\D*(?P<frame>\d{1,12})\.png"
IMAGE_FPS = 1.0
AT_LEAST = 60  # readers of the set drop shorter videos


class Builder(VideoDatasetBuilder):
    """GenSurgery (GSViT): YouTube surgery, one picture a second, no labels, for pretraining."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "It must hold frames/VIDEO/*.png, one picture a second."

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        return list_pictures(self, manual_dir, PATTERN, domain="laparoscopy", at_least=AT_LEAST)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return open_pictures(item, scratch_dir, IMAGE_FPS)
