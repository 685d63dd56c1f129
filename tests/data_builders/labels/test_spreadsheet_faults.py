"""What spreadsheets and programs leave in tables: read where it is clear, and else refused."""

import pytest

from data_builders.common.labels.from_tables import FOREVER
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BuildError

VIDEOS = ("op1.mp4", "op2.mp4")


def read(tmp_path, text, name="labels.csv"):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(tmp_path / name, VIDEOS)


def phases(table):
    return [(a, b, value) for a, b, value, _ in table.videos["op1.mp4"].intervals["phase"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,phase\nop1.mp4,#REF!\n", ":2: phase is '#REF!', which a spreadsheet writes"),
        ("path,case_id\nop1.mp4,#BEZUG!\n", ":2: case_id is '#BEZUG!'"),
        ("path,phase\nop1.mp4,###\n", "'###', which"),
        ("path,case_id\nop1.mp4,1.23457E+11\n", "whose last digits a spreadsheet left out"),
        (
            "path;start;end;phase\nop1.mp4;0;0,000011574;a\nop1.mp4;0,000011574;0,04;b\n",
            ":2: times such as '0,000011574' may be parts of a day.*hh:mm:ss, or give --time_unit",
        ),
        ("path,start,phase\nop1.mp4,1.1574E-05,a\n", "may be parts of a day"),
        ("path,,phase\nop1.mp4,x,a\n", ":1: column 2 has no name"),
        (b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.x", "OpenDocum"),
        ("<html><table></table></html>", "save it as .xlsx or CSV"),
    ],
)
def test_what_a_spreadsheet_could_not_write(tmp_path, text, message):
    with pytest.raises(BuildError, match=message):
        read(tmp_path, text)


def test_small_times_whose_unit_is_said_are_seconds(tmp_path):
    table = read(tmp_path, "path,start_s,end_s,phase\nop1.mp4,0.00001,0.04,a\n")
    assert phases(table) == [(0.00001, 0.04, "a")]
    assert phases(read(tmp_path, "path,start,phase\nop1.mp4,0.000000,a\n")) == [(0, FOREVER, "a")]


def test_lines_that_end_in_carriage_returns(tmp_path):
    text = "path;start;end;phase\rop1.mp4;0;1;a\rop2.mp4;0;1;b\r"
    assert phases(read(tmp_path, text)) == [(0, 1, "a")]


def test_an_index_of_rows_is_no_label(tmp_path):
    table = read(tmp_path, ",path,start,end,phase\n3,op1.mp4,0,1,a\n7,op1.mp4,1,2,b\n")
    assert table.tracks == {"phase": ("a", "b")}
    assert any("counts the rows: it is not used" in note for note in table.notes)


def samples(instants, repeat=1):
    rows = (f"op1.mp4,{at},{'ab'[k >= 5]}\n" * repeat for k, at in enumerate(instants))
    return "path,time,phase\n" + "".join(rows)


def test_samples_with_holes_are_refused(tmp_path):
    """Else the last one would hold until the video ends, and the one before a hole in it."""
    with pytest.raises(BuildError, match=r":6: rows come every 1 s, but for 2 gap\(s\), the first"):
        read(tmp_path, samples([0, 1, 2, 3, 5, 6, 8, 9]))
    changes = "path,time,phase\nop1.mp4,0,a\nop1.mp4,60,b\nop1.mp4,120,a\nop1.mp4,300,b\n"
    assert phases(read(tmp_path, changes))[-1] == (300, FOREVER, "b")


def test_samples_of_frames_rounded_to_hundredths(tmp_path):
    (last,) = phases(read(tmp_path, samples([f"{k / 30:.2f}" for k in range(10)])))[1:]
    assert last == (0.17, pytest.approx(1 / 3, abs=0.01), "b")


def test_samples_that_stand_there_twice(tmp_path):
    assert phases(read(tmp_path, samples(range(6), repeat=2))) == [(0, 5, "a"), (5, 6, "b")]


@pytest.mark.parametrize("name", ["op2.xls", "op2.ods"])
def test_a_table_beside_others_is_not_passed_by(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    (tmp_path / "op1.csv").write_text("start,end,phase\n0,1,a\n")
    with pytest.raises(BuildError, match=f"{name}: is a table of a form that is not read; save"):
        read_table(tmp_path, VIDEOS)
