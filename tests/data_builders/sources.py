"""Builds a source from a fake download with every frame stored, for the tests of sources."""

import shutil
from pathlib import Path

from data_builders.common.build.build import build
from data_builders.common.build.summary import BuildSummary
from data_builders.common.source.builder import VideoConfig
from surgrec_jax.records.schema import RecordSpec
from tests.data_builders.contract import StoredVideo, read_back

EVERY_FRAME = VideoConfig(name="default", record=RecordSpec(frames=50, fps=1000, short_side=96))


def build_all(
    name: str, download: Path, data_dir: Path
) -> tuple[BuildSummary, dict[str, dict[str, StoredVideo]]]:
    """The summary of the build, and what it stored: split -> video id -> video."""
    summary = build(
        name,
        data_dir=data_dir,
        manual_dir=download,
        config=EVERY_FRAME,
        num_workers=1,
        progress=False,
    )
    return summary, read_back(summary.directory)


def copy_of(download: Path, to: Path) -> Path:
    """A download to damage, made by copying a sound one."""
    shutil.copytree(download, to)
    return to


def skipped(summary: BuildSummary, download: Path) -> dict[str, str]:
    """Files passed over -> why, with paths relative to the download."""
    return {path.replace(f"{download}/", ""): reason for path, reason in summary.skipped}


def dealt(splits: dict[str, dict[str, StoredVideo]]) -> dict[str, str]:
    """Case -> split of everything stored."""
    return {
        video.fields["case_id"]: split
        for split, videos in splits.items()
        for video in videos.values()
    }


def together(splits: dict[str, dict[str, StoredVideo]]) -> dict[str, StoredVideo]:
    """All videos, whatever their split."""
    return {name: video for videos in splits.values() for name, video in videos.items()}
