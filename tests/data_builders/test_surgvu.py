"""SurgVU: sessions in parts, tasks across parts in seconds, tools in clock times, unusable rows."""

import pytest

from data_builders.surgvu.surgvu_dataset_builder import TOOLS
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

FPS = 60
TASKS = """\
index,start_part,start_time,stop_part,stop_time,groundtruth_taskname
0,1,0.25,1,0.5,Suturing
0,1,0.25,1,0.5,Suturing
1,1.0,0.75,2.0,0.5,uterine horn
2,2,0.4,2,0.8,Rectal artery/vein
3,3,0.5,3,0.1,Other
4,1,0.1,1,0.2,Knitting
"""
TOOL_ROWS = """\
index,install_case_part,install_case_time,uninstall_case_part,uninstall_case_time,arm,\
commercial_toolname,groundtruth_toolname
0,1.0,00:00:00.250000,1.0,00:00:00.600000,USM1,Large Needle Driver,needle driver
1,1.0,00:00:00.500000,1.0,00:00:00.900000,USM2,Mega Needle Driver,needle driver
2,1.0,00:00:00.750000,3.0,00:00:00.500000,USM3,Permanent Cautery Hook,permanent cautery hook/spatula
3,2.0,00:00:00.100000,2.0,00:00:00.000000,USM3,Large Clip Applier,clip applier
4,2.0,00:00:00.300000,2.0,00:00:00.400000,USM3,Large Clip Applier,clip applier
5,1.0,01:01:00.500000,1.0,01:02:00.000000,USM4,Stapler 45,stapler
6,1.0,00:00:00.000000,1.0,00:00:01.000000,USM4,30 Endoscope,nan(camera in)
7,1.0,00:00:00.000000,1.0,00:00:01.000000,USM4,Spoon,spoon
"""


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "surgvu"
    for name in ("000_video_part_001", "000_video_part_002", "000_video_part_003"):
        write_video(
            root / "surgvu24" / "case_000" / f"case_{name}.mp4", FPS, fps=FPS, size=(96, 72)
        )
    write_video(root / "surgvu24" / "case_001" / "case_001_video_part_001.mp4", 9, fps=FPS)
    for kind, text in (("tasks", TASKS), ("tools", TOOL_ROWS)):
        path = root / "labels" / "case_000" / f"{kind}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def between(start, end, yes, no=None):
    return lambda number: yes if start * FPS <= number < end * FPS else no


def test_labels_of_every_part(download, tmp_path):
    summary, splits = build_all("surgvu", download, tmp_path)
    assert not summary.skipped
    one, two, three = (together(splits)[f"case_000_video_part_00{k}"] for k in (1, 2, 3))
    assert set(dealt(splits).items()) == {("case_000", "train"), ("case_001", "train")}
    for video in (one, two, three):
        assert video.numbers == list(range(FPS)) and video.fields["domain"] == "robotic"

    def first(number):
        return "Suturing" if 15 <= number < 30 else "Uterine horn" if number >= 45 else None

    def second(number):  # where two tasks overlap there is no label
        return (
            "Uterine horn" if number < 24 else "Rectal artery/vein" if 30 <= number < 48 else None
        )

    assert_labels(one, "task", first)
    assert_labels(two, "task", second)
    assert_labels(three, "task", lambda number: None)
    assert_labels(one, "tool_needle_driver", between(0.25, 0.9, "present", "absent"))
    hook = "tool_permanent_cautery_hook_spatula"
    assert_labels(one, hook, between(0.75, 9, "present", "absent"))
    assert_labels(two, hook, lambda number: "present")
    assert_labels(three, hook, between(0, 0.5, "present", "absent"))
    # One row of the clip applier is unusable: it may be there where no other row says so.
    assert_labels(two, "tool_clip_applier", between(0.3, 0.4, "present"))
    for video in (one, two):  # an hour after the end of the part
        assert_labels(video, "tool_stapler", lambda number: "absent")
    assert len([track for track in one.labels if track.startswith("tool_")]) == len(TOOLS) == 12
    problems = dict(summary.partial)
    (problem,) = (text for path, text in problems.items() if "part_002" in path)
    assert "tasks.csv:6: the interval ends before it begins: row left out" in problem
    assert "tasks.csv:7: 1 row(s) name none of the classes: 'Knitting'" in problem
    assert "tools.csv:5: the interval ends before it begins: row left out" in problem
    assert "tools.csv:9: 1 row(s) name none of the classes: 'spoon'" in problem
    assert "camera" not in problem  # it is in every session
    (problem,) = (text for path, text in problems.items() if "part_001" in path and "000" in path)
    assert "tools.csv:7: the labels end at 3720.0 s, the video at 1.0 s" in problem
    (problem,) = (text for path, text in problems.items() if "case_001" in path)
    assert "labels/case_001/tasks.csv is missing" in problem
    unlabelled = together(splits)["case_001_video_part_001"]
    assert all(set(labels) == {None} for labels in unlabelled.labels.values())


def test_a_broken_table_leaves_the_video(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    path = root / "labels" / "case_000" / "tasks.csv"
    path.write_text(TASKS.replace("stop_part", "end_part"))
    (root / "surgvu24" / "case_000" / "case_000_video_part_003.mp4").write_bytes(b"")
    (root / "surgvu24" / "case_000" / "case_000_part_4.mp4").write_bytes(b"")
    summary, splits = build_all("surgvu", root, tmp_path / "out")
    one = together(splits)["case_000_video_part_001"]
    assert_labels(one, "task", lambda number: None)
    assert_labels(one, "tool_needle_driver", between(0.25, 0.9, "present", "absent"))
    assert any("tasks.csv:1: the header needs one column" in text for _, text in summary.partial)
    found = skipped(summary, root)
    assert "0 bytes" in found["surgvu24/case_000/case_000_video_part_003.mp4"]
    assert "does not parse" in found["surgvu24/case_000/case_000_part_4.mp4"]
