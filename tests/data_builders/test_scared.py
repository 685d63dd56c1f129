"""SCARED: two pictures a frame, points in an archive, animals at fault."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from data_builders.common.video.reading import read_video
from data_builders.scared import points
from surgrec_jax.records.errors import BadInput
from tests.data_builders.fake_download import assert_reported, built, cases
from tests.data_builders.fake_video import draw_number, write_video
from tests.data_builders.map_files import ids_of, photo, stored, write

WIDTH, HEIGHT = 128, 96  # of one of the two pictures
FRAMES = 60


def tiff(picture: np.ndarray) -> bytes:
    """A TIFF file of 32-bit floats [H, W, C], written by hand: channels stay in their order."""
    height, width, channels = picture.shape
    data = picture.astype("<f4").tobytes()
    at = 8 + len(data)
    many = {258: (3, [32] * channels), 339: (3, [3] * channels)}  # bits; 3 is "float"
    tags = {256: width, 257: height, 259: 1, 262: 2, 273: 8, 277: channels, 278: height}
    tags |= {279: len(data), 284: 1} | dict.fromkeys(many, 0)
    entries, extra = b"", b""
    for tag, value in sorted(tags.items()):
        if tag in many:
            entries += struct.pack("<HHII", tag, 3, channels, at + len(extra))
            extra += struct.pack(f"<{channels}H", *many[tag][1])
        else:
            entries += struct.pack("<HHII", tag, 4, 1, value)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    return b"II*\0" + struct.pack("<I", at + len(extra)) + data + extra + directory


def scene_points(number: int, height: int = 2 * HEIGHT) -> np.ndarray:
    """x, y and z; z grows with the row and the frame, and some of it is not measured."""
    rows, columns = np.mgrid[:height, :WIDTH].astype(np.float32)
    z = 40 + rows / 8 + number
    z[:4], z[4:8], z[8:12], z[12:16] = np.nan, 0, -3, 900
    return np.stack([columns - WIDTH / 2, rows, z], -1)


def counts_of(number: int) -> np.ndarray:
    z = scene_points(number)[:HEIGHT, :, 2]
    with np.errstate(invalid="ignore"):
        return np.where((z > 0) & (z < 655), np.rint(z * 100), 0).astype(np.uint16)


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return packed.getvalue()


def film(path: Path) -> None:
    both = (
        np.concatenate([draw_number(k, (WIDTH, HEIGHT)), draw_number(999, (WIDTH, HEIGHT))])
        for k in range(FRAMES)
    )
    write_video(path, both, size=(WIDTH, 2 * HEIGHT))


def make(root: Path, key: str, packed: bool = True) -> Path:
    folder = root / key
    write(folder / "Left_Image.png", photo(1))
    film(folder / "data/rgb.mp4")
    files = {f"scene_points{k:06d}.tiff": tiff(scene_points(k)) for k in (50, 0, 25, 13)}
    if packed:
        (folder / "data/scene_points.tar.gz").write_bytes(archive(files))
    else:
        (folder / "data/scene_points").mkdir()
        for name, data in files.items():
            (folder / "data/scene_points" / name).write_bytes(data)
    return folder


def test_the_left_picture_and_its_depths(tmp_path):
    make(tmp_path / "in", "train/dataset_1/keyframe_1")
    make(tmp_path / "in", "train/dataset_1/keyframe_2", packed=False)
    make(tmp_path / "in", "test/test_dataset_8/keyframe_0", packed=False)
    make(tmp_path / "in", "train/dataset_4/keyframe_1", packed=False)
    still = tmp_path / "in/train/dataset_1/keyframe_5"
    write(still / "Left_Image.png", photo(5))
    (still / "left_depth_map.tiff").write_bytes(tiff(scene_points(3)[20:44, :32]))
    summary, splits = built("scared", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {f"dataset_1_keyframe_{k}": "dataset_1" for k in (1, 2, 5)},
        "test": {"dataset_8_keyframe_0": "dataset_8"},
    }
    assert not summary.partial
    assert_reported(summary.skipped, [("dataset_4", "case 4 is in no split of scared")])
    records = stored(summary, "train") | stored(summary, "test")
    for name in ("dataset_1_keyframe_1", "dataset_1_keyframe_2", "dataset_8_keyframe_0"):
        (split,) = (split for split, videos in splits.items() if name in videos)
        numbers = splits[split][name].numbers  # of the upper picture: the lower one shows 999
        record = records[name]
        assert record["frames"][0].shape == (HEIGHT, WIDTH, 3)
        assert [numbers[k] for k in record["maps"]["depth"]["frames"]] == [0, 25, 50]
        assert record["maps"]["depth"]["millimetres"] == np.float32(0.01)
        for k in range(3):
            np.testing.assert_array_equal(ids_of(record, "depth", k), counts_of(25 * k))
    alone = ids_of(records["dataset_1_keyframe_5"], "depth")
    np.testing.assert_array_equal(alone, counts_of(3)[20:44, :32])


def test_faults(tmp_path):
    bare = make(tmp_path / "in", "dataset_2/keyframe_1")
    (bare / "data/scene_points.tar.gz").unlink()
    wrong = make(tmp_path / "in", "dataset_2/keyframe_2")
    small = tiff(scene_points(25, height=HEIGHT))
    files = {
        "data/scene_points000000.tiff": cv2.imencode(".png", photo(0))[1].tobytes(),
        "scene_points000025.tiff": small,
        "scene_points000050.tiff": b"none",
    }
    (wrong / "data/scene_points.tar.gz").write_bytes(archive(files))
    cut = make(tmp_path / "in", "dataset_2/keyframe_3")
    packed = cut / "data/scene_points.tar.gz"
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size // 3])
    none = make(tmp_path / "in", "dataset_2/keyframe_4")
    (none / "data/scene_points.tar.gz").write_bytes(b"no archive")
    write(tmp_path / "in/dataset_2/keyframe_5/Left_Image.png", photo(5))
    summary, splits = built("scared", tmp_path / "in", tmp_path / "data")
    assert sorted(splits["train"]) == [f"dataset_2_keyframe_{k}" for k in (1, 2, 3, 5)]
    told = {Path(where).parent.name: reason for where, reason in summary.partial}
    for scene, faults in {
        "keyframe_1": ["its video has no scene points"],
        "keyframe_2": [
            "scene_points000000.tiff is no picture of points",
            "scene_points000025.tiff: measures 128 x 96, its frame 128 x 192",
            "scene_points000050.tiff is no readable picture",
        ],
        "keyframe_5": ["Left_Image.png: has no depth map"],
        "keyframe_3": ["cannot be read beyond frame 50", "maps up to there were taken"],
    }.items():
        assert all(fault in told[scene] for fault in faults), told[scene]
    assert_reported(
        summary.skipped,
        [("keyframe_4", "is no archive that can be read")],
    )


def test_an_archive_may_not_unpack_without_end(tmp_path, monkeypatch):
    path = tmp_path / "scene_points.tar.gz"
    path.write_bytes(archive({f"x{k}": bytes(2**16) for k in range(9)}))
    monkeypatch.setattr(points, "MOST_BYTES", 2**18)
    with pytest.raises(BadInput, match="unpacks to more than"):
        points.unpack(path, tmp_path, 25)


def test_a_name_as_long_as_a_header_claims_is_not_read(tmp_path):
    """A pax header of 4 GiB: passed over, for its bytes are not there."""
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 2**32
    path = tmp_path / "scene_points.tar.gz"
    path.write_bytes(gzip.compress(header.tobuf()))
    with pytest.raises(BadInput, match="it ends within a file"):
        points.unpack(path, tmp_path, 25)


def test_a_part_of_the_picture_within_its_borders(tmp_path):
    """What a filter cuts and what a source cuts are both cut."""
    film(tmp_path / "v.mp4")
    whole = next(iter(read_video(tmp_path / "v.mp4"))).picture
    cut = next(iter(read_video(tmp_path / "v.mp4", part=(0, 0, 1, 0.5), box=(8, 160, 16, 120))))
    np.testing.assert_array_equal(cut.picture, whole[8:HEIGHT, 16:120])
