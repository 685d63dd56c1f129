"""A builder of the usual kind (frame folders, videos, phases, instruments, skill), end to end."""

import csv
import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.common.build.build import build
from data_builders.common.labels.tracks import Intervals, Sampled, presence_classes
from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from surgrec_jax.records.errors import BadInput, BuildError
from surgrec_jax.records.schema import RecordSpec, record_features
from tests.data_builders.contract import assert_labels, read_back
from tests.data_builders.fake_video import write_images, write_video

PHASES = ("Preparation", "Dissection", "Closure")
INSTRUMENTS = ("Grasper", "Hook")


class MiniSurgery(VideoDatasetBuilder, skip_registration=True):
    """What a source of issue-sized complexity looks like: this is all of it."""

    pkg_dir_path: ClassVar = tfds.core.Path(__file__).parent  # only because this is no package
    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(name="default", record=RecordSpec(frames=16, fps=5, short_side=72)),
        VideoConfig(name="dense", record=RecordSpec(frames=50, fps=100, short_side=96)),
    ]
    TRACKS: ClassVar = {"phase": PHASES, **presence_classes("instrument", INSTRUMENTS)}
    VIDEO_LABELS: ClassVar = {"skill": ("novice", "expert")}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        return [
            VideoItem(
                video_id=path.stem,
                case_id=path.stem,
                split="train" if path.stem <= "v2" else "test",
                domain="laparoscopy",
                path=path,
            )
            for path in sorted(manual_dir.glob("videos/v*"))
        ]

    def inputs(self, item: VideoItem) -> list[Path]:
        return [item.path, _annotation(item, "phase"), _annotation(item, "tool")]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        phases = _rows(_annotation(item, "phase"))
        tools = _rows(_annotation(item, "tool"))
        frames = [int(row["Frame"]) for row in tools]
        tracks = {
            "phase": Intervals(
                [int(row["Start"]) for row in phases],
                [int(row["End"]) for row in phases],
                [PHASES.index(row["Phase"]) for row in phases],
                inclusive=True,
                clock="frames",
            )
        }
        for name in INSTRUMENTS:
            present = [int(row[name]) for row in tools]
            tracks[f"instrument_{name.lower()}"] = Sampled(
                np.array(frames) / 25, present, max_hold=1.0
            )
        return OpenedVideo(
            item.path, tracks, {"skill": 1}, image_fps=25.0 if item.path.is_dir() else None
        )


def _annotation(item, kind):
    return item.path.parents[1] / f"{item.video_id}-{kind}.tsv"


