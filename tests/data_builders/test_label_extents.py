"""Labels against their videos: too long ones are refused, timecodes count the video's frames."""

import struct
import subprocess
import sys
from pathlib import Path

import pytest

from data_builders.common.build.lengths import Length, measure
from data_builders.common.commands.cli import main
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import truncate, write_video
from tests.data_builders.video_folder_run import run, stored


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name, frames in (("op1", 50), ("op2", 50), ("op3", 25)):
        write_video(root / f"{name}.mp4", frames)
    return root


def labelled(tmp_path, text, name="labels.csv"):
    path = tmp_path / name
    path.write_text(text)
    return "--labels", path, "--split", "none", "--fps", "25"


BEYOND = """path,start_s,end_s,phase
op1.mp4,0,1.1,prep
op1.mp4,1.1,6.3,clip
op2.mp4,0,2.9,clip
op3.mp4,500,600,prep
"""


def test_labels_beyond_their_video(videos, tmp_path, capsys):
    options = labelled(tmp_path, BEYOND)
    assert run(videos, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert "labels.csv:3: 'clip' from 1.1 s to 6.3 s, but op1.mp4 ends at 2.0 s (50 f" in error
    assert "labels.csv:5: 'prep' from 500 s to 600 s, but op3.mp4 ends at 1.0 s (25 f" in error
    assert "op2.mp4" not in error  # less than a second: times of whole seconds do that
    assert not (tmp_path / "out").exists()
    assert main(["check", "video_folder", "--manual_dir", str(videos), *map(str, options[:2])]) == 1
    assert run(videos, tmp_path / "out", *options, "--trim_labels") == 0
    assert "2 labels of 2 videos were cut at the video's end or left out" in capsys.readouterr().out
    found = stored(tmp_path / "out")["train"]
    assert_labels(found["op1.mp4"], "phase", lambda n: "prep" if n * 0.04 < 1.099 else "clip")
    assert set(found["op3.mp4"].labels["phase"]) == {None}


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("op1.mp4,0,80,prep", "'prep' from frame 0 to frame 81, but op1.mp4 ends"),
        ("op1.mp4,50,51,prep", "'prep' from frame 50 to frame 52"),
        ("op1.mp4,00:00:00:00,00:00:05:00,prep", "'prep' from frame 0 to frame 125"),
    ],
)
def test_frames_beyond_their_video(videos, tmp_path, capsys, row, said):
    names = "start,end" if ":" in row else "start_frame,end_frame"
    options = labelled(tmp_path, f"path,{names},phase\n{row}\n")
    assert run(videos, tmp_path / "out", *options) == 1
    assert said in capsys.readouterr().err
    starts = "path,start_s,phase\nop1.mp4,0,prep\nop1.mp4,2.5,clip\n"
    assert run(videos, tmp_path / "out", *labelled(tmp_path, starts)) == 1
    assert "'clip' from 2.5 s, but op1.mp4 ends at 2.0 s" in capsys.readouterr().err


def test_a_header_that_claims_too_little_refuses_no_label(tmp_path):
    """The count of frames stands twice in the header of an AVI file."""
    path = write_video(tmp_path / "in/a.avi", 100, fourcc="MJPG")
    data = path.read_bytes()
    short = data[:400].replace(struct.pack("<I", 100), struct.pack("<I", 20))
    path.write_bytes(short + data[400:])
    assert measure([(path,)]) == [Length(0.8, 20, 25.0, False)]
    text = "path,start_s,end_s,phase\na.avi,2,3.9,prep\n"
    assert run(tmp_path / "in", tmp_path / "out", *labelled(tmp_path, text)) == 0
    video = stored(tmp_path / "out")["train"]["a.avi"]
    assert_labels(video, "phase", lambda n: "prep" if 50 <= n < 97.5 else None)


def test_a_header_that_claims_too_much_is_found_out(tmp_path, capsys):
    path = truncate(write_video(tmp_path / "in/a.avi", 100, fourcc="MJPG"), 0.5)
    assert measure([(path,)])[0].frames == 100
    assert measure([(path,)], decode=True)[0].frames < 60
    text = "path,start_s,end_s,phase\na.avi,0,3.9,prep\n"
    options = labelled(tmp_path, text)
    assert run(tmp_path / "in", tmp_path / "out", *options) == 1
    assert "labels.csv:2: 'prep' from 0 s to 3.9 s, but a.avi ends at 1.8 s (46 frames)" in (
        capsys.readouterr().err
    )
    assert run(tmp_path / "in", tmp_path / "out", *options, "--trim_labels") == 0


