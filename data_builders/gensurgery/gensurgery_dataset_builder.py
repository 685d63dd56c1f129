"""GenSurgery (GSViT): surgery on YouTube, as files or as pictures, one a second, without labels."""

import re
from pathlib import Path

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.pictures import list_pictures, open_pictures

# The owner's downloader writes videos/ID.TITLE.EXT, where ID is all that follows the last slash of
# a link: `_OCp8V_G8SM`, `watch?v=8MCYDrmvqzw` or `NqBQYlSV1jQ?si=FjhSFpuj`. Its lists name 277
# videos in two of these ways, so that it fetches them twice: one is taken.
_ID = r"([A-Za-z0-9_-]{11})"
NAMES = (_ID, rf"watch\?v={_ID}", rf"(?:watch\?v=)?{_ID}[?&][^./]*")
SUFFIX = r"(?:mp4|webm|mkv|mov|flv|avi|3gp)"
PATTERN = r"(?:.*/)?frames/(?P<video>[^/]+)/\D*(?P<frame>\d{1,12})\.png"
IMAGE_FPS = 1.0
AT_LEAST = 60  # pictures; readers of the set drop shorter videos


class Builder(VideoDatasetBuilder):
    """GenSurgery (GSViT): YouTube surgery without labels, for pretraining."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold videos/ID.TITLE.mp4, as the owner's downloader writes them, or "
        "frames/VIDEO/*.png, one picture a second."
    )
    DOMAIN = "laparoscopy"

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=[
                *(rf"videos/{n}(?:\.(?![^/]*\.f\d+\.)[^/]*)?\.{SUFFIX}" for n in NAMES),
                *(rf"videos/{n}\.[^/]*\.f\d+\.{SUFFIX}" for n in NAMES),  # left unmerged
                r"frames/([^/]+)/",
            ],
            strays=rf"[^/]*\.(?:{SUFFIX}|part)",
        )["video"]
        files = {key: path for key, path in found.items() if not path.is_dir()}
        items = [self.item(key, path, "train") for key, path in files.items()]
        if len(files) == len(found):
            return items
        pictures = list_pictures(self, manual_dir, PATTERN, at_least=AT_LEAST)
        for item in pictures:
            name = re.match(rf"(?:{'|'.join(NAMES)})(?:\.|$)", item.video_id)
            same = name and files.get(next(filter(None, name.groups())))
            if same:
                self.leave_out(item.path, f"the same video as {same}")
            else:
                items.append(item)
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        if item.path.is_dir():
            return open_pictures(item, scratch_dir, IMAGE_FPS)
        return OpenedVideo(item.path)
