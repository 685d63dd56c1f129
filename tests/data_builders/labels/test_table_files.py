"""Workbooks of labels, and folders of files of labels."""

import datetime

import openpyxl
import pytest

from data_builders.common.labels.from_tables import FOREVER
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BuildError

VIDEOS = ("op1.mp4", "op2.mp4", "sub/op3.mp4")
TWO = [(0, 0.8, "prep"), (0.8, 1.6, "clip")]


def phases(table, video="op1.mp4"):
    """(start, end, class) of a video's spans; "until the end" is None."""
    return [
        (pytest.approx(start), None if end == FOREVER else pytest.approx(end), value)
        for start, end, value, _ in table.videos[video].intervals["phase"]
    ]


def workbook(tmp_path, rows, formats=(), sheets=1):
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    for cell, shown in formats:
        book.active[cell].number_format = shown
    for _ in range(1, sheets):
        book.create_sheet()
    book.save(tmp_path / "labels.xlsx")
    return tmp_path / "labels.xlsx"


def test_a_workbook(tmp_path):
    at = datetime.time
    rows = [
        ["path", "Start", "End", "Phase", None],
        ["op1.mp4", at(0, 0, 0), at(0, 0, 0, 800_000), "prep", None],
        ["op1.mp4", 0.8, 1.6, "clip", None],
        [
            "op2.mp4",
            datetime.timedelta(hours=25, seconds=1),
            datetime.timedelta(hours=26),
            "x",
            None,
        ],
        [None, None, None, None, None],
    ]
    table = read_table(workbook(tmp_path, rows, sheets=3), VIDEOS)
    assert phases(table) == TWO
    assert phases(table, "op2.mp4") == [(25 * 3600 + 1, 26 * 3600, "x")]


def test_a_day_in_a_workbook_is_the_day_in_a_text(tmp_path):
    """Else a case that is called after a day would be two."""
    day = datetime.date(2024, 3, 5)
    rows = [["path", "case_id"], ["op1.mp4", day], ["op2.mp4", "2024-03-05"]]
    table = read_table(workbook(tmp_path, rows), VIDEOS)
    assert {table.videos[name].case_id for name in ("op1.mp4", "op2.mp4")} == {"2024-03-05"}


def test_a_workbook_that_shows_no_seconds_is_doubted(tmp_path):
    rows = [["path", "start", "phase"], ["op1.mp4", datetime.time(1, 2), "prep"]]
    with pytest.raises(BuildError, match="'01:02:00 shown without seconds' is not a time"):
        read_table(workbook(tmp_path, rows, [("B2", "hh:mm")]), VIDEOS)
    table = read_table(workbook(tmp_path, rows, [("B2", "hh:mm:ss")]), VIDEOS)
    assert phases(table) == [(3720, None, "prep")]


def test_a_folder_of_tables_named_after_their_videos(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    (folder / "op1.csv").write_text("start,end,phase\n0,0.8,prep\n0.8,1.6,clip\n")
    (folder / "op2.txt").write_text("start\tend\tphase\n0\t1\tprep\n")
    (folder / "cases.csv").write_text("path,case_id\nop1.mp4,p1\nop2.mp4,p1\n")
    (folder / "notes.md").write_text("not read")
    table = read_table(folder, VIDEOS)
    assert phases(table) == TWO and table.videos["op2.mp4"].case_id == "p1"
    (folder / "op1.tsv").write_text("start\tend\tphase\n0\t1\tprep\n")
    with pytest.raises(BuildError, match="labels phase of op1.mp4, as .* does"):
        read_table(folder, VIDEOS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(BuildError, match="holds no file of labels"):
        read_table(tmp_path / "empty", VIDEOS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,start_frame,end_frame,phase\nop1.mp4,1,10,a\nop1.mp4,11,20,b\n", "--first_frame 1"),
        ("path;start_ms;end_ms;phase\nop1.mp4;1.000;2.500;a\n", "thousands separator"),
        ("path;start_frame;end_frame;phase\nop1.mp4;0;1.000;a\n", "thousands separator"),
        ("path,start,end,phase\nop1.mp4,0,1,a\n,1,2,b\nop2.mp4,0,1,a\n", "3: names no video"),
        ("Annotations\npath,start,end,phase\nop1.mp4,0,1,a\n", "is that a title"),
        ("path,start,end,phase\n", "says nothing of any video"),
        ("path,start,end,phase\nop1.mp4,0,1,a\nop1.mp4,1,2,a\u200b\n", "--fold_classes"),
        ("path,start,end,phase\nop1.mp4,0,1,1\nop1.mp4,1,2,01\n", "--fold_classes"),
        ("path,case_id\nop1.mp4,P01\nop2.mp4,p1\n", "case_id is 'p1' here and 'P01' before"),
        ('[{"video": "op1.mp4", "start": 0, "phase": "a"}]', "says nothing of any video"),
    ],
)
def test_what_would_be_a_wrong_label_is_refused(tmp_path, text, message):
    path = tmp_path / "op1.csv"
    path.write_text(text)
    with pytest.raises(BuildError, match=message):
        read_table(path, ["op1.mp4", "op2.mp4"])


def test_seconds_that_seem_to_be_the_last_of_their_labels_are_noted(tmp_path):
    path = tmp_path / "op1.csv"
    path.write_text("start,end,phase\n0,9,a\n10,19,b\n20,29,c\n")
    assert "add 1 to the ends" in read_table(path, ["op1.mp4"]).notes[0]
    path.write_text("start,end,phase\n0,9,a\n10,19,b\n19,29,c\n")
    assert not read_table(path, ["op1.mp4"]).notes


def test_a_name_that_says_hours_and_minutes_is_believed(tmp_path):
    path = tmp_path / "op1.csv"
    path.write_text("Start (hh:mm),Ende (hh:mm),phase\n0:01,1:02,a\n")
    assert phases(read_table(path, ["op1.mp4"])) == [(60, 3720, "a")]
    path.write_text("Start (h:mm:ss),Ende (h:mm:ss),phase\n0:01:00,1:02:00,a\n")
    assert phases(read_table(path, ["op1.mp4"])) == [(60, 3720, "a")]


def test_cells_that_list_several_classes_are_noted(tmp_path):
    path = tmp_path / "op1.csv"
    path.write_text('start,end,tools\n0,1,"grasper,hook"\n1,2,hook\n')
    assert "--presence tools" in read_table(path, ["op1.mp4"]).notes[0]


@pytest.mark.parametrize(
    "header",
    [
        "archivo;inicio;fin;fase",
        "bestand;begin;einde;fase",
        "arquivo;início;fim;fase",
        "plik;początek;koniec;fase",
    ],
)
def test_headers_in_other_languages(tmp_path, header):
    path = tmp_path / "labels.csv"
    path.write_text(f"{header}\nop1.mp4;0,5;1,5;a\n")
    (span,) = read_table(path, ["op1.mp4"]).videos["op1.mp4"].intervals["fase"]
    assert span[:3] == (0.5, 1.5, "a")


def test_a_workbook_whose_formulas_have_no_values(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["path", "start", "end", "phase"])
    book.active.append(["op1.mp4", 0, "=B2+1", "a"])
    book.save(tmp_path / "labels.xlsx")
    with pytest.raises(BuildError, match="formulas without their values"):
        read_table(tmp_path / "labels.xlsx", ["op1.mp4"])
