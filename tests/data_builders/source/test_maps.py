"""Label maps from files to records: on their frames, sparse, the same bytes, faults listed."""

import math
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.common.build.build import build
from data_builders.common.source.builder import VideoConfig, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.filters import FilterSpec
from data_builders.common.video.frame_labels import FrameLabels
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.maps import Above, MapFiles, by_colour, by_value, depths
from data_builders.common.video.reading import read_video
from surgrec_jax.data.loading.clips import ClipSpec, pick_box
from surgrec_jax.data.loading.pipeline import clips_up_to
from surgrec_jax.data.loading.transforms import crop_resize_flip, crop_resize_flip_map
from surgrec_jax.evaluation.features.maps import read_map, read_maps
from surgrec_jax.records.errors import BuildError
from surgrec_jax.records.maps import VOID
from surgrec_jax.records.schema import RecordSpec, record_features
from surgrec_jax.records.source import DamagedRecordError, open_source
from tests.data_builders.contract import read_back
from tests.data_builders.fake_video import draw_number, read_number, write_video

SIZE = 128, 96  # (width, height)
EDGE = 30  # black columns left and right of the picture, in those that have them
LABELLED = range(0, 30, 3)
MILLIMETRES = 0.25


def picture(number: int, edge: int = 0) -> np.ndarray:
    inner = draw_number(number, SIZE)
    return cv2.copyMakeBorder(inner, 0, 0, edge, edge, cv2.BORDER_CONSTANT)


class MiniScene(VideoDatasetBuilder, skip_registration=True):
    """Folders of pictures, every third with a map of its bright blocks and one of depths."""

    pkg_dir_path: ClassVar = tfds.core.Path(__file__).parent  # only because this is no package
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(name="default", record=RecordSpec(frames=16, fps=25, short_side=72)),
        VideoConfig(
            name="cropped",
            record=RecordSpec(frames=16, fps=25, short_side=72),
            filters=FilterSpec(crop_borders=True),
        ),
        VideoConfig(name="slow", record=RecordSpec(frames=16, fps=8, short_side=72)),
        VideoConfig(name="slowest", record=RecordSpec(frames=16, fps=2, short_side=72)),
    ]
    MAPS: ClassVar = {"blocks": ("background", "block"), "depth": None}
    MILLIMETRES: ClassVar = MILLIMETRES

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        splits = {"v0": "train", "v1": "train", "v2": "val", "v3": "test"}
        return [self.item(p.name, p, splits[p.name]) for p in sorted(manual_dir.iterdir())]

    def open_video(self, item: VideoItem, scratch_dir: Path):
        masks, deep = (numbered_files(item.path, rf"(\d+)_{k}\.png") for k in ("mask", "depth"))
        return open_paired(
            numbered_files(item.path, r"(\d+)\.png"),
            scratch_dir,
            25.0,
            blocks=MapFiles(masks, by_value({7: 0, 9: 1, 0: VOID})),
            depth=MapFiles(deep, depths, self.MILLIMETRES),
        )


def write_scene(folder: Path, edge: int = 0) -> None:
    folder.mkdir(parents=True)
    for k in range(30):
        drawn = picture(k, edge)
        cv2.imwrite(str(folder / f"{k + 5}.png"), drawn)
        if k in LABELLED:
            grey = drawn[..., 0]
            mask = np.where(grey > 128, 9, 7).astype(np.uint8)
            mask[grey == 0] = 0
            cv2.imwrite(str(folder / f"{k + 5}_mask.png"), mask)
            cv2.imwrite(str(folder / f"{k + 5}_depth.png"), grey.astype(np.uint16) * 100)


def run(manual_dir, data_dir, builder=MiniScene, config="default", num_workers=1, **options):
    options |= {"manual_dir": manual_dir, "config": config, "num_workers": num_workers}
    return build(builder, data_dir=data_dir, progress=False, **options)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for k in range(4):
        write_scene(root / f"v{k}", EDGE * (k % 2))
    return root


@pytest.fixture(scope="module")
def built(scenes, tmp_path_factory):
    return run(scenes, tmp_path_factory.mktemp("data"), config="cropped")


