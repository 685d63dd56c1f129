"""Folders of videos with bad links, files, options and tables: each told by name, none guessed."""

import os

import pytest

from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig
from surgrec_jax.records.errors import BuildError
from tests.data_builders.video_folder_run import run, stored, write_folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("videos"))


def test_links_and_strange_names(videos, tmp_path, capsys):
    root, outside = tmp_path / "in", tmp_path / "outside.mp4"
    root.mkdir()
    (root / "sub").mkdir()
    os.link(videos / "colon" / "b.mp4", outside)
    os.link(videos / "colon" / "b.mp4", os.fsencode(root) + b"/caf\xe9\x1b[31m;$(x).mp4")
    os.link(videos / "colon" / "b.mp4", root / "plain.mp4")
    os.link(videos / "colon" / "b.mp4", root / "sub" / ".kept.mp4")
    os.symlink(outside, root / "away.mp4")
    os.symlink("plain.mp4", root / "twice.mp4")
    os.symlink("nowhere.mp4", root / "broken.mp4")
    os.symlink("sub/.kept.mp4", root / "inside.mp4")
    os.symlink("/", root / "all")
    assert run(root, tmp_path / "out", "--split", "none") == 0
    found = stored(tmp_path / "out")["train"]
    assert sorted(found) == [r"caf\xe9\x1b[31m;$(x).mp4", "inside.mp4", "plain.mp4"]
    out = capsys.readouterr().out
    assert "\x1b" not in out
    for line in (
        "away.mp4: is a link that leads out of the folder",
        "twice.mp4: is a link to plain.mp4, which is taken itself",
        "broken.mp4: is a link to a file that does not exist",
        "all: is a link to a folder",
    ):
        assert line in out


def test_unreadable_videos_are_listed_or_stop_a_strict_build(videos, tmp_path, capsys):
    root = tmp_path / "in"
    root.mkdir()
    os.link(videos / "colon" / "a.mp4", root / "good.mp4")
    (root / "empty.mp4").write_bytes(b"")
    (root / "text.mp4").write_text("hello")
    assert run(root, tmp_path / "out", "--split", "none") == 0
    out = capsys.readouterr().out
    assert "skipped: 2" in out
    assert "empty.mp4: is empty (0 bytes)" in out and "text.mp4: not a video" in out
    assert sorted(stored(tmp_path / "out")["train"]) == ["good.mp4"]
    assert run(root, tmp_path / "strict", "--split", "none", "--strict") == 1
    assert "stopped because of --strict" in capsys.readouterr().err
    assert not (tmp_path / "strict" / "video_folder").exists()


def test_nothing_readable_leaves_nothing_behind(tmp_path, capsys):
    root = tmp_path / "in"
    root.mkdir()
    for name in ("a.mp4", "b.mkv"):
        (root / name).write_text("no video")
    assert run(root, tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert "none of 2 videos could be read" in error
    assert "a.mp4: not a video" in error and "b.mkv: not a video" in error
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--manual_dir", "{tmp}/none"], "none is not a folder; give the folder of your videos"),
        (["--manual_dir", "{tmp}/empty"], "holds no video (1 other files)"),
        (["--name", "Bad Name"], "--name 'Bad Name': use lower-case"),
        (["--name", "phantom_surgery"], "is the name of another source"),
        (["--split", "0.8,0.8,0.1"], "add up to 1"),
        (["--split", "most"], "give three fractions"),
        (["--split", "0.8,0.2"], "none for all in train (these are 2)."),
        (["--case_from", "("], "is no regular expression"),
        (["--case_from", "z+"], "finds no case in"),
        (["--case_from", "folder"], "lies in no subfolder"),
        (["--labels", "{tmp}/none.csv"], "none.csv cannot be read: No such file"),
        (["--short_side", "1"], "RecordSpec.short_side is 1"),
        (["--config", "x"], "video_folder has no configurations"),
        (["--workers", "0"], "workers is 0"),
    ],
)
def test_bad_options(videos, tmp_path, capsys, options, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    options = [option.format(tmp=tmp_path) for option in options]
    assert run(videos, tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "path,phase\ncolon/a.mp4,x\ncolon/x.mp4,y\n",
            "cases.csv:3: names 'colon/x.mp4', which is ",
        ),
        ("path,phase\n../a.mp4,x\n", "cases.csv:2: names '../a.mp4'"),
        ("where,phase\na,b\n", "cases.csv:2: the header needs a column 'path'"),
        ("path,phase\ncolon/a.mp4\n", "cases.csv:2: has 1 cells, the header has 2"),
        ("path,end_s,phase\ncolon/a.mp4,1,x\n", "cases.csv:1: 'end_s' needs a start"),
        ("path,start_s,end_s,phase\nd.avi,1,,x\n", "cases.csv:2: start_s '1' and end_s ''"),
        ("path,start_s,end_s,phase\nd.avi,2,1,x\n", "cases.csv:2: the interval from 2 s to 1 s"),
        ("path,start_s,end_s,p\nd.avi,0,nan,x\n", "cases.csv:2: start_s '0' and end_s 'nan'"),
        (
            "path,start_s,end_s,phase\nd.avi,0,2,x\nd.avi,1,3,y\n",
            "cases.csv:3: 'y' overlaps 'x' (0 to 2 s)",
        ),
        (
            "path,skill\nd.avi,x\nd.avi,y\n",
            "cases.csv:3: skill of d.avi is 'y' here and 'x' before",
        ),
        (
            "path,case_id\nd.avi,x\nd.avi,y\n",
            "cases.csv:3: case_id is 'y' here and 'x' in an earlier",
        ),
        ("path,domain\nd.avi,knee\n", "cases.csv:2: unknown domain 'knee'"),
        (
            "path,phase,phase\nd.avi,x,y\n",
            "cases.csv:1: column 'phase' stands there twice",
        ),
        ('path,phase\n\nd.avi,"x\n', "cases.csv:3: unexpected end of data"),
        (b"path,phase\nd.avi,caf\x81\n", "cases.csv:2: is neither UTF-8, UTF-16 nor Windows"),
        (
            "path,case_id,split\nd.avi,p,train\ncolon/a.mp4,p,test\n",
            "case 'p' stands in the splits",
        ),
    ],
)
def test_bad_tables(videos, tmp_path, capsys, table, message):
    path = tmp_path / "cases.csv"
    path.write_bytes(table if isinstance(table, bytes) else table.encode())
    assert run(videos, tmp_path / "out", "--labels", path) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_classes_need_the_folder():
    with pytest.raises(BuildError, match="needs manual_dir"):
        Builder(config=VideoFolderConfig(class_from="subfolder"))
