"""Parts of one operation: refused, made one case, or joined on one clock."""

import numpy as np
import pytest

from tests.data_builders.contract import assert_labels
from tests.data_builders.encoded import encode
from tests.data_builders.fake_video import write_video
from tests.data_builders.video_folder_run import run, stored


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Three operations: of three parts, of two cameras, and of one file."""
    root = tmp_path_factory.mktemp("parts")
    for name, frames in (("001", 30), ("002", 20), ("003", 25)):
        write_video(root / f"OP03_{name}.avi", frames, fourcc="MJPG")
    for name, frames in (("OP04_CH01", 21), ("OP04_CH02", 22), ("OP05", 23)):
        write_video(root / f"{name}.avi", frames, fourcc="MJPG")
    return root


def test_parts_are_refused_where_splits_are_made(videos, tmp_path, capsys):
    assert run(videos, tmp_path) == 1
    error = capsys.readouterr().err
    assert (
        "OP03_001.avi and OP03_002.avi look like parts of one operation (2 such, 5 files)" in error
    )
    assert "--join parts" in error and "--join cases" in error and "--join none" in error
    assert run(videos, tmp_path, "--split", "none", "--fps", "1") == 0


def test_parts_that_are_cases_of_their_own(videos, tmp_path):
    assert run(videos, tmp_path, "--join", "none", "--fps", "1") == 0
    found = [video for split in stored(tmp_path).values() for video in split.values()]
    assert len({video.fields["case_id"] for video in found}) == 6


def test_parts_that_are_one_case(videos, tmp_path):
    assert run(videos, tmp_path, "--join", "cases", "--fps", "1") == 0
    cases = {
        name: (split, video.fields["case_id"])
        for split, of_split in stored(tmp_path).items()
        for name, video in of_split.items()
    }
    assert len(cases) == 6 and {case for _, case in cases.values()} == {"OP03", "OP04", "OP05"}
    assert len({cases[f"OP03_00{k}.avi"] for k in (1, 2, 3)}) == 1
    assert cases["OP04_CH01.avi"] == cases["OP04_CH02.avi"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_parts_on_one_clock(videos, tmp_path, workers):
    """One table in the operation's time: frame k of part 2 is at 1.2 s + k / 25."""
    table = tmp_path / "ops.csv"
    table.write_text(
        "path,start_s,end_s,phase\nOP03,0,1.0,prep\nOP03.avi,1.0,2.4,clip\nOP05,0,0.4,prep\n"
        "OP04_CH02,0,0.4,clip\n"
    )
    options = ("--join", "parts", "--labels", table, "--fps", "25", "--workers", workers)
    assert run(videos, tmp_path / "out", *options) == 0
    found = stored(tmp_path / "out")
    of_case = {v.fields["case_id"]: s for s, videos in found.items() for v in videos.values()}
    assert len(of_case) == 3
    joined = found[of_case["OP03"]]["OP03"]
    assert joined.numbers == [*range(30), *range(20), *range(25)]
    np.testing.assert_allclose(joined.times, np.arange(75) / 25, atol=1e-3)
    wanted = ["prep"] * 25 + ["clip"] * 35 + [None] * 15
    assert joined.labels["phase"] == wanted
    cameras = [found[of_case["OP04"]][f"OP04_{name}"] for name in ("CH01", "CH02")]
    assert cameras[0].labels["phase"] == [None] * 21
    assert_labels(cameras[1], "phase", lambda n: "clip" if n < 10 else None)


@pytest.mark.parametrize("fps", ["25", "2"])
def test_a_stream_that_a_recorder_cut_into_files_keeps_its_clock(tmp_path, fps):
    """The second file begins within what needs the first, and its sound begins earlier."""
    whole = encode(
        tmp_path / "all.ts",
        container="mpegts",
        numbers=range(150),
        sound="mp2",
        options={"g": "20"},
    ).read_bytes()
    cut = len(whole) // 2 // 188 * 188
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "00000.MTS").write_bytes(whole[:cut])
    (tmp_path / "in" / "00001.MTS").write_bytes(whole[cut:])
    table = tmp_path / "ops.csv"
    table.write_text("path,start_frame,end_frame,phase\nrecording,120,129,clip\n")
    options = ("--join", "parts", "--labels", table, "--fps", fps, "--split", "none")
    assert run(tmp_path / "in", tmp_path / "out", *options) == 0
    video = stored(tmp_path / "out")["train"]["recording"]
    late = video.times - np.array(video.numbers) / 25
    assert video.numbers[-1] > 130 and np.ptp(late) < 0.01, late
    assert_labels(video, "phase", lambda number: "clip" if 120 <= number < 130 else None)