def alike(frame: np.ndarray, ids: np.ndarray) -> bool:
    """Whether a map shows the bright blocks of its picture; blurred edges do not count."""
    grey = frame.astype(np.int64).mean(-1)
    known = (np.abs(grey - 130) > 60) & (ids != VOID)
    return known.mean() > 0.6 and (ids[known] == (grey[known] > 130)).all()


def test_maps_lie_on_their_frames(built):
    """The frame's own grid is drawn into its map: cut, shrunk and read they still agree."""
    assert not built.skipped and len(built.partial) == 4  # pictures that have no map are listed
    for number, record in enumerate(
        tfds.builder_from_directory(built.directory).as_data_source("train")
    ):
        maps, first = record["maps"], 16 * (number % 2)
        expected = [k - first for k in LABELLED if first <= k < first + 16]
        assert list(maps["blocks"]["frames"]) == list(maps["depth"]["frames"]) == expected
        for place, ids in zip(expected, maps["blocks"]["images"], strict=True):
            assert ids.shape == (72, 96, 1) and alike(record["frames"][place], ids[..., 0])
        for ids, deep in zip(maps["blocks"]["images"], maps["depth"]["images"], strict=True):
            assert deep.dtype == np.uint16
            assert ((deep > 13_000) == (ids == 1)).all()
        assert maps["depth"]["millimetres"] == np.float32(MILLIMETRES)


def test_a_source_gives_maps_and_the_clips_that_end_at_them(built):
    source = open_source(built.directory.parents[2], "mini_scene", "cropped", "train")
    assert source.maps == {"blocks": ("background", "block"), "depth": None}
    few, every = read_maps(source, "blocks", 48, most=2), read_maps(source, "blocks", 48)
    assert len(few) == 8 and len(every) == 2 * len(LABELLED)
    assert few.ends[:2].tolist() == [[0, 0], [0, 15]] and few.case_id[0] == "v0"
    assert read_maps(source, "depth", 48, most=1).millimetres[0] == np.float32(MILLIMETRES)
    clip = ClipSpec(frames=4, fps=12.5, size=48)
    with clips_up_to(source, clip, every.ends, batch_size=3) as batches:
        batches = list(batches)
    video = np.concatenate([batch["video"] for batch in batches])
    for shown, ids in zip(video[:, -1], every.values, strict=True):
        assert alike(shown, ids)
    np.testing.assert_array_equal(np.concatenate([b["time"] for b in batches]), every.time)
    record = source.record(0)  # the clip that ends at frame 3 begins with frame 0, repeated
    with clips_up_to(source, clip, np.array([[0, 3]])) as batches:
        (batch,) = batches
    shown = batch["video"][0]
    assert (shown[0] == shown[1]).all() and not (shown[1] == shown[2]).all()
    assert batch["time"] == record.times[3]


def test_crops_and_flips_act_on_map_and_frame_alike(built):
    source = open_source(built.directory.parents[2], "mini_scene", "cropped", "test")
    record, stored = source.record(0), source.parse_maps(source.raw(0), 0)["blocks"]
    frame = cv2.imdecode(np.frombuffer(record.frames[15], np.uint8), cv2.IMREAD_COLOR)
    ids = read_map(source, 0, record.frames[15], stored.images[-1], "blocks")
    clip, rng = (
        ClipSpec(frames=1, fps=1, size=56, flip=True, scale=(0.3, 0.6)),
        np.random.default_rng(0),
    )
    flips, other = set(), 0
    for _ in range(12):
        box, flip = pick_box(rng, *ids.shape, clip)
        out = np.empty((1, 56, 56, 3), np.uint8)
        crop_resize_flip([frame], box, out, flip)
        assert alike(out[0], crop_resize_flip_map(ids, box, 56, flip))
        other += not alike(out[0], crop_resize_flip_map(ids, box, 56, not flip))
        flips.add(flip)
    assert flips == {True, False} and other > 6  # the other way round they disagree
    with pytest.raises(DamagedRecordError, match="is not of its frame's size"):
        small = cv2.imencode(".png", ids[:-1])[1].tobytes()
        read_map(source, 0, record.frames[15], small, "blocks")
    with pytest.raises(DamagedRecordError, match="holds id 2 of 2 classes"):
        read_map(source, 0, record.frames[15], cv2.imencode(".png", ids + 1)[1].tobytes(), "blocks")


