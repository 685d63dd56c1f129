"""Tables as hospitals make them: read as they are, or refused with the remedy; never guessed."""

import pytest

from data_builders.common.labels.from_tables import FOREVER
from data_builders.common.labels.table_columns import TableOptions
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BuildError

VIDEOS = ("op1.mp4", "op2.mp4", "sub/op3.mp4")


def read(tmp_path, data, name="labels.csv", **options):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_table(path, VIDEOS, TableOptions(**options))


def phases(table, video="op1.mp4", column="phase"):
    """(start, end, class) of a video's spans; "until the end" is None."""
    return [
        (pytest.approx(start), None if end == FOREVER else pytest.approx(end), value)
        for start, end, value, _ in table.videos[video].intervals[column]
    ]


TWO = [(0, 0.8, "prep"), (0.8, 1.6, "clip")]


@pytest.mark.parametrize(
    "text",
    [
        "path,start_s,end_s,phase\nop1.mp4,0,0.8,prep\nop1.mp4,.8,1.6,clip\n",
        "path;start_s;end_s;phase\nop1.mp4;0;0,8;prep\nop1.mp4;0,8;1,6;clip\n",
        'path,start_s,end_s,phase\nop1.mp4,0,"0,8",prep\nop1.mp4,"0,8","1,6",clip\n',
        "sep=;\npath;start_s;end_s;phase\nop1.mp4;0;0,8;prep\nop1.mp4;0,8;1,6;clip\n",
        "\ufeffpath\tstart\tend\tphase\nop1.mp4\t0\t0,8\tprep\nop1.mp4\t0,8\t1,6\tclip\n",
        "path|from|to|phase\nop1.mp4|0|0.8|prep\nop1.mp4|0.8|1.6|clip\n",
        "Video,Start (s),Stop (s),Phase\nop1.mp4,0,0.8,prep\nop1.mp4,0.8,1.6,clip\n",
        "path,begin,end,phase\nop1.mp4,00:00:00,00:00:00.8,prep\nop1.mp4,0:00.8,0:01.6,clip\n",
        "path,Begin Time,End Time,phase\nop1.mp4,00:00,00:00.8,prep\nop1.mp4,0:00.8,0:01.6,clip\n",
        "path,start_ms,end_ms,phase\nop1.mp4,0,800,prep\nop1.mp4,800,1600,clip\n",
        "path,onset,offset,phase\nop1.mp4,0,0.8,prep\nop1.mp4,0.8,1.6,clip\n",
        "path,onset,duration,phase\nop1.mp4,0,0.8,prep\nop1.mp4,0.8,0.8,clip\n",
        "Datei;Anfang;Ende;Phase\nop1.mp4;0;0,8;prep\nop1.mp4;0,8;1,6;clip\n",
        "fichier;début;fin;phase\nop1.mp4;0;0,8;prep\nop1.mp4;0,8;1,6;clip\n",
        "path,start_s,end_s,phase,,\nop1.mp4,0,0.8,prep,,\nop1.mp4,0.8,1.6,clip,,\n\n,,,,,\n",
        "path,start_s,end_s,phase\nop1.mp4,0,0.8,prep,\nop1.mp4,0.8,1.6,clip,\n",
        "path,start_s,end_s,phase\r\nop1.mp4,0,0.8,prep\r\nop1.mp4,0.8,1.6,clip\r\n",
        "path,start_s,end_s,phase\rop1.mp4,0,0.8,prep\rop1.mp4,0.8,1.6,clip\r",
        "path,start_s,start_frame,end_s,end_frame,phase\n"
        "op1.mp4,0,7,0.8,9,prep\nop1.mp4,0.8,10,1.6,11,clip\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "cp1252"])
def test_one_table_in_many_forms(tmp_path, text, encoding):
    if encoding == "cp1252":
        text = text.removeprefix("\ufeff")
    assert phases(read(tmp_path, text.encode(encoding))) == TWO


def test_windows_text_is_read_and_told(tmp_path):
    table = read(tmp_path, "path,phase\nop1.mp4,Präparation\n".encode("cp1252"))
    assert table.video_labels == {"phase": ("Präparation",)}
    (note,) = table.notes
    assert "is not UTF-8: read as Windows-1252, where line 2 says" in note and "Präparation" in note


def test_starts_only(tmp_path):
    text = "path,start,phase\nop1.mp4,0,prep\nop1.mp4,5,clip\nop1.mp4,9,\nop1.mp4,12,close\n"
    wanted = [(0, 5, "prep"), (5, 9, "clip"), (12, None, "close")]
    assert phases(read(tmp_path, text)) == wanted
    assert phases(read(tmp_path, text.replace("start", "time").replace("9,", "00:09,-"))) == wanted
    with pytest.raises(BuildError, match="labels.csv:3: begins at 0 s, as line 2 does"):
        read(tmp_path, "path,start,phase\nop1.mp4,0,prep\nop1.mp4,0,clip\n")


def test_frame_numbers(tmp_path):
    """The last frame belongs to its label, unless the next one begins there."""
    table = read(tmp_path, "path,start_frame,end_frame,phase\nop1.mp4,0,24,a\nop1.mp4,25,49,b\n")
    assert phases(table) == [(0, 25, "a"), (25, 50, "b")]
    assert table.videos["op1.mp4"].clocks == {"phase": "frames"}
    touching = "path,startFrame,endFrame,phase\nop1.mp4,0,25,a\nop1.mp4,25,50,b\n"
    assert phases(read(tmp_path, touching)) == [(0, 25, "a"), (25, 51, "b")]
    one = "path,start_frame,end_frame,phase\nop1.mp4,1,25,a\n"
    assert phases(read(tmp_path, one, first_frame=1)) == [(0, 25, "a")]
    unit = "path,start,end,phase\nop1.mp4,0,24,a\n"
    assert phases(read(tmp_path, unit, time_unit="frames")) == [(0, 25, "a")]
    with pytest.raises(BuildError, match=r":2: frame 0, where frames count from 1"):
        read(tmp_path, one.replace(",1,", ",0,"), first_frame=1)
    with pytest.raises(BuildError, match=r":3: 'b' overlaps 'a' \(0 to 27 in frames\)"):
        read(tmp_path, "path,start_frame,end_frame,phase\nop1.mp4,0,26,a\nop1.mp4,25,49,b\n")


def test_a_row_per_frame_is_no_label_until_the_end(tmp_path):
    rows = "".join(f"op1.mp4,{25 * k},{'ab'[k // 3]},{k % 2}.0\n" for k in range(6))
    table = read(tmp_path, "path,Frame,phase,hook\n" + rows)
    assert phases(table) == [(0, 75, "a"), (75, 150, "b")]
    assert table.tracks == {"phase": ("a", "b"), "hook": ("0", "1")}
    assert phases(table, column="hook")[-1] == (125, 150, "1")


@pytest.mark.parametrize("empty", ["", "NA", "n/a", "N/A", "nan", "NaN", "-", "#N/A", "null"])
def test_what_says_that_nothing_stands_there(tmp_path, empty):
    text = f"path,case_id,split,start_s,end_s,phase,skill\nop1.mp4,{empty},train,0,1,{empty},\n"
    text += f"op1.mp4,p1,train,{empty},{empty},,expert\nop2.mp4,p2,test,0,1,prep,{empty}\n"
    table = read(tmp_path, text)
    assert table.tracks == {"phase": ("prep",)} and table.video_labels == {"skill": ("expert",)}
    assert table.videos["op1.mp4"].case_id == "p1" and not table.videos["op1.mp4"].intervals


def test_none_is_a_class(tmp_path):
    table = read(tmp_path, "path,tool\nop1.mp4,none\nop2.mp4,hook\n")
    assert table.video_labels == {"tool": ("hook", "none")}


@pytest.mark.parametrize("other", ["prep", "PREP", "P rep", "Pr_ep", "Pr-ep"])
def test_two_spellings_of_a_class_are_doubted(tmp_path, other):
    text = f"path,phase\nop1.mp4,Prep\nop2.mp4,{other}\n"
    with pytest.raises(BuildError, match=f":3: phase is '{other}' here and 'Prep' in line 2: one"):
        read(tmp_path, text)
    assert read(tmp_path, text, fold_classes=True).video_labels == {"phase": ("Prep",)}


def test_split_names(tmp_path):
    text = "path,case_id,split\nop1.mp4,a,training\nop2.mp4,b,Validation\nsub/op3.mp4,c,testing\n"
    table = read(tmp_path, text)
    assert [table.videos[name].split for name in VIDEOS] == ["train", "val", "test"]
    assert "split 'Validation' is stored as 'val'" in table.notes
    with pytest.raises(BuildError, match="unknown split 'fold1'; choose from train, val, test"):
        read(tmp_path, text.replace("testing", "fold1"))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("OP1.MP4", "op1.mp4"), ("op1", "op1.mp4"), ("C:\\v\\op2.mp4", "op2.mp4"),
     ("op3.mp4", "sub/op3.mp4"), ("op11.mp4", "op1.mp4")],
)  # fmt: skip
def test_other_names_of_a_video_are_refused_with_a_hint(tmp_path, name, hint):
    with pytest.raises(BuildError, match=rf":2: names .* \(did you mean '{hint}'\?\)"):
        read(tmp_path, f"path,phase\n{name},x\n")


