"""PolypDiag: two lists of videos and labels, of which the second is what others test on."""

import pytest

from data_builders.common.build.build import build
from surgrec_jax.audit.patients import known_overlap
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_download import (
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)


def make(root, train: list[str], val: list[str], videos: str) -> None:
    write_lines(root / "PolypDiag/splits/train.txt", train)
    write_lines(root / "PolypDiag/splits/val.txt", val)
    for video in videos.split():
        small_video(root / f"PolypDiag/videos/{video}.mp4", 12, 25)


def test_labels_splits_and_faults(tmp_path):
    train = ["a_1.mp4,0", "b 2.mp4,1", "twice.mp4,1", "gone.mp4,1", "odd.mp4,2"]
    make(tmp_path, train, ["c.mp4,1", "twice.mp4,0"], "a_1 c twice odd extra")
    small_video(tmp_path / "PolypDiag/videos/b 2.mp4", 12, 25)
    summary, splits = built("polypdiag", tmp_path, tmp_path / "data")
    assert cases(splits) == {"train": {"a_1": "a_1", "b 2": "b 2"}, "test": {"c": "c"}}
    found = {name: v.video_labels["diagnosis"] for s in splits.values() for name, v in s.items()}
    assert found == {"a_1": "normal", "b 2": "abnormal", "c": "abnormal"}
    assert not summary.partial
    assert_reported(
        summary.skipped,
        [
            ("val.txt:2", "is twice once more, after train.txt:3"),
            ("train.txt:4", "there is no video gone.mp4"),
            ("train.txt:5", "unknown class '2'"),
            ("extra.mp4", "stands in no list"),
        ],
    )


def test_a_broken_list_stops_the_build(tmp_path):
    make(tmp_path, ["a.mp4,0,1"], [], "a")
    with pytest.raises(BuildError, match=r"train\.txt:1: has 3 cells instead of 2; all videos"):
        build("polypdiag", data_dir=tmp_path / "data", manual_dir=tmp_path, progress=False)


def test_the_audit_knows_where_its_videos_are_from():
    for origin in ("hyper_kvasir", "ldpolypvideo"):
        assert known_overlap("polypdiag", origin)[1] is False
