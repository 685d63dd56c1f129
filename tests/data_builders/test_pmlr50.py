"""PmLR50: pictures by the second, a header of unknown words, two ways to lay out annotations."""

import pytest

from data_builders.pmlr50.pmlr50_dataset_builder import PHASES
from tests.data_builders.fake_download import (
    assert_labels,
    assert_reported,
    built,
    cases,
    write_lines,
)
from tests.data_builders.fake_video import write_images

IDS = (0, 0, 1, 2, 2, 2, 3, 4)


def make(root, number: int, folder: str = "", name: str = "{:08d}.jpg", lines=None) -> None:
    write_images(root / f"frames/{number:02d}", range(len(IDS)), name=name)
    lines = lines or ["Frame\tPhase", *(f"{k}\t{phase}" for k, phase in enumerate(IDS))]
    write_lines(root / f"phase_annotations/{folder}{number:02d}.txt", lines)


@pytest.mark.parametrize("parted", [True, False])
def test_labels_and_splits(tmp_path, parted):
    root = tmp_path / "in/PmLR50"
    for number, split in ((1, "train"), (49, "train"), (48, "val"), (40, "test")):
        make(root, number, f"{split}/" * parted, "{:05d}.png" if number == 40 else "{:08d}.jpg")
        write_lines(root / f"blocking_annotations/{number:02d}.txt", ["x 1"])
    summary, splits = built("pmlr50", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"01": "01", "49": "49"}, "val": {"48": "48"}, "test": {"40": "40"}}  # fmt: skip
    assert not summary.skipped and not summary.partial
    for videos in splits.values():
        for video in videos.values():
            assert video.numbers == list(range(len(IDS))) == video.times.tolist()
            assert_labels(video, "phase", lambda number: PHASES[IDS[number]])


def test_faults(tmp_path):
    make(tmp_path / "in", 2, lines=["frame phase", "0 5"])
    make(tmp_path / "in", 3, lines=["0 0", "1 0", "1 1"])
    make(tmp_path / "in", 4, lines=["frame phase"])
    make(tmp_path / "in", 5, lines=["0 0", "1 3"])  # no header; ends six seconds early
    make(tmp_path / "in", 6)
    (tmp_path / "in/phase_annotations/06.txt").rename(tmp_path / "in/phase_annotations/51.txt")
    make(tmp_path / "in", 60)
    summary, splits = built("pmlr50", tmp_path / "in", tmp_path / "data")
    assert list(splits["train"]) == ["05"]
    assert_labels(splits["train"]["05"], "phase", {0: PHASES[0], 1: PHASES[3]}.get)
    told = "05.txt:2: the labels end at 2.0 s, the video at 8.0 s"
    assert_reported(summary.partial, [("05", told)])
    assert_reported(
        summary.skipped,
        [
            ("02.txt:2", "unknown class '5'"),
            ("03.txt:3", "gives 1 another label than line 2"),
            ("04.txt", "holds no labels"),
            ("frames/06", "has no phase annotation"),
            ("51.txt", "belongs to no video"),
            ("frames/60", "case 60 is in no split"),
        ],
    )
