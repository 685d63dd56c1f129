"""The made-up downloads of the builders' tests, kept for the fuzzing of annotation files.

Run as a pytest plugin: the first folder that each test module builds from, or lists, is copied.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_OUT = "SURGREC_KEEP_DOWNLOADS"


def collect(out: Path) -> dict[str, Path]:
    """Runs one test of every source and keeps what it built from: source -> folder."""
    out.mkdir(parents=True)
    tests = sorted((ROOT / "tests" / "data_builders").glob("test_*.py"))
    sources = {path.parent.name for path in (ROOT / "data_builders").glob("*/README.md")}
    chosen = [path for path in tests if path.stem.removeprefix("test_") in sources]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.faults.fuzz_downloads", *chosen],
        env={**os.environ, _OUT: str(out)},
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=600,
    )
    return {folder.name: folder for folder in sorted(out.iterdir())}


def pytest_configure(config) -> None:
    """Puts a copy before the listing of videos."""
    from data_builders.common.source.builder import VideoDatasetBuilder

    listed = VideoDatasetBuilder.checked_videos

    def checked_videos(builder, manual_dir):
        found = listed(builder, manual_dir)
        kept = Path(os.environ[_OUT]) / builder.name
        if manual_dir is not None and not kept.exists():
            shutil.copytree(manual_dir, kept, symlinks=True)
        return found

    VideoDatasetBuilder.checked_videos = checked_videos


def pytest_runtest_setup(item) -> None:
    """One sound download of every source is enough."""
    import pytest

    if (Path(os.environ[_OUT]) / item.path.stem.removeprefix("test_")).exists():
        pytest.skip("kept already")
