"""AIxSuture: ratings from a workbook, students, the split that the owners' torch code deals."""

import io
import zipfile
from xml.sax.saxutils import escape

import openpyxl
import pytest

from data_builders.aixsuture.aixsuture_dataset_builder import ITEMS
from data_builders.aixsuture.official_split import official_split, torch_randperm
from data_builders.common.build.build import build
from data_builders.common.labels.xlsx import read_sheet
from surgrec_jax.records.errors import BadInput, BuildError
from tests.data_builders.fake_download import (
    assert_frames,
    assert_reported,
    built,
    cases,
    small_video,
)

HEADER = (
    *("STUDENT", "GROUP", "TIME", "VIDEO", "SUTURES", "INVESTIGATOR", "OSATS_RESPECT"),
    *("OSATS_MOTION", "OSATS_INSTRUMENT", "OSATS_SUTURE", "OSATS_FLOW", "OSATS_KNOWLEDGE"),
    *("OSATS_PERFORMANCE", "OSATS_FINAL_QUALITY", "GLOBA_RATING_SCORE"),
)
STRINGS = (
    '<Override PartName="/xl/sharedStrings.xml" ContentType="application/vnd.openxmlformats-'
    'officedocument.spreadsheetml.sharedStrings+xml"/>'
)
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def workbook(path, rows, extra_sheet=False, shared=True):
    """A small .xlsx as Excel writes it: texts shared or inline, numbers plain, empty cells left
    out."""
    texts, lines = [], []
    for line, cells in enumerate(rows, start=1):
        parts = []
        for column, value in enumerate(cells):
            where = f"{chr(ord('A') + column)}{line}"
            if value is None:
                continue
            if isinstance(value, int):
                parts.append(f'<c r="{where}"><v>{value}</v></c>')
            elif shared:
                texts.append(f"<si><t>{escape(value)}</t></si>")
                parts.append(f'<c r="{where}" t="s"><v>{len(texts) - 1}</v></c>')
            else:
                text = f"<is><t>{escape(value)}</t></is>"
                parts.append(f'<c r="{where}" t="inlineStr">{text}</c>')
        lines.append(f'<row r="{line}">{"".join(parts)}</row>')
    sheet = f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
    path.parent.mkdir(parents=True, exist_ok=True)
    book, whole = openpyxl.Workbook(), io.BytesIO()
    if extra_sheet:
        book.create_sheet()
    book.save(whole)
    strings = f'<sst xmlns="{MAIN}">{"".join(texts)}</sst>'
    with zipfile.ZipFile(whole) as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("xl/sharedStrings.xml", strings)
        for name in sound.namelist():
            data = sheet if name.startswith("xl/worksheets/sheet") else sound.read(name).decode()
            out.writestr(name, data.replace("</Types>", f"{STRINGS}</Types>"))
    return path


def rating(student, time, code, rater, scores, total=None, group="E-LEARNING"):
    total = sum(scores) if total is None else total
    return [student, group, time, code, 4, rater, *scores, total]


def student(name, code, low, high, group="E-LEARNING"):
    """Two videos, three raters each; the codes are reversals of each other."""
    rows = []
    for time, which, score in (("PRE", code, low), ("POST", code[::-1], high)):
        for k, rater in enumerate("ABC"):
            scores = [score] * 7 + [min(5, score + (k == 2))]
            rows.append(rating(name, time, which, rater, scores, group=group))
    return rows


STUDENTS = {"S003": "A31H", "S001": "B22C", "S002": "D10A"}  # the order of the sheet counts


@pytest.mark.parametrize("shared", [True, False])
def test_labels_students_and_split(tmp_path, shared):
    groups = dict(zip(STUDENTS, ("HMD-BASED", "TUTOR-LED", "E-LEARNING"), strict=True))
    rows = [HEADER]
    for name, code in STUDENTS.items():
        rows += student(name, code, 1, 3, groups[name])
    rows[1] = rating("S003", "PRE", "A31H", "A", [1, 2, 1, 1, 1, 1, 1, 1], group="HMD-BASED")
    workbook(tmp_path / "in/OSATS.xlsx", rows, shared=shared)
    codes = [c for code in STUDENTS.values() for c in (code, code[::-1])]
    for k, code in enumerate(codes):
        small_video(tmp_path / f"in/package_{k % 2}/{code}.mp4", 30, 30)
    # Ratings are rows of the sheet, and must travel to other processes.
    workers = 2 if shared else 1
    summary, splits = built("aixsuture", tmp_path / "in", tmp_path / "data", num_workers=workers)
    assert not summary.skipped and not summary.partial
    # Of three, torch's rule gives 2 + 1 (the rest in turn) to train, none to val and test.
    assert official_split(list(STUDENTS)) == dict.fromkeys(STUDENTS, "train")
    by_reversal = {code: min(code, code[::-1]) for code in codes}
    assert cases(splits) == {
        "train": {c: s for s, code in STUDENTS.items() for c in (code, code[::-1])}
    }
    pairs = {(by_reversal[c], case) for c, case in cases(splits)["train"].items()}
    assert len(pairs) == len(STUDENTS)  # grouping by reversed codes is grouping by student
    for code, video in splits["train"].items():
        assert_frames(video, 30, 30)
        after = code not in STUDENTS.values()
        name = video.fields["case_id"]
        low_items = {f"osats_{item}": "3" if after else "1" for item in ITEMS}
        assert video.video_labels == {
            # Sums 8, 8, 9 (or 9, 8, 9): their mean is cut off to 8. Afterwards 24, 24, 25.
            "global_rating": "24" if after else "8",
            "skill": "expert" if after else "novice",
            **low_items,
            "time": "POST" if after else "PRE",
            "group": groups[name],
        }
        assert video.fields["domain"] == "open"