def test_the_same_bytes_with_more_processes(scenes, built, tmp_path):
    again = run(scenes, tmp_path, config="cropped", num_workers=4)
    for path in built.directory.glob("*.array_record*"):
        assert path.read_bytes() == (again.directory / path.name).read_bytes()


def test_faults_are_listed_by_file(tmp_path):
    folder = tmp_path / "in" / "v0"
    write_scene(folder)
    mask = cv2.imread(str(folder / "5_mask.png"), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(folder / "5_mask.png"), mask[:-1])
    mask[3, 4] = 51
    cv2.imwrite(str(folder / "8_mask.png"), mask)
    (folder / "11_mask.png").write_bytes(b"no picture")
    (folder / "14.png").unlink()
    cv2.imwrite(str(folder / "17_depth.png"), mask)
    summary = run(tmp_path / "in", tmp_path / "out")
    told = " ".join(reason for _, reason in summary.partial)
    for fault in (
        "5_mask.png: measures 128 x 95, its frame 128 x 96; its frame has no map",
        "8_mask.png: holds values that are no class: 51; its frame has no map",
        "11_mask.png: is no readable picture; its frame has no map",
        "14_mask.png: blocks map without a picture",
        "17_depth.png: is no grey picture of 16 bits; its frame has no map",
    ):
        assert fault in told, told
    source = open_source(tmp_path / "out", "mini_scene", "default", "train")
    assert read_maps(source, "blocks", 8).ends.tolist()[:2] == [[0, 11], [0, 14]]
    assert len(read_back(summary.directory)["train"]["v0"].pictures) == 29


def test_a_frame_with_a_map_goes_before_its_neighbours(tmp_path):
    """At 8 of 25 frames a second frames 25 and 28 are near an instant, 24 and 27 have maps."""
    write_scene(tmp_path / "in" / "v0")
    slow = run(tmp_path / "in", tmp_path / "out", config="slow")
    stored = read_back(slow.directory)["train"]["v0"]
    assert stored.numbers == list(LABELLED)
    assert "not stored" not in slow.partial[0][1]
    slowest = run(tmp_path / "in", tmp_path / "out", config="slowest")
    assert read_back(slowest.directory)["train"]["v0"].numbers == [0, 12, 24]
    told = slowest.partial[0][1]
    assert "/8_mask.png: its frame is not stored, nor are those of 6 more blocks maps" in told


@pytest.mark.parametrize("fps", [60, 59.94])
def test_maps_by_the_second_of_a_video_are_stored(tmp_path, fps):
    """At 59.94 frames a second every 60th frame comes a little after its second."""
    video = write_video(tmp_path / "v.mp4", 250, fps=fps, size=(96, 72))
    white = tmp_path / "white.png"
    cv2.imwrite(str(white), np.full((72, 96), 1, np.uint8))
    numbers = [0, 60, 120, 180, 240]
    labels = FrameLabels({"blocks": MapFiles(dict.fromkeys(numbers, white), by_value({1: 1}))})
    report = ReadReport()
    frames = list(read_video(video, fps=8, report=report, labels=labels))
    assert [frame.number for frame in frames if frame.maps] == numbers
    assert len(frames) == math.ceil(report.duration * 8)
    assert all(read_number(frame.picture) == frame.number for frame in frames)
    assert not list(labels.left(250))


class NoScale(MiniScene, skip_registration=True):
    """A mistaken builder: its depths have no scale."""

    MILLIMETRES: ClassVar = 0.0


def test_depths_without_a_scale_are_refused(scenes, tmp_path):
    with pytest.raises(BuildError, match=r"v0: its depth maps have no scale \(0.0 millimetres a"):
        run(scenes, tmp_path, builder=NoScale)


def test_values_of_files():
    grey = np.array([[0, 127], [128, 255]], np.uint8)
    assert Above(128)(np.stack([grey] * 3, -1)).tolist() == [[0, 0], [1, 1]]
    red = np.zeros((1, 2, 4), np.uint8)
    red[0, 1] = 0, 0, 255, 9  # blue, green, red, alpha
    decode = by_colour({(0, 0, 0): 0, (255, 0, 0): 5})
    assert decode(red).tolist() == [[0, 5]]
    red[0, 1, 1] = 1
    with pytest.raises(ValueError, match=r"no class: \(255, 1, 0\)"):
        decode(red)
    assert "maps" not in record_features({}, {})
