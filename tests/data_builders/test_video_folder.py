"""Anyone's folder of videos, through the command line."""

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from contract import assert_labels, read_back
from fake_video import write_video

from data_builders.common.build import build
from data_builders.common.cli import main
from data_builders.common.errors import BuildError
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """root/colon/{a,b}.mp4, root/liver/deep/c.mkv, root/d.avi"""
    root = tmp_path_factory.mktemp("videos")
    write_video(root / "colon" / "a.mp4", 50)
    write_video(root / "colon" / "b.mp4", 20)
    write_video(root / "liver" / "deep" / "c.mkv", 30)
    write_video(root / "d.avi", 25, fourcc="MJPG")
    (root / "notes.txt").write_text("no video")
    (root / ".hidden.mp4").write_bytes(b"")
    return root


def run(videos, data_dir, *options):
    return main(
        [
            "build",
            "video_folder",
            "--manual_dir",
            str(videos),
            "--data_dir",
            str(data_dir),
            "--workers",
            "1",
            *map(str, options),
        ]
    )


def stored(data_dir, name="video_folder"):
    return read_back(data_dir / name / "default" / "1.0.0")


def test_real_samples(samples, tmp_path, capsys):
    assert run(samples, tmp_path, "--name", "samples", "--split", "none", "--fps", "5") == 0
    out = capsys.readouterr().out
    assert "read in part: 1" in out and "decord_corrupted.mp4: damaged in 1 place(s)" in out
    videos = stored(tmp_path, "samples")["train"]
    shapes = {name: video.pictures[0].shape for name, video in videos.items()}
    assert shapes == {
        "bikes.mp4": (256, 602, 3),
        "decord_corrupted.mp4": (256, 455, 3),
        "decord_video_90.mov": (454, 256, 3),
        "torchcodec_h264_10bits.mp4": (200, 200, 3),
        "torchcodec_nasa_13013.mp4": (180, 320, 3),
    }
    counts = {name: len(video.times) for name, video in videos.items()}
    assert counts["bikes.mp4"] == 50 and counts["torchcodec_nasa_13013.mp4"] == 65
    assert counts["decord_corrupted.mp4"] == 25 and counts["torchcodec_h264_10bits.mp4"] == 5
    assert videos["bikes.mp4"].fields["source"] == "samples"


def test_classes_from_subfolders(videos, tmp_path):
    options = ("--class_from", "subfolder", "--split", "none", "--domain", "laparoscopy")
    assert run(videos, tmp_path, *options) == 0
    found = stored(tmp_path)["train"]
    assert {name: video.video_labels["class"] for name, video in found.items()} == {
        "colon/a.mp4": "colon",
        "colon/b.mp4": "colon",
        "liver/deep/c.mkv": "liver",
        "d.avi": None,
    }
    for video in found.values():
        assert video.fields["domain"] == "laparoscopy"
        assert not video.labels
        assert video.numbers[:3] == [0, 3, 6]


TABLE = """\
path,case_id,split,domain,start_s,end_s,phase,skill
colon/a.mp4,p1,train,laparoscopy,0,0.8,prep,
colon/a.mp4,p1,train,laparoscopy,1.2,9,Closure,
colon/a.mp4,p1,train,laparoscopy,,,,expert
colon/b.mp4,p1,train,,0.4,0.5,prep,
liver/deep/c.mkv,p2,test,robotic,,,,novice
"""


def test_table_of_cases_splits_and_labels(videos, tmp_path, capsys):
    table = tmp_path / "cases.csv"
    table.write_text("\ufeff" + TABLE.replace(",", ";"), encoding="utf-8")  # as Excel writes it
    assert run(videos, tmp_path, "--labels", table, "--fps", "25", "--name", "mine") == 0
    assert "d.avi: has no split" in capsys.readouterr().out
    splits = stored(tmp_path, "mine")
    assert {name: sorted(found) for name, found in splits.items()} == {
        "train": ["colon/a.mp4", "colon/b.mp4"],
        "test": ["liver/deep/c.mkv"],
    }
    a, b = splits["train"]["colon/a.mp4"], splits["train"]["colon/b.mp4"]
    assert a.numbers == list(range(50))
    assert_labels(a, "phase", lambda n: "prep" if n < 20 else "Closure" if n >= 30 else None)
    assert_labels(b, "phase", lambda n: "prep" if n in (10, 11, 12) else None)
    assert a.video_labels == {"skill": "expert"} and b.video_labels == {"skill": None}
    assert (a.fields["domain"], b.fields["domain"]) == ("laparoscopy", None)
    assert a.fields["case_id"] == b.fields["case_id"] == "p1"
    assert splits["test"]["liver/deep/c.mkv"].fields["domain"] == "robotic"


