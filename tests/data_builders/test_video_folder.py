"""Anyone's folder of videos, through the command line."""

import os

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.common.build.build import build
from data_builders.common.commands.cli import main
from data_builders.video_folder.video_folder_dataset_builder import Builder, VideoFolderConfig
from tests.data_builders.contract import assert_labels
from tests.data_builders.video_folder_run import run, stored, write_folder


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("videos"))


def test_real_samples(samples, tmp_path, capsys):
    assert run(samples, tmp_path, "--name", "samples", "--split", "none", "--fps", "5") == 0
    out = capsys.readouterr().out
    assert "kept with faults: 1" in out and "decord_corrupted.mp4: damaged in 1 place(s)" in out
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
colon/a.mp4,p1,train,laparoscopy,1.2,2,Closure,
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