def _rows(path):
    try:
        with open(path, newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except FileNotFoundError as error:
        raise BadInput(path, "annotation file is missing") from error


def phase_of(number: int) -> str | None:
    if number < 10 or 60 <= number < 70:
        return None
    return PHASES[0] if number < 33 else PHASES[1] if number < 60 else PHASES[2]


def hook_of(number: int) -> str | None:
    second = number // 25
    return ("present" if second % 2 else "absent") if second < 4 else None


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("download")
    write_video(root / "videos" / "v1.mp4", 110)
    write_video(root / "videos" / "v2.mkv", 110, fourcc="FFV1")
    write_images(root / "videos" / "v3", range(110))
    for name in ("v1", "v2", "v3"):
        (root / f"{name}-phase.tsv").write_text(
            "Start\tEnd\tPhase\n10\t32\tPreparation\n70\t200\tClosure\n33\t59\tDissection\n"
        )
        rows = "".join(f"{25 * k}\t1\t{k % 2}\n" for k in range(4))
        (root / f"{name}-tool.tsv").write_text("Frame\tGrasper\tHook\n" + rows)
    return root


@pytest.mark.parametrize("config", ["default", "dense"])
def test_labels_sit_on_their_frames(download, tmp_path, config):
    summary = build(
        MiniSurgery,
        data_dir=tmp_path,
        manual_dir=download,
        config=config,
        num_workers=1,
        progress=False,
    )
    assert summary.directory == tmp_path / "mini_surgery" / config / "1.0.0"
    splits = read_back(summary.directory)
    assert {name: sorted(videos) for name, videos in splits.items()} == {
        "train": ["v1", "v2"],
        "test": ["v3"],
    }
    numbers = list(range(110)) if config == "dense" else list(range(0, 110, 5))
    for video in (*splits["train"].values(), *splits["test"].values()):
        assert video.numbers == numbers
        np.testing.assert_allclose(video.times, np.array(numbers) / 25, atol=1e-3)
        assert_labels(video, "phase", phase_of)
        assert_labels(video, "instrument_hook", hook_of)
        assert_labels(
            video, "instrument_grasper", lambda number: "present" if number < 100 else None
        )
        assert video.video_labels == {"skill": "expert"}
        assert video.fields["domain"] == "laparoscopy"
        assert video.fields["source"] == "mini_surgery"
        assert video.fields["native_fps"] == 25.0
        assert (video.fields["native_height"], video.fields["native_width"]) == (96, 128)
        assert video.segment_lengths == ([50, 50, 10] if config == "dense" else [16, 6])
        assert video.pictures[0].shape == ((96, 128, 3) if config == "dense" else (72, 96, 3))
    assert summary.splits["train"].videos == 2
    assert summary.splits["train"].frames == 2 * len(numbers)
    assert not summary.skipped and not summary.partial


def test_the_tfds_way_gives_the_same_records(download, tmp_path):
    ours = build(
        MiniSurgery, data_dir=tmp_path / "ours", manual_dir=download, num_workers=1, progress=False
    )
    theirs = MiniSurgery(data_dir=tmp_path / "theirs", manual_dir=download)
    theirs.download_and_prepare(
        file_format="array_record",
        download_config=tfds.download.DownloadConfig(manual_dir=download),
    )
    a, b = tfds.builder_from_directory(ours.directory), tfds.builder_from_directory(theirs.data_dir)
    assert repr(a.info.features) == repr(b.info.features)
    assert a.info.features.to_json() == b.info.features.to_json()
    for split in ("train", "test"):
        raw = [sorted(map(_plain, builder.as_data_source(split))) for builder in (a, b)]
        assert len(raw[0]) > 1 and raw[0] == raw[1]


def _plain(record):
    """A record as nested lists, so that records can be sorted and compared."""
    return [
        record["video_id"],
        record["segment"],
        np.asarray(record["times"]).tolist(),
        [frame.tobytes() for frame in record["frames"]],
        sorted((name, np.asarray(ids).tolist()) for name, ids in record["labels"].items()),
    ]


def test_missing_annotation_is_listed_with_its_file(download, tmp_path):
    for path in sorted(download.rglob("*")):
        target = tmp_path / "in" / path.relative_to(download)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file() and path.name != "v1-tool.tsv":
            target.write_bytes(path.read_bytes())
    summary = build(
        MiniSurgery,
        data_dir=tmp_path / "out",
        manual_dir=tmp_path / "in",
        num_workers=1,
        progress=False,
    )
    ((path, reason),) = summary.skipped
    assert "v1.mp4" in path and "v1-tool.tsv" in path and "missing" in reason
    assert sorted(read_back(summary.directory)["train"]) == ["v2"]


class WrongId(MiniSurgery, skip_registration=True):
    """Gives an id that is no class."""

    pkg_dir_path: ClassVar = MiniSurgery.pkg_dir_path

    def open_video(self, item, scratch_dir):
        return OpenedVideo(item.path, {"phase": Sampled([0, 4], [0, 3], max_hold=9)}, image_fps=25)


def test_an_id_that_is_no_class_is_never_stored(download, tmp_path):
    with pytest.raises(BuildError, match="label 'phase' has id 3; its classes are 0 to 2"):
        build(WrongId, data_dir=tmp_path, manual_dir=download, num_workers=1, progress=False)


class SharedCase(MiniSurgery, skip_registration=True):
    """Puts one case into two splits."""

    pkg_dir_path: ClassVar = MiniSurgery.pkg_dir_path

    def list_videos(self, manual_dir):
        return [VideoItem("a", "p1", "train"), VideoItem("b", "p1", "test")]


def test_a_case_in_two_splits_is_refused(download, tmp_path):
    with pytest.raises(BuildError, match="case 'p1' stands in the splits 'train' and 'test'"):
        build(SharedCase, data_dir=tmp_path, num_workers=1, progress=False)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "a"), "twice"),
        ((" a",), "one line of printable"),
        (("a\nb",), "one line of printable"),
        ((), "at least one"),
        ("ab", "sequence"),
    ],
)
def test_class_names_that_tfds_would_change_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        record_features({"phase": names}, {})


def test_record_spec_bounds():
    with pytest.raises(ValueError, match="jpeg_quality is 0"):
        RecordSpec(jpeg_quality=0)


def test_using_a_builder_leaves_no_folder_behind(tmp_path, monkeypatch):
    """TFDS makes a temporary one for every builder that is not prepared yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    assert MiniSurgery(data_dir=tmp_path / "data").info.features["frames"]
    assert not list((tmp_path / "tmp").iterdir())