@pytest.mark.parametrize(
    ("rule", "cases"),
    [
        ("stem", ["a", "b", "c"]),
        ("folder", ["colon", "colon", "liver/deep"]),
        (r"^(\w)", ["c", "c", "l"]),
    ],
)
def test_cases(videos, tmp_path, rule, cases):
    subset = tmp_path / "in"
    for name in ("colon/a.mp4", "colon/b.mp4", "liver/deep/c.mkv"):
        (subset / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(videos / name, subset / name)
    builder = Builder(
        data_dir=tmp_path, manual_dir=subset, config=VideoFolderConfig(case_from=rule)
    )
    assert [item.case_id for item in builder.checked_videos(subset)] == cases


def test_an_ordinary_tfds_builder(videos, tmp_path):
    builder = tfds.builder("video_folder", data_dir=tmp_path)
    builder.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=videos),
    )
    assert sum(len(found) for found in stored(tmp_path).values()) == 4
    record = tfds.builder_from_directory(builder.data_dir).as_data_source("train")[0]
    assert record["frames"][0].dtype == np.uint8


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
        ("file,phase\na,b\n", "cases.csv:1: the header needs a column 'path'"),
        ("path,phase\ncolon/a.mp4\n", "cases.csv:2: has 1 cells, the header has 2"),
        ("path,start_s,phase\ncolon/a.mp4,1,x\n", "cases.csv:1: start_s and end_s go together"),
        ("path,start_s,end_s,phase\nd.avi,1,,x\n", "cases.csv:2: start_s '1' and end_s ''"),
        ("path,start_s,end_s,phase\nd.avi,2,1,x\n", "cases.csv:2: the interval from 2 s to 1 s"),
        ("path,start_s,end_s,p\nd.avi,0,nan,x\n", "cases.csv:2: the interval from 0 s to nan s"),
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
            "cases.csv:1: column 'phase' is empty or stands there twice",
        ),
        ('path,phase\n\nd.avi,"x\n', "cases.csv:3: unexpected end of data"),
        (b"path,phase\nd.avi,caf\xe9\n", "cases.csv:2: is not UTF-8 text"),
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


def test_unknown_source_and_list(videos, tmp_path, capsys):
    assert main(["build", "video_foldr", "--data_dir", str(tmp_path)]) == 1
    assert "no source called 'video_foldr'; did you mean video_folder?" in capsys.readouterr().err
    assert run(videos, tmp_path, "--name", "mine") == 0
    (tmp_path / ".building" / "other" / "default" / "1.0.0").mkdir(parents=True)
    (tmp_path / ".building" / "other" / "default" / "1.0.0" / "lock").write_text("")
    capsys.readouterr()
    assert main(["list", "--data_dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "video_folder " in out and "mine/default/1.0.0" in out and "train 2" in out
    assert "other/default/1.0.0" in out and "unfinished" in out


def test_classes_need_the_folder():
    with pytest.raises(BuildError, match="needs manual_dir"):
        Builder(config=VideoFolderConfig(class_from="subfolder"))


def test_build_function_with_config(videos, tmp_path):
    summary = build(
        "video_folder",
        data_dir=tmp_path,
        manual_dir=videos,
        config=VideoFolderConfig(dataset_name="mine", split=(0.5, 0.0, 0.5), seed=1),
        num_workers=1,
        progress=False,
    )
    assert {name: counts.videos for name, counts in summary.splits.items()} == {
        "train": 2,
        "test": 2,
    }
