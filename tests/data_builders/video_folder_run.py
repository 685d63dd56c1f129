"""A small folder of videos and the command that builds it, for the tests of video_folder."""

from pathlib import Path

from data_builders.common.commands.cli import main
from tests.data_builders.contract import StoredVideo, read_back
from tests.data_builders.fake_video import write_video


def write_folder(root: Path) -> Path:
    """colon/{a,b}.mp4, liver/deep/c.mkv, d.avi, and two files that are no videos."""
    write_video(root / "colon" / "a.mp4", 50)
    write_video(root / "colon" / "b.mp4", 20)
    write_video(root / "liver" / "deep" / "c.mkv", 30)
    write_video(root / "d.avi", 25, fourcc="MJPG")
    (root / "notes.txt").write_text("no video")
    (root / ".hidden.mp4").write_bytes(b"")
    return root


def run(videos: Path, data_dir: Path, *options) -> int:
    """`build video_folder` in this process; returns its exit status."""
    return main(
        [
            "build",
            "video_folder",
            "--manual_dir",
            str(videos),
            "--data_dir",
            str(data_dir),
            "--workers",
            "1",
            *map(str, options),
        ]
    )


def stored(data_dir: Path, name: str = "video_folder") -> dict[str, dict[str, StoredVideo]]:
    """What was built, read back: split -> video -> frames and labels."""
    return read_back(data_dir / name / "default" / "1.0.0")
