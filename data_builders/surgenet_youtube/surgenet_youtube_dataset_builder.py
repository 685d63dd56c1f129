"""SurgeNet-YouTube: pictures of minimally invasive surgery on YouTube, one a second, no labels."""

import dataclasses
from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.pictures import list_pictures, open_pictures
from surgrec_jax.records.errors import BuildError

IMAGE_FPS = 1.0


@dataclasses.dataclass(eq=False, kw_only=True)
class SurgeNetConfig(VideoConfig):
    """How the pictures are named, which is not known here.

    Attributes:
        pattern: regular expression for the relative path of a picture, with groups `video`,
            `frame`.
    """

    pattern: str | None = None


class Builder(VideoDatasetBuilder):
    """SurgeNet-YouTube: YouTube surgery, one picture a second, no labels, for pretraining."""

    BUILDER_CONFIGS: ClassVar[list[VideoConfig]] = [SurgeNetConfig()]
    DOMAIN = "laparoscopy"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Unpack the archives; --pattern says how pictures are named."

    @classmethod
    def add_arguments(cls, parser) -> None:
        parser.add_argument(
            "--pattern",
            help="regular expression for a picture's relative path, with the groups video and "
            r"frame, such as '(?P<video>[^/]+/[^/]+)/(?P<frame>\d+)\.jpg'",
        )

    @classmethod
    def config_from_arguments(cls, args) -> SurgeNetConfig:
        return SurgeNetConfig(name=args.config or "default", pattern=args.pattern)

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        if self.builder_config.pattern is None:
            raise BuildError(
                "surgenet_youtube needs --pattern: look into an archive how its pictures are named "
                "(data_builders/surgenet_youtube/README.md has examples)."
            )
        return list_pictures(self, manual_dir, self.builder_config.pattern)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return open_pictures(item, scratch_dir, IMAGE_FPS)
