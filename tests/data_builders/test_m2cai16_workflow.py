"""M2CAI16-Workflow: train and test share numbers; sidecars and the header are no labels."""

from data_builders.m2cai16_workflow.m2cai16_workflow_dataset_builder import PHASES
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)

FRAMES = 120


def phase_of(frame):
    return PHASES[0] if frame < 13 else PHASES[2] if frame < 77 else PHASES[7]


def annotate(folder, stem, rows=FRAMES, separator="\t"):
    lines = [f"{k}{separator}{phase_of(k)}" for k in range(rows)]
    write_lines(folder / f"{stem}.txt", [f"Frame{separator}Phase", *lines], end="\r\n")
    write_lines(folder / f"{stem}_timestamp.txt", ["Time\tPhase", "00:00:00.00\tTrocarPlacement"])
    write_lines(folder / f"{stem}_pred.txt", ["Frame\tPhase", "0\tPreparation"])


def test_labels_and_splits(tmp_path):
    for folder, stem in (
        ("train_dataset", "workflow_video_05"),
        ("test_dataset", "test_workflow_video_05"),
    ):
        small_video(tmp_path / "m2cai16-workflow" / folder / f"{stem}.mp4", FRAMES, 25)
        separator = "\t" if folder == "train_dataset" else "  "
        annotate(tmp_path / "m2cai16-workflow" / folder, stem, separator=separator)
    summary, splits = built("m2cai16_workflow", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"workflow_video_05": "workflow_video_05"},
        "test": {"test_workflow_video_05": "test_workflow_video_05"},
    }
    assert not summary.skipped and not summary.partial
    for video in (*splits["train"].values(), *splits["test"].values()):
        assert_frames(video, FRAMES, 25)
        assert_labels(video, "phase", phase_of)
        assert video.fields["domain"] == "laparoscopy"
    names = ("Phase", "Frame")  # the header word is a ninth class in a published version
    assert not set(names) & set(PHASES) and len(PHASES) == 8


def test_faults(tmp_path):
    folder = tmp_path / "in/train_dataset"
    for number in range(1, 6):
        small_video(folder / f"workflow_video_{number:02d}.mp4", FRAMES, 25)
        annotate(folder, f"workflow_video_{number:02d}")
    annotate(folder, "workflow_video_01", rows=40)  # 3.2 s short: frames after it are unlabelled
    write_lines(folder / "workflow_video_02.txt", ["0 Preparation", "1 Preparation"])
    write_lines(folder / "workflow_video_03.txt", ["Frame Phase", "0 Preparation", "0 Preparation"])
    write_lines(folder / "workflow_video_04.txt", ["Frame Phase", "0 Preparation", "1"])
    (folder / "workflow_video_05.mp4").rename(folder / "workflow_video_5.mp4")
    summary, splits = built("m2cai16_workflow", tmp_path / "in", tmp_path / "data")
    assert_labels(
        splits["train"]["workflow_video_01"], "phase", lambda k: phase_of(k) if k < 40 else None
    )
    assert_reported(
        summary.partial,
        [("video_01", "video_01.txt:41: the labels end at 1.6 s, the video at 4.8 s")],
    )
    assert_reported(
        summary.skipped,
        [
            ("workflow_video_02.txt:1", "the header must be"),
            ("workflow_video_03.txt:3", "number 0 follows 0"),
            ("workflow_video_04.txt:3", "has 1 cells instead of 2"),
            ("workflow_video_5.mp4", "does not parse"),
            ("workflow_video_05.txt", "belongs to no video"),
        ],
    )