@pytest.mark.parametrize(
    ("column", "cells", "reason"),
    [
        ("phase_start", ("0", "24"), "nearly names a time"),
        ("strat", ("a", "b"), "nearly names 'start'"),
        ("age", ("63", "71"), "describes rather than labels"),
        ("patient", ("x", "y"), "describes rather than labels"),
        ("bmi", ("23.4", "31.0"), "holds times or measured numbers"),
        ("cut", ("00:01:02", "00:03:04"), "holds times or measured numbers"),
        ("t0", ("0", "1"), "nearly names a time"),
        ("weight", ("80", "71"), "holds numbers other than 0 and 1"),
        ("in", ("0", "5"), "nearly names a time"),
    ],
)
def test_a_column_that_is_not_clearly_a_label(tmp_path, column, cells, reason):
    text = f"path,phase,{column}\nop1.mp4,a,{cells[0]}\nop2.mp4,b,{cells[1]}\n"
    with pytest.raises(BuildError, match=rf"column '{column}' .*{reason}.*--label_columns.*known"):
        read(tmp_path, text)
    table = read(tmp_path, text, label_columns=("phase",))
    assert set(table.video_labels) == {"phase"}
    assert any(f"columns that are not used: '{column}'" in note for note in table.notes)
    assert set(read(tmp_path, text, label_columns=("phase", column)).video_labels) == {
        *("phase", column)
    }


