"""Downloads that were made to do harm: what they claim is counted before memory is taken."""

import io
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import openpyxl
import pytest

from data_builders.common.labels import annotations, from_tables, tables, xlsx
from data_builders.ldpolypvideo import ldpolypvideo_dataset_builder
from data_builders.video_folder.table import read_table
from surgrec_jax.records.errors import BadInput, BuildError
from tests.data_builders.fake_video import _box, write_video

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
SHEET = "xl/worksheets/sheet1.xml"


def workbook(path, sheet):
    """A workbook that is sound but for its sheet."""
    whole = io.BytesIO()
    openpyxl.Workbook().save(whole)
    with zipfile.ZipFile(whole) as sound, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name in sound.namelist():
            out.writestr(name, sheet if name == SHEET else sound.read(name))
    return path


@pytest.mark.parametrize(
    ("sheet", "complaint"),
    [
        (b"<a>" + b" " * (65 * 2**20) + b"</a>", "is larger than"),
        (b"<a>" + b"<b/>" * 2_100_000 + b"</a>", "holds more than 2000000 tags"),
        (b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', "holds a document type"),
        (b"<a>", "is not an Excel workbook"),
        (f'<a {MAIN}><row><c t="s"><v>{"9" * 5000}</v></c></row></a>'.encode(), "not an Excel"),
        (f'<a {MAIN}><row r="{"9" * 5000}"><c/></row></a>'.encode(), "is not an Excel workbook"),
        (f'<a {MAIN}><row r="99999999"><c><v>1</v></c></row></a>'.encode(), "claims more than"),
        (f'<a {MAIN}><row><c r="ZZZ1"><v>1</v></c></row></a>'.encode(), "is out of place"),
    ],
)
def test_workbooks(tmp_path, sheet, complaint):
    with pytest.raises(BadInput, match=complaint):
        xlsx.read_sheet(workbook(tmp_path / "a.xlsx", sheet))


def test_damaged_and_encrypted_archives(tmp_path):
    sound = workbook(tmp_path / "a.xlsx", f"<a {MAIN}/>" + " " * 5000).read_bytes()
    at = sound.find(SHEET.encode()) + len(SHEET)
    for change in (
        sound[: at + 2] + b"\xff" * 10 + sound[at + 12 :],  # the compressed stream
        sound.replace(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        sound[:-30],
        b"",
    ):
        path = tmp_path / "b.xlsx"
        path.write_bytes(change)
        with pytest.raises(BadInput, match="is not an Excel workbook"):
            xlsx.read_sheet(path)


def test_texts_with_too_many_values(tmp_path, monkeypatch):
    """Real limits are ten million values and two million lines."""
    monkeypatch.setattr(tables, "MAX_VALUES", 1000)
    monkeypatch.setattr(tables, "MAX_ROWS", 100)
    path = tmp_path / "a.csv"
    for text, read in (
        ("a,b\n" + "," * 1001, lambda: tables.read_rows(path, ("a",))),
        ("a,b\n" + "1,2\n" * 200, lambda: tables.read_rows(path, ("a",))),
        ("a b\n" * 200, lambda: annotations.split_rows(path, ("a", "b"))),
        ("[" + "[]," * 1001 + "1]", lambda: annotations.read_json(path)),
        ("{" * 1001, lambda: annotations.read_json(path)),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match="holds more than .* not an annotation file"):
            read()
    path.write_text("path;label\n" + "v.mp4;x\n" * 200)
    with pytest.raises(BuildError, match="holds more than 100 lines"):
        read_table(path, ["v.mp4"])


def test_tables_of_many_intervals_take_no_square_time(tmp_path):
    path = tmp_path / "labels.csv"
    rows = "".join(f"v.mp4,x,{k},{k + 1}\n" for k in reversed(range(6_000)))
    path.write_text("path,label,start_s,end_s\n" + rows)
    began = time.process_time()
    table = read_table(path, ["v.mp4"])
    spans = table.videos["v.mp4"].intervals["label"]
    assert spans == sorted(spans) and len(spans) == 6_000
    path.write_text("path,label,start_s,end_s\n" + rows + "v.mp4,y,77.5,78\n")
    with pytest.raises(BuildError, match="6002: 'y' overlaps 'x'"):
        read_table(path, ["v.mp4"])
    row = tables.Row(path, 1, {})
    many = [(float(k), k + 6_000.5, k % 2, row) for k in range(6_000)]
    track = from_tables.exclusive_track(many)
    assert track.at(np.array([0.5, 1.5])).tolist() == [0, -1]
    assert time.process_time() - began < 5


def test_a_picture_of_a_billion_pixels_is_unreadable(tmp_path):
    """In a new process: OpenCV reads its limit when it is loaded."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    rows = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows
    (tmp_path / "p" / "1.png").parent.mkdir()
    (tmp_path / "p" / "1.png").write_bytes(png + chunk(b"IEND", b""))
    code = (
        "import sys; from pathlib import Path\n"
        "from data_builders.common.video.images import read_images\n"
        "from data_builders.common.video.frames import ReadReport\n"
        "report = ReadReport()\n"
        "assert list(read_images(Path(sys.argv[1]), 1.0, 1.0, 1, report)) == []\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(report.problems, int(status.split('VmHWM:')[1].split()[0]) < 400_000)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "p"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
    )
    assert "1 unreadable picture(s), first 1.png'] True" in done.stdout, done.stderr


LIMITED = """
import sys
from pathlib import Path
from data_builders.common.build import decode_process
from surgrec_jax.records.errors import BadInput
from data_builders.common.video.frames import ReadReport
from data_builders.common.source.items import VideoItem
from data_builders.common.build.pool import one_thread_and_quiet
from data_builders.video_folder.video_folder_dataset_builder import Builder
path = Path(sys.argv[1])
builder = Builder(data_dir=path.parent, manual_dir=path.parent)
item = VideoItem("v", "v", "train", path=path, extra={"labels": {}, "intervals": {}})
report = ReadReport()
with one_thread_and_quiet():
    try:
        records = decode_process.read_apart(builder, item, report, path.parent)
        print(sum(n for _, n in records), report)
    except BadInput as error:
        print(error)
import resource
print("MiB", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


@pytest.mark.parametrize(
    "claims", [pytest.param(100_000_000, marks=pytest.mark.slow), 1_000_000_000]
)
def test_a_video_that_claims_a_billion_frames(tmp_path, claims):
    """FFmpeg makes an index entry of 24 bytes for each frame that an mp4 claims."""
    path = write_video(tmp_path / "v.mp4", 30)
    data = bytearray(path.read_bytes())
    start, _ = _box(data, ["moov", "trak", "mdia", "minf", "stbl", "stsz"])
    struct.pack_into(">II", data, start + 12, 1, claims)
    chunk, _ = _box(data, ["moov", "trak", "mdia", "minf", "stbl", "stsc"])
    struct.pack_into(">III", data, chunk + 12, 1, 1, claims)  # entries, first chunk, frames in it
    path.write_bytes(data)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, path],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert str(path) in done.stdout or "ReadReport" in done.stdout
    assert int(done.stdout.split()[-1]) < 2048
    assert time.monotonic() - began < 90


def test_numbers_of_thousands_of_digits(tmp_path):
    """Found by fuzzing: Python refuses to turn more than 4300 digits into a number."""
    path = tmp_path / "1.txt"
    path.write_text("9" * 5000 + "\n1 2 3 4\n")
    with pytest.raises(BadInput, match="the first line must be the number of boxes"):
        ldpolypvideo_dataset_builder._boxes(path)
    for text in ("a,b\n" + "9" * 5000 + ",1\n", "a,b\n1e400,1\n"):
        path.write_text(text)
        (row,) = tables.read_rows(path, ("a", "b"))
        with pytest.raises(BadInput, match="not a number of 0 or more"):
            row.integer("a")
    path.write_text("a,b\n1e300,1\n")
    (row,) = tables.read_rows(path, ("a", "b"))
    with pytest.raises(BadInput, match="'1e300': not a whole number"):
        row.integer("a")
    path.write_text("[" + "9" * 5000 + "]")
    with pytest.raises(BadInput, match="is not JSON that can be read"):
        annotations.read_json(path)
