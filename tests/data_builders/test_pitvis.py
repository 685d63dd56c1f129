"""PitVis: a row per second of 24 or 25 frames, one row too many, one video without labels."""

from data_builders.pitvis.pitvis_dataset_builder import INSTRUMENTS, STEPS
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)

HEADER = "int_video,int_time,int_step,int_instrument1,int_instrument2"
# Second -> step, first and second instrument; the sixth row lies past the end.
ROWS = ((-1, -1, -2), (1, 16, 5), (1, 0, -2), (7, 5, 16), (14, 18, 0), (-1, -1, -2))


def step_of(second):
    number = ROWS[second][0]
    return None if number < 0 else STEPS[number - 1]


def shown(name, second):
    _, first, other = ROWS[second]
    number = INSTRUMENTS.index(name) + 1
    return None if first == -1 else "present" if number in (first, other) else "absent"


def make(root, number, fps=24, rows=ROWS):
    small_video(root / f"video_{number:02d}.mp4", 4 * fps + 10, fps)
    lines = [f"{number},{k},{a},{b},{c}" for k, (a, b, c) in enumerate(rows)]
    write_lines(root / f"annotations_{number:02d}.csv", [HEADER, *lines])


def test_labels_clocks_and_splits(tmp_path):
    root = tmp_path / "26531686"
    make(root, 1)
    make(root, 2)
    make(root, 24, fps=25)
    make(root, 19)
    (root / "annotations_19.csv").unlink()  # it does not exist
    steps = [f"{k},{name}" for k, name in enumerate(STEPS, start=1)]
    steps[0] += " "
    ends = ["-1,operation_ended", "-1,operation_not_started", "-1,out_of_patient"]
    write_lines(root / "map_steps.csv", ["int_step,str_step", *ends, *steps])
    names = [f"{k},{name}" for k, name in enumerate(INSTRUMENTS, start=1)]
    zero = ["0,no_visible_instrument", "0,occluded"]
    write_lines(root / "map_instruments.csv", ["int_instrument,str_instrument", *zero, *names])
    summary, splits = built("pitvis", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"video_02": "video_02", "video_19": "video_19"},
        "val": {"video_01": "video_01", "video_24": "video_24"},
    }
    assert not summary.skipped and not summary.partial
    for name, video in (splits["train"] | splits["val"]).items():
        fps = 25 if name == "video_24" else 24
        assert_frames(video, 4 * fps + 10, fps)
        assert video.fields["domain"] == "endoscopy" and video.fields["native_fps"] == fps
        if name == "video_19":
            assert {label for labels in video.labels.values() for label in labels} == {None}
            continue
        assert_labels(video, "step", lambda k, fps=fps: step_of(k // fps))
        assert_labels(
            video, "background", lambda k, f=fps: "absent" if step_of(k // f) else "present"
        )
        for tool in INSTRUMENTS:
            expected = lambda k, tool=tool, f=fps: shown(tool, k // f)  # noqa: E731
            assert_labels(video, f"instrument_{tool}", expected)


def test_faults(tmp_path):
    root = tmp_path / "in"
    make(root, 2, rows=ROWS + ROWS)
    make(root, 3, rows=((0, 0, -2),))
    make(root, 4, rows=((1, 19, -2),))
    make(root, 5)
    make(root, 6)
    make(root, 26)
    (root / "annotations_05.csv").unlink()
    write_lines(root / "annotations_06.csv", [HEADER, "7,0,1,0,-2"])
    write_lines(root / "map_steps.csv", ["int_step,str_step", "1,nasal_corridor", "2,x"])
    summary, splits = built("pitvis", root, tmp_path / "data")
    assert list(splits) == ["train"] and list(splits["train"]) == ["video_02"]
    assert_labels(splits["train"]["video_02"], "step", lambda k: step_of(k // 24))
    assert_reported(summary.partial, [("video_02", "annotations_02.csv:13: the labels end at 12")])
    assert_reported(
        summary.skipped,
        [
            ("annotations_03.csv:2", "unknown class '0'"),
            ("annotations_04.csv:2", "unknown class '19'"),
            ("video_05.mp4", "expected annotations_05.csv"),
            ("annotations_06.csv:2", "int_video is 7, not 6"),
            ("video_26.mp4", "in no split"),
            ("map_steps.csv:2", "step 1 is 'nasal_corridor' there, 'nasal_corridor_creation' here"),
            ("map_steps.csv:3", "step 2"),
        ],
    )
