"""JIGSAWS: two cameras a trial, inclusive intervals of frames from 1, one trial not transcribed."""

import pytest

from data_builders.common.source.splits import split_by_case
from data_builders.jigsaws.jigsaws_dataset_builder import GESTURES, SCORES, SHARES, SURGEONS
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)
from tests.data_builders.sources import build_all, together

FRAMES = 90
SPANS = ((7, 22, 1), (23, 52, 15), (60, 70, 11))  # gaps before, between and after


def gesture_of(frame):
    """The gesture of a frame from 0; a transcription calls that frame 1."""
    return next((GESTURES[g - 1] for start, end, g in SPANS if start <= frame + 1 <= end), None)


def make(root, trial, spans=SPANS, cameras=(1, 2), fps=30):
    task = trial.rsplit("_", 1)[0]
    for camera in cameras:
        small_video(root / f"{task}/{task}/video/{trial}_capture{camera}.avi", FRAMES, fps)
    lines = [f"{start} {end} G{g} " for start, end, g in spans]
    write_lines(root / f"{task}/{task}/transcriptions/{trial}.txt", lines)
    kinematics = " ".join(["0.5"] * 76)
    write_lines(root / f"{task}/{task}/kinematics/AllGestures/{trial}.txt", [kinematics] * 3)


def meta(root, task, lines):
    write_lines(root / f"{task}/{task}/meta_file_{task}.txt", lines)


@pytest.fixture
def download(tmp_path):
    root = tmp_path / "in"
    make(root, "Suturing_B001")
    make(root, "Suturing_H002", cameras=(1,))
    (root / "Suturing/Suturing/transcriptions/Suturing_H002.txt").unlink()
    make(root, "Knot_Tying_C002")
    meta(
        root,
        "Suturing",
        [
            "Suturing_B001\t\tN\t13\t\t2\t2\t3\t2\t2\t2",
            "Suturing_H002\t\tE\t24\t\t4\t4\t4\t4\t4\t4",
        ],
    )
    meta(root, "Knot_Tying", ["Knot_Tying_D001\t\tI\t6\t\t1\t1\t1\t1\t1\t1"])
    return root


def test_gestures_skill_and_splits_by_surgeon(download, tmp_path):
    write_lines(
        download / "Experimental_setup/Suturing/Balanced/GestureClassification/UserOut/1_Out/itr_1"
        "/Train.txt",
        ["Suturing_B001.txt G1"],
    )
    summary, splits = built("jigsaws", download, tmp_path / "data")
    split_of = split_by_case(SURGEONS, SHARES)
    assert sorted(split_of.values()).count("test") == 2 and len(split_of) == 8
    expected = {}
    for name in ("Suturing_B001_capture1", "Suturing_B001_capture2", "Suturing_H002_capture1"):
        expected.setdefault(split_of[name[9]], {})[name] = f"surgeon_{name[9]}"
    for name in ("Knot_Tying_C002_capture1", "Knot_Tying_C002_capture2"):
        expected.setdefault(split_of["C"], {})[name] = "surgeon_C"
    assert cases(splits) == expected
    assert not summary.skipped and not summary.partial
    videos = {name: video for split in splits.values() for name, video in split.items()}
    for name, video in videos.items():
        assert_frames(video, FRAMES, 30)
        unlabelled = name.startswith("Suturing_H002")
        assert_labels(video, "gesture", lambda k, u=unlabelled: None if u else gesture_of(k))
        assert video.fields["domain"] == "robotic"
    labels = videos["Suturing_B001_capture2"].video_labels
    assert labels == {
        "task": "Suturing",
        "surgeon": "B",
        "supertrial": "1",
        "camera": "2",
        "skill": "novice",
        "global_rating": "13",
        **dict(zip(SCORES, "223222", strict=True)),
    }
    labels = videos["Suturing_H002_capture1"].video_labels
    assert (labels["skill"], labels["global_rating"], labels["supertrial"]) == ("expert", "24", "2")
    labels = videos["Knot_Tying_C002_capture1"].video_labels  # nobody rated it
    assert labels["task"] == "Knot_Tying" and labels["surgeon"] == "C"
    assert {labels[name] for name in ("skill", "global_rating", *SCORES)} == {None}


def test_a_transcription_covers_the_video_from_its_first_to_its_last_frame(tmp_path):
    """`1 91 G1` is the owner's line for all of a video of 91 frames."""
    root = tmp_path / "in"
    small_video(root / "Suturing/video/Suturing_D001_capture1.avi", 91, 30)
    write_lines(root / "Suturing/transcriptions/Suturing_D001.txt", ["1 91 G1 "])
    write_lines(root / "Suturing/meta_file_Suturing.txt", ["Suturing_D001\tE\t6\t1 1 1 1 1 1"])
    summary, splits = build_all("jigsaws", root, tmp_path / "data")
    (video,) = together(splits).values()
    assert video.numbers == list(range(91))
    assert video.labels["gesture"] == [GESTURES[0]] * 91
    assert not summary.partial and not summary.skipped


def test_faults(download, tmp_path):
    make(download, "Suturing_B002", spans=((5, 20, 16),), cameras=(1,))
    make(download, "Suturing_B003", spans=((5, 20, 1), (20, 30, 2)), cameras=(1,))
    make(download, "Suturing_B004", spans=((5, 400, 1),), cameras=(1,))
    make(download, "Suturing_B005", spans=((0, 20, 1),), cameras=(1,))
    make(download, "Suturing_B006", cameras=(1,))
    make(download, "Suturing_C001", cameras=(1,), fps=15)
    make(download, "Suturing_C002", cameras=(1,))
    (download / "Suturing/Suturing/transcriptions/Suturing_C002.txt").unlink()
    make(download, "Suturing_C003", cameras=())
    make(download, "Suturing_J001", cameras=(1,))
    make(download, "Needle_Passing_D001", cameras=(1,))  # without its meta file
    meta(download, "Suturing", ["Suturing_B001\t\tN\t14\t\t2\t2\t3\t2\t2\t2"])
    summary, splits = built("jigsaws", download, tmp_path / "data")
    videos = {name: video for split in splits.values() for name, video in split.items()}
    assert_labels(
        videos["Suturing_B004_capture1"], "gesture", lambda k: GESTURES[0] if k >= 4 else None
    )
    assert videos["Suturing_B001_capture1"].video_labels["global_rating"] is None
    assert videos["Suturing_B001_capture1"].video_labels["time_and_motion"] == "3"
    rating = ("Suturing_B001", "meta_file_Suturing.txt:1: Suturing_B001: the global rating is not")
    assert_reported(
        summary.partial,
        [rating, rating, ("B004", "Suturing_B004.txt:1: the labels end at 13.3 s, the video at 3")],
    )
    assert_reported(
        summary.skipped,
        [
            ("Suturing_B002.txt:1", "unknown class 'G16'"),
            ("Suturing_B003.txt:2", "overlaps"),
            ("Suturing_B005.txt:1", "begins at frame 0; frames are counted from 1"),
            ("Suturing_B006", "trial number 006"),
            ("Suturing_C001", "runs at 15 frames a second"),
            ("Suturing_C002", "expected transcriptions/Suturing_C002.txt"),
            ("Suturing_C003.txt", "no video of Suturing_C003"),
            ("Suturing_J001_capture1.avi", "does not parse"),
            ("Needle_Passing_D001", "expected meta_file_Needle_Passing.txt"),
        ],
    )