def test_videos_that_cannot_be_opened_have_no_length(videos, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    paths = (tmp_path / "text.mp4", tmp_path / "none.mp4", videos / "op1.mp4")
    assert measure([(path,) for path in paths]) == [None, None, Length(2.0, 50, 25.0, False)]
    assert measure([(videos / "op1.mp4", videos / "op3.mp4")])[0].frames == 75


CRASHES = """
import os, sys
from pathlib import Path
from data_builders.common.build import lengths
sound = lengths.probe
lengths.probe = lambda path, **how: os.abort() if path.name == "bad.mp4" else sound(path, **how)
videos = [(Path(sys.argv[1], name),) for name in ("op1.mp4", "bad.mp4", "op3.mp4")]
print([found and found.frames for found in lengths.measure(videos)])
"""


def test_a_video_that_crashes_the_decoder_costs_its_own_length(videos):
    done = subprocess.run(
        [sys.executable, "-c", CRASHES, videos],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "[50, None, 25]\n", done.stderr


def test_timecodes_count_the_frames_of_their_video(videos, tmp_path, capsys):
    rows = "op1.mp4,00:00:00:00,00:00:00:20,prep\nop1.mp4,00:00:00:20,00:00:01:05,clip\n"
    options = labelled(tmp_path, f"path,start,end,phase\n{rows}")
    assert run(videos, tmp_path / "out", *options) == 0
    video = stored(tmp_path / "out")["train"]["op1.mp4"]
    assert_labels(video, "phase", lambda n: "prep" if n < 20 else "clip" if n < 30 else None)
    options = labelled(tmp_path, "path,start,end,phase\nop1.mp4,00:00:00:00,00:00:00:25,x\n")
    assert run(videos, tmp_path / "bad", *options) == 1
    assert "labels.csv:2: op1.mp4: frame 25 of a second" in capsys.readouterr().err


def test_frame_numbers_need_no_rate(tmp_path):
    write_video(tmp_path / "in/a.mp4", 60, fps=29.97)
    options = labelled(tmp_path, "path,frame,phase\na.mp4,7,prep\na.mp4,31,\na.mp4,40,clip\n")
    assert run(tmp_path / "in", tmp_path / "out", *options[:-2], "--fps", "100") == 0
    video = stored(tmp_path / "out")["train"]["a.mp4"]
    assert video.numbers == list(range(60))
    wanted = lambda n: "prep" if 7 <= n < 31 else "clip" if n >= 40 else None  # noqa: E731
    assert_labels(video, "phase", wanted)


def test_the_summary_tells_what_is_labelled(videos, tmp_path, capsys):
    text = "path,start,end,phase,skill\nop1.mp4,0,1,prep,\nop2.mp4,0,2,clip,\nop1.mp4,,,,expert\n"
    assert run(videos, tmp_path / "out", *labelled(tmp_path, text)) == 0
    out = capsys.readouterr().out
    assert "labels:\n  phase: clip 2 s, prep 1 s; 40 % unlabelled\n" in out
    assert "  skill: videos, expert 1; 66.7 % unlabelled\n" in out
    assert run(videos, tmp_path / "out", *labelled(tmp_path, text)) == 0  # from the build's note
    assert "phase: clip 2 s, prep 1 s; 40 % unlabelled" in capsys.readouterr().out


def test_a_note_about_a_table_is_not_stored_with_pseudonyms(videos, tmp_path, capsys):
    options = ("--labels", tmp_path / "l.csv", "--split", "none", "--fps", "1")
    (tmp_path / "l.csv").write_bytes("path,phase\nop1.mp4,Frau Müller\n".encode("cp1252"))
    options += ("--pseudonyms", tmp_path / "key")
    assert run(videos, tmp_path / "out", *options) == 0
    assert "read as Windows-1252, where line 2 says 'Müller'" in capsys.readouterr().out
    (note,) = (tmp_path / "out").rglob("build.json")
    assert "l.csv" not in note.read_text()