def test_the_permutation_is_torch_s():
    assert torch_randperm(10, 42) == [2, 6, 1, 8, 4, 5, 0, 9, 3, 7]  # known from torch 2
    students = [f"S{k:03d}" for k in range(157)]
    splits = list(official_split(students).values())
    assert [splits.count(name) for name in ("train", "val", "test")] == [110, 24, 23]


def test_faults(tmp_path):
    root = tmp_path / "in"
    rows = [HEADER, *student("S001", "A31H", 2, 4), *student("S002", "B22C", 2, 4)]
    rows[1] = rating("S001", "PRE", "A31H", "A", [2] * 8, total=17)  # 16
    rows[7] = rating("S002", "PRE", "B22C", "A", [2] * 7 + [6])
    rows[11] = rating("S009", "POST", "C22B", "B", [4] * 8)
    rows += [
        rating("S003", "PRE", "D10A", "A", [2] * 8),
        rating("S003", "PRE", "D10A", "A", [2] * 8),
    ]
    rows += [rating("S003", "BEFORE", "A01D", "A", [2] * 8)]
    rows += [rating("S004", "PRE", "E10A", "A", [2] * 6 + [None, 2], total=16)]
    workbook(root / "OSATS.xlsx", rows)
    for code in ("E10A", "A31H", "B22C", "C22B", "D10A", "A01D", "Z99Z", "A311"):
        small_video(root / f"{code}.mp4", 10, 30)
    summary, splits = built("aixsuture", root, tmp_path / "data")
    assert [list(videos) for videos in splits.values()] == [["A31H"]]
    assert_reported(
        summary.partial, [("A31H.mp4", "OSATS.xlsx:2: the rating 17 is not the sum 16")]
    )
    assert_reported(
        summary.skipped,
        [
            ("B22C.mp4 (", "unknown class '6'"),
            ("C22B.mp4 (", "STUDENT of C22B differs from line 11"),
            ("OSATS.xlsx:17", "unknown class ''"),
            ("OSATS.xlsx:15", "was rated twice by A"),
            ("OSATS.xlsx:16", "must contain PRE or POST"),
            ("Z99Z.mp4", "has no row in OSATS.xlsx"),
            ("A311.mp4", "does not parse"),
            ("OSATS.xlsx:5", "there is no video H13A.mp4"),
        ],
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([HEADER], "holds no ratings"),
        ([HEADER[1:], ["x"] * 15], "OSATS.xlsx:1: the first columns must be STUDENT"),
        ([HEADER, [None, "E-LEARNING", "PRE", "A31H", 4, "A", *[2] * 8, 16]], ":2: 'STUDENT' is"),
    ],
)
def test_a_sheet_that_is_not_understood_stops_the_build(tmp_path, rows, message):
    workbook(tmp_path / "in/OSATS.xlsx", rows)
    small_video(tmp_path / "in/A31H.mp4", 10, 30)
    with pytest.raises(BuildError, match=message):
        build("aixsuture", data_dir=tmp_path / "d", manual_dir=tmp_path / "in", progress=False)


def test_workbooks_that_are_refused(tmp_path):
    path = workbook(tmp_path / "a.xlsx", [["x"]], extra_sheet=True)
    with pytest.raises(BadInput, match="has 2 sheets"):
        read_sheet(path)
    with zipfile.ZipFile(tmp_path / "b.xlsx", "w") as archive:
        archive.writestr("xl/worksheets/sheet1.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>')
    with pytest.raises(BadInput, match="document type"):
        read_sheet(tmp_path / "b.xlsx")
    (tmp_path / "c.xlsx").write_bytes(b"PK not a zip")
    with pytest.raises(BadInput, match="is not an Excel workbook"):
        read_sheet(tmp_path / "c.xlsx")
    with pytest.raises(BadInput, match="is missing"):
        read_sheet(tmp_path / "d.xlsx")