def test_frame_numbers_of_an_operation_go_on_through_its_parts(videos, tmp_path):
    table = tmp_path / "ops.csv"
    table.write_text("path,start_frame,end_frame,phase\nOP03,25,34,clip\nOP05,0,1,prep\n")
    options = ("--join", "parts", "--labels", table, "--fps", "25", "--split", "none")
    assert run(videos, tmp_path / "out", *options) == 0
    joined = stored(tmp_path / "out")["train"]["OP03"]
    assert [k for k, label in enumerate(joined.labels["phase"]) if label] == [*range(25, 35)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("OP03_002.avi,0,1,x", "OP03_002.avi', a part of 'OP03': with --join parts times are"),
        ("OP03,0,3.2,x\nOP03,4,5,x", "ends at 3.0 s (75 frames)"),
    ],
)
def test_tables_of_joined_parts_that_are_refused(videos, tmp_path, capsys, rows, message):
    table = tmp_path / "ops.csv"
    table.write_text(f"path,start_s,end_s,phase\n{rows}\n")
    assert run(videos, tmp_path / "out", "--join", "parts", "--labels", table) == 1
    assert message in capsys.readouterr().err


def test_parts_that_cannot_be_joined(tmp_path, capsys):
    root = tmp_path / "in"
    for name in ("OP03_001.avi", "OP03_003.avi"):
        write_video(root / name, 20, fourcc="MJPG")
    assert run(root, tmp_path / "out", "--join", "parts") == 1
    assert "of 'OP03' part 2 is missing" in capsys.readouterr().err
    assert run(root, tmp_path / "cases", "--join", "cases", "--split", "none", "--fps", "1") == 0
    assert "OP03: part 2 is missing" in capsys.readouterr().out
    write_video(root / "OP03_01.mp4", 20)
    assert run(root, tmp_path / "out", "--join", "parts") == 1
    assert "are the same part of 'OP03'" in capsys.readouterr().err
    (root / "OP03_01.mp4").unlink()
    write_video(root / "OP03_002.avi", 20, size=(64, 48), fourcc="MJPG")
    assert run(root, tmp_path / "out", "--join", "parts") == 1
    assert "has pictures of 64 x 48 pixels, the first part of 128 x 96" in capsys.readouterr().err


def test_a_table_decides_where_it_names_cases_or_splits(videos, tmp_path, capsys):
    names = [f"OP03_00{k}.avi" for k in (1, 2, 3)] + ["OP04_CH01.avi", "OP04_CH02.avi"]
    table = tmp_path / "cases.csv"
    table.write_text("path,split\n" + "".join(f"{name},train\n" for name in names))
    assert run(videos, tmp_path / "same", "--labels", table, "--fps", "1") == 0
    table.write_text(table.read_text().replace("OP03_002.avi,train", "OP03_002.avi,testing"))
    assert run(videos, tmp_path / "torn", "--labels", table) == 1
    assert "OP03_001.avi and OP03_002.avi look like parts" in capsys.readouterr().err
    table.write_text("path,case_id\n" + "".join(f"{n},{k}\n" for k, n in enumerate(names)))
    assert run(videos, tmp_path / "named", "--labels", table, "--fps", "1") == 0


def test_parts_of_one_operation_in_two_folders(tmp_path, capsys):
    for name in ("disc1/OP1_1.avi", "disc2/OP1_2.avi"):
        write_video(tmp_path / "in" / name, 20, fourcc="MJPG")
    assert run(tmp_path / "in", tmp_path / "out") == 1
    assert "have one name in two folders" in capsys.readouterr().err
