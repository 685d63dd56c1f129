"""Helpers for tests of one data set: write its files, build it, read it back."""

from collections.abc import Iterable
from pathlib import Path

from data_builders.common.build.build import build
from data_builders.common.build.summary import BuildSummary
from tests.data_builders.contract import StoredVideo, assert_labels, read_back
from tests.data_builders.fake_video import write_video

SMALL = (96, 72)


def write_lines(path: Path, lines: Iterable[str], end: str = "\n") -> Path:
    """A text file of these lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def small_video(path: Path, frames: int, fps: float, fourcc: str = "mp4v") -> Path:
    """A numbered video of 96 x 72 pixels."""
    return write_video(path, frames, fps=fps, size=SMALL, fourcc=fourcc)


def built(
    name: str, manual_dir: Path, data_dir: Path, num_workers: int = 1
) -> tuple[BuildSummary, dict[str, dict[str, StoredVideo]]]:
    """Builds a source, in this process, and reads it back with all checks of the contract."""
    summary = build(
        name, data_dir=data_dir, manual_dir=manual_dir, num_workers=num_workers, progress=False
    )
    return summary, read_back(summary.directory)


def cases(splits: dict[str, dict[str, StoredVideo]]) -> dict[str, dict[str, str]]:
    """split -> video -> case."""
    return {
        split: {name: video.fields["case_id"] for name, video in videos.items()}
        for split, videos in splits.items()
    }


def assert_frames(video: StoredVideo, frames: int, fps: float) -> None:
    """All frames are stored that the default record takes, each at its time."""
    numbers = video.numbers
    count = -(-frames * 8 // round(fps)) if fps > 8 else frames
    rate = min(fps, 8)
    wanted = [int(k / rate * fps + 1e-6) for k in range(int(count))]
    assert numbers == wanted, (numbers, wanted)
    for number, time in zip(numbers, video.times, strict=True):
        assert abs(time - number / fps) < 2e-3


def assert_reported(
    entries: Iterable[tuple[str, str]], expected: Iterable[tuple[str, str]]
) -> None:
    """Exactly these complaints: (part of the place, part of the reason), in any order."""
    left = list(entries)
    for where, why in expected:
        match = [entry for entry in left if where in entry[0] and why in entry[1]]
        assert match, f"no complaint about {where!r} with {why!r} among {left}"
        left.remove(match[0])
    assert not left, f"unexpected: {left}"


__all__ = [
    "assert_frames",
    "assert_labels",
    "assert_reported",
    "built",
    "cases",
    "small_video",
    "write_lines",
]
