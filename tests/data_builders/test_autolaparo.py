"""AutoLaparo: row n is video frame 25 * (n - 1), phases count from 1."""

from data_builders.autolaparo.autolaparo_dataset_builder import PHASES
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)

TASK = "AutoLaparo/Task 1 Surgical workflow recognition"


def phase_of(frame):
    return PHASES[1] if frame < 50 else PHASES[2] if frame < 75 else PHASES[6]


def annotate(root, number, seconds):
    rows = [f"{n}\t{PHASES.index(phase_of(25 * (n - 1))) + 1}" for n in range(1, seconds + 1)]
    write_lines(root / TASK / f"labels/label_{number}.txt", ["Frame\tPhase", *rows])


def test_labels_and_splits(tmp_path):
    for number in ("01", "10", "11", "14", "15", "21"):
        small_video(tmp_path / TASK / f"videos/{number}.mp4", 120, 25)
        annotate(tmp_path, number, 5)
    write_lines(tmp_path / TASK / "README.txt", ["x"])
    small_video(tmp_path / "AutoLaparo/Task 2 Laparoscope motion prediction/clips/001.mp4", 5, 25)
    summary, splits = built("autolaparo", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"01": "01", "10": "10"},
        "val": {"11": "11", "14": "14"},
        "test": {"15": "15", "21": "21"},
    }
    assert not summary.skipped and not summary.partial
    for videos in splits.values():
        for video in videos.values():
            assert_frames(video, 120, 25)
            assert_labels(video, "phase", phase_of)


def test_faults(tmp_path):
    for number in ("01", "02", "03", "04", "22"):
        small_video(tmp_path / TASK / f"videos/{number}.mp4", 50, 25)
        annotate(tmp_path, number, 2)
    annotate(tmp_path, "01", 9)
    write_lines(tmp_path / TASK / "labels/label_02.txt", ["Frame\tPhase", "0\t1", "1\t1"])
    write_lines(tmp_path / TASK / "labels/label_03.txt", ["Frame\tPhase", "1\t1", "2\t8"])
    (tmp_path / TASK / "labels/label_04.txt").unlink()
    summary, splits = built("autolaparo", tmp_path, tmp_path / "data")
    assert list(splits["train"]) == ["01"]
    assert_labels(splits["train"]["01"], "phase", phase_of)
    assert_reported(summary.partial, [("01.mp4", "label_01.txt:10: the labels end at 9.0 s")])
    assert_reported(
        summary.skipped,
        [
            ("label_02.txt:2", "number 0; they begin at 1"),
            ("label_03.txt:3", "unknown class '8'"),
            ("04.mp4", "expected label_04.txt"),
            ("22.mp4", "in no split"),
        ],
    )