def test_columns_that_are_asked_for(tmp_path):
    text = "path,start,end,phase,note\nop1.mp4,0,1,a,x\n"
    assert set(read(tmp_path, text, label_columns=("Note",)).tracks) == {"note"}
    with pytest.raises(BuildError, match="--label_columns 'fase' is no column .found: phase."):
        read(tmp_path, text, label_columns=("phase", "fase"))
    program = "phase\t\t00:00:00.000\t00:00:00.800\tprep\nnote\t\t00:00:00.000\t00:00:01.000\tx\n"
    assert set(read(tmp_path, program, "op1.txt", label_columns=("phase",)).tracks) == {"phase"}


def test_numbers_are_labels_where_the_name_says_so(tmp_path):
    text = "path,start_frame,start_s,end_frame,phase,grasper,weight\n"
    text += "op1.mp4,0,0,24,0,1,\nop1.mp4,25,1,49,3,0,\n"
    table = read(tmp_path, text)
    assert table.tracks == {"phase": ("0", "3"), "grasper": ("0", "1")}
    assert phases(table) == [
        (0, 25, "0"),
        (25, 50, "3"),
    ]  # in frames: starts and ends both have them


def test_free_text_is_no_label(tmp_path):
    names = [f"v{k}.mp4" for k in range(30)]
    path = tmp_path / "t.csv"
    path.write_text("path,finding\n" + "".join(f"{n},text {k}\n" for k, n in enumerate(names)))
    with pytest.raises(BuildError, match="'finding' holds 30 different values in 30 rows"):
        read_table(path, names)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,start_s,end_s,phase\nop1.mp4,0,0,8,prep\n", r":2: has 5 cells.*a decimal comma"),
        ("path;start;end;phase\nop1.mp4;0;0,8;a\nop1.mp4;0.9;1;b\n", "comma here and a decimal po"),
        ("path,start;end;x,phase\nop1.mp4,0;1;x,a\n", "header; which parts cells"),
        ("path,end_s,phase\nop1.mp4,1,x\n", "'end_s' needs a start"),
        ("path,start_s,offset,phase\nop1.mp4,0,1,x\n", "is an end only beside an onset"),
        ("path,start,begin,end,phase\nop1.mp4,0,0,1,x\n", "'start' and 'begin' are both a start"),
        (
            "path,start,end,phase\nop1.mp4,0,00:00:01:05,x\n",
            "starts in seconds and ends in timecode",
        ),
        (
            "path,start_frame,end_frame,phase\nop1.mp4,0.5,2,x\n",
            "'0.5' is not a whole frame number",
        ),
        (
            "path,start_ms,end_ms,phase\nop1.mp4,0,00:01,x\n",
            "is a clock time, but its column counts",
        ),
        ("video,file,phase\nop1.mp4,a,x\n", "'video' and 'file' may both name the video"),
        ("path,start,phase\nop1.mp4,2024-03-05 09:15:00,x\n", "is not a time"),
        ("path,start,end,phase\nop1.mp4,5,2,x\n", "from 5 s to 2 s is empty or negative"),
        ("phase\nx\n", "header needs a column 'path'"),
        (b"path,phase\nop1.mp4,\x81\n", ":2: is neither UTF-8, UTF-16 nor Windows-1252"),
        (b"\xd0\xcf\x11\xe0rest", "a workbook of the old form"),
        (b"\x00\x00abc", "is not text"),
        ("", "holds no rows"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, message):
    with pytest.raises(BuildError, match=message):
        read(tmp_path, text)


def test_classes_that_hold_at_the_same_time(tmp_path):
    text = "path,start,end,tool\nop1.mp4,0,5,hook\nop1.mp4,3,8,grasper\nop2.mp4,0,2,hook\n"
    with pytest.raises(BuildError, match="overlaps 'hook' .*give --presence tool"):
        read(tmp_path, text)
    table = read(tmp_path, text, presence=("tool",))
    assert table.tracks == {
        "tool_hook": ("absent", "present"),
        "tool_grasper": ("absent", "present"),
    }
    assert phases(table, column="tool_grasper") == [
        *((0, 3, "absent"), (3, 8, "present"), (8, None, "absent"))
    ]
    assert phases(table, "op2.mp4", "tool_grasper") == [(0, None, "absent")]
    with pytest.raises(BuildError, match="--presence 'tol' is no column"):
        read(tmp_path, text, presence=("tol",))
