"""CVC-ClinicDB: 612 frames of 29 sequences of colonoscopy, each with its polyp outlined."""

import itertools
from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import Above, MapFiles
from surgrec_jax.records.schema import RecordSpec

CLASSES = ("background", "polyp")
THRESHOLD = 128
PICTURES = 612
FPS = 25  # the rate is not published; every picture is stored
NAMES = r"(\d+)\.(?:tif|png)"
# The number of the first picture of each sequence.
STARTS = (
    *(1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298),
    *(318, 343, 364, 384, 409, 429, 448, 467, 479, 504, 529, 547, 572, 592),
)


class Builder(VideoDatasetBuilder):
    """CVC-ClinicDB: 29 sequences of frames of polyps, a mask each; dealt by sequence."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold Original/ and Ground Truth/ of CVC-ClinicDB, as TIFF or PNG files; access: "
        "https://polyp.grand-challenge.org/CVCClinicDB/"
    )
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(
            description="A sequence a record, all pictures, short side 256.",
            record=RecordSpec(fps=FPS),
        )
    ]
    DOMAIN = "endoscopy"
    MAPS: ClassVar = {"polyp": CLASSES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=[f"{kind}(Original)/" for kind in ("PNG/", "TIF/", "")],
        )
        (folder,) = found["video"].values()
        items = [
            self.item(f"sequence{k:02d}", folder, first=first, end=end)
            for k, (first, end) in enumerate(itertools.pairwise((*STARTS, PICTURES + 1)), 1)
        ]
        return self.deal(items)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        wanted = range(item.extra["first"], item.extra["end"])
        pictures, masks = (
            {n: path for n, path in numbered_files(folder, NAMES).items() if n in wanted}
            for folder in (item.path, item.path.with_name("Ground Truth"))
        )
        polyp = MapFiles(masks, Above(THRESHOLD))
        return open_paired(pictures, scratch_dir, FPS, polyp=polyp)
