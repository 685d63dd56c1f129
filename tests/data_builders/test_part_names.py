"""Names of files and folders that tell parts of one operation."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.video_folder.folder import case_of
from data_builders.video_folder.joining import arrange, check_folders
from data_builders.video_folder.parts import find_parts, menu, missing
from surgrec_jax.records.errors import BuildError


def operations(*names):
    """Operation -> names of its files, of operations with more than one."""
    found = find_parts([Path(name) for name in names])
    return {
        operation: [part.path.as_posix() for part in parts]
        for operation, parts in found.items()
        if len(parts) > 1
    }


@pytest.mark.parametrize(
    ("operation", "names"),
    [
        ("OP03", ["OP03_001.mp4", "OP03_002.mp4", "OP03_010.mp4"]),
        ("op1", ["op1-1.mp4", "op1-2.MTS"]),
        ("a/op1", ["a/op1.1.avi", "a/op1.2.avi"]),
        ("op1", ["op1_part1.mp4", "op1_part2.mp4"]),
        ("op1", ["op1.mp4", "op1_part2.mp4"]),
        ("meier", ["meier-pt1.mp4", "meier-pt2.mp4"]),
        ("Meier", ["Meier Teil I.mp4", "Meier Teil II.mp4"]),
        ("Meier", ["Meier teil1.mp4", "meier_Teil2.mp4"]),
        ("op1", ["op1_1.Teil.mp4", "op1_2.Teil.mp4"]),
        ("Meier", ["Part 1 - Meier.mp4", "Part 2 - Meier.mp4"]),
        ("name", ["name.mp4", "name (1).mp4", "name (2).mp4"]),
        ("a", ["a_1of2.mp4", "a_2of2.mp4"]),
        ("op1", ["op1_1 von 2.mp4", "op1_2 von 2.mp4"]),
        ("op1", ["op1a.mp4", "op1b.mp4"]),
        ("OP3", ["OP3_video1.mp4", "OP3_video2.mp4"]),
        ("case3", ["case3_p1.mp4", "case3_p2.mp4"]),
        ("op1", ["op1/00017.MTS", "op1/00018.MTS"]),
        ("recording", ["00001.MTS", "00002.MTS"]),
        ("recording", ["MVI_0001.mp4", "MVI_0002.mp4"]),
        ("recording", ["clip1.mp4", "clip2.mp4"]),
        ("d", ["d/VTS_01_1.VOB", "d/VTS_01_2.VOB", "d/VTS_02_1.VOB"]),
        ("GOPR 0123", ["GOPR0123.MP4", "GP010123.MP4", "GP020123.MP4"]),
        ("GH 0123", ["GH010123.MP4", "GH020123.MP4"]),
        ("OP1", ["OP1_CH01.mp4", "OP1_CH02.mp4"]),
        ("op1", ["op1_left.mp4", "op1_right.mp4"]),
        ("20240305", ["20240305_091500.mp4", "20240305_093000.mp4"]),
        ("patient_01", ["patient_01_op_01.mp4", "patient_01_op_02.mp4"]),
        ("sub-01", ["sub-01_ses-01.mp4", "sub-01_ses-02.mp4"]),
        ("Case 7", ["Case 7 Teil 1.mp4", "Case 7 Teil 2.mp4"]),
        ("Fall7", ["Fall7 Teil eins.mp4", "Fall7 Teil zwei.mp4"]),
        ("OP 3", ["OP 3 1. Hälfte.mp4", "OP 3 2. Hälfte.mp4"]),
        ("case7", ["case7_begin.mp4", "case7_middle.mp4", "case7_end.mp4"]),
        ("case7", ["case7.mp4", "case7_cont.mp4"]),
        ("OP03", ["OP03-1of3.mp4", "OP03-2of3.mp4"]),
        ("OP03", ["OP03_1_3.mp4", "OP03_2_3.mp4", "OP03_3_3.mp4"]),
        ("OP03", ["1_OP03.mp4", "2_OP03.mp4"]),
        ("OP03", ["OP03#1.mp4", "OP03#2.mp4"]),
        ("手术3", ["手术3（1）.mp4", "手术3（2）.mp4"]),
        ("手術3", ["手術3_パート1.mp4", "手術3_パート2.mp4"]),
        ("OP03", ["OP03_001_720p.mp4", "OP03_002_720p.mp4"]),
        ("OP03", ["OP03 - Copy.mp4", "OP03.mp4"]),
        ("OP03", ["Copy of OP03.mp4", "OP03.mp4"]),
        ("OP03", ["OP03_1080p.mp4", "OP03_480p.mp4"]),
        ("op3", ["op3_L.mp4", "op3_R.mp4"]),
        ("op3", ["op3_endo.mp4", "op3_room.mp4"]),
        ("240305", ["240305_0915.mp4", "240305_0945.mp4"]),
        ("2024-03-05", ["2024-03-05T09-15-00Z.mp4", "2024-03-05T09-45-00Z.mp4"]),
        ("2024-03-05", ["2024-03-05 11-15-00 AM.mp4", "2024-03-05 1-05-00 PM.mp4"]),
        ("20240305", ["20240305_091500_123.mp4", "20240305_094510_456.mp4"]),
    ],
)
def test_names_of_parts(operation, names):
    assert operations(*names) == {operation: names}
    assert operations(*reversed(names)) == {operation: names} or operation in ("Meier", "op1")


@pytest.mark.parametrize(
    "names",
    [
        [f"op{k}.mp4" for k in range(1, 13)],
        [f"op_{k:03}.mp4" for k in range(1, 13)],
        [f"Video {k}.mp4" for k in range(1, 13)],
        [f"videos/video{k:02}.mp4" for k in range(1, 81)],
        [f"{k}.mp4" for k in range(1, 13)],
        [f"v/{k}.mp4" for k in range(1, 13)],
        ["2024-03-05.mp4", "2024-03-06.mp4", "20240307.mp4"],
        ["2024-03-05_op1.mp4", "2024-03-05_op2.mp4"],
        ["study1_case01.mp4", "study1_case02.mp4"],
        ["op1_1080p.mp4", "op2_1080p.mp4", "lap_4k_01.mp4", "lap_4k_02.mp4"],
        ["hernia1.mp4", "hernia2.mp4", "chole1.mp4", "chole2.mp4"],
        ["P01.mp4", "P02.mp4"],
        ["phase1.mp4", "phase2.mp4"],
        ["colon/a.mp4", "colon/b.mp4", "liver/deep/c.mkv", "d.avi"],
        ["OP03_001.mp4", "OP04_001.mp4"],
        ["department1.mp4", "department2.mp4"],
        ["Case 7 Teil 1.mp4", "Case 8 Teil 1.mp4"],
        ["op1_final.mp4", "op2_final.mp4", "op3 - Copy.mp4"],
        ["a3f5c2.mp4", "a3f5c3.mp4"],
        ["C0001/a.mp4", "C0002/b.mp4"],
        ["1.2.840.113.5", "1.2.840.113.6", "1.2.840.114.7.dcm", "1.2.840.114.8.dcm"],
    ],
)
def test_names_of_operations(names):
    assert operations(*names) == {}


def test_a_count_that_begins_again_behind_another_name():
    names = ["meier_1.mp4", "meier_2.mp4", "schulz_1.mp4", "schulz_2.mp4"]
    assert operations(*names) == {"meier": names[:2], "schulz": names[2:]}
    assert operations("meier_1.mp4", "meier_2.mp4") == {}
    assert operations(*names[:3]) == {"meier": names[:2]}
    names = ["01 - Meier.mp4", "02 - Meier.mp4", "01 - Schulz.mp4"]
    assert operations(*names) == {"Meier": names[:2]}


@pytest.mark.parametrize(
    ("names", "rule", "message"),
    [
        (["OP03/disc1/a.mp4", "OP03/disc2/a.mp4"], "folder", "OP03/disc1 and OP03/disc2 look like"),
        (["patient 7/chole.mp4", "patient 7/hernia.mp4"], "stem", "one patient or operation"),
        (["P07/x/a.mp4", "P07/y/b.mp4"], "stem", "'P07', and would be cases"),
        (["C0001/a.mp4", "C0002/a.mp4", "y/1/a.mp4", "z/2/a.mp4"], "folder", None),
        (["colon/a.mp4", "colon/b.mp4", "OP03/a_2.mp4"], "stem", None),
    ],
)
def test_folders_that_hold_a_case_together(names, rule, message):
    videos = arrange([Path(name) for name in names], None)
    cases = [case_of(video.files[0], rule) for video in videos]
    if message is None:
        check_folders(videos, cases, rule == "folder")
        return
    with pytest.raises(BuildError, match=message) as caught:
        check_folders(videos, cases, rule == "folder")
    check_folders(videos, cases, rule == "folder", ["train"] * len(videos))
    assert "--case_from" in str(caught.value) and "--join none" in str(caught.value)


def test_names_that_differ_in_capitals_alone():
    assert operations("OP03.mp4", "op03.mov") == {"OP03": ["OP03.mp4", "op03.mov"]}


@given(st.integers(2, 30), st.sampled_from(["OP{}_{}", "op{}-part{}", "a{} ({})", "x{}_{} of 30"]))
def test_every_part_is_found_once(count, form):
    names = [f"{form.format(op, k)}.mp4" for op in (1, 2) for k in range(1, count + 1)]
    found = operations(*names)
    assert len(found) == 2
    assert sorted(name for parts in found.values() for name in parts) == sorted(names)
    assert [part.order[-1] for part in find_parts([Path(n) for n in names])[next(iter(found))]] == [
        *range(1, count + 1)
    ]


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda t: "/" not in t and t != ".")))
def test_any_name_can_be_read(names):
    paths = [Path(f"{name}.mp4") for name in names]
    found = [part.path for parts in find_parts(paths).values() for part in parts]
    assert set(found) <= set(paths)


@pytest.mark.parametrize(
    ("names", "lacking"),
    [
        (["OP3_001.mp4", "OP3_003.mp4"], [2]),
        (["OP3_002.mp4", "OP3_003.mp4"], [1]),
        (["OP3_0.mp4", "OP3_1.mp4"], []),
        (["a_1of3.mp4", "a_2of3.mp4"], [3]),
        (["op/00017.MTS", "op/00019.MTS"], [18]),
        (["20240305_091500.mp4", "20240305_093000.mp4"], []),
        (["OP3_CH01_1.mp4", "OP3_CH01_2.mp4", "OP3_CH02_2.mp4"], [1]),
    ],
)
def test_missing_parts(names, lacking):
    (parts,) = find_parts([Path(name) for name in names]).values()
    assert missing(parts) == lacking


def test_menus_of_dvds():
    assert menu(Path("VIDEO_TS.VOB")) and menu(Path("a/VTS_01_0.VOB"))
    assert not menu(Path("VTS_01_1.VOB")) and not menu(Path("VTS_01_0.mp4"))
