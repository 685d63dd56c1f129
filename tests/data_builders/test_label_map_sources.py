"""The sources of label maps, each on a small fake of its files with a known fault."""

import json

import cv2
import numpy as np

from data_builders.c3vd.c3vd_dataset_builder import MILLIMETRES
from data_builders.cholecseg8k.cholecseg8k_dataset_builder import VALUES
from data_builders.cvc_clinicdb.cvc_clinicdb_dataset_builder import STARTS
from data_builders.endovis2018.endovis2018_dataset_builder import COLOURS
from surgrec_jax.audit.patients import known_overlap, patient_key
from surgrec_jax.records.maps import VOID
from tests.data_builders.fake_download import assert_reported, built, cases
from tests.data_builders.map_files import HEIGHT, WIDTH, ids_of, photo, stored, write


def test_cholecseg8k(tmp_path):
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % len(VALUES)
    grey = np.array(list(VALUES.values()), np.uint8)[ids]
    grey[0], grey[1] = 255, 0  # a white edge, and pixels that were left out
    for clip, first in (("video01_00080", 80), ("video37_00848", 848), ("video55_00508", 508)):
        folder = tmp_path / "in" / clip[:7] / clip
        for n in range(first, first + 3):
            write(folder / f"frame_{n}_endo.png", photo(n))
            mask = np.stack([grey] * 3 + [np.full_like(grey, 255)] * (n % 2), -1)
            write(folder / f"frame_{n}_endo_watershed_mask.png", mask)
            for kind in ("mask", "color_mask"):  # not read
                write(folder / f"frame_{n}_endo_{kind}.png", photo(n + 1))
    broken = tmp_path / "in/video55/video55_00508/frame_509_endo_watershed_mask.png"
    grey[5, 5] = 99
    write(broken, np.stack([grey] * 3, -1))
    summary, splits = built("cholecseg8k", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"video01_00080": "video01"},
        "val": {"video37_00848": "video37"},
        "test": {"video55_00508": "video55"},
    }
    record = stored(summary, "train")["video01_00080"]
    assert list(record["maps"]["scene"]["frames"]) == [0, 1, 2] and len(record["frames"]) == 3
    expected = ids.copy()
    expected[:2] = VOID
    for k in range(3):
        np.testing.assert_array_equal(ids_of(record, "scene", k), expected)
    assert_reported(summary.partial, [("video55", f"{broken}: holds values that are no class: 99")])
    assert list(stored(summary, "test")["video55_00508"]["maps"]["scene"]["frames"]) == [0, 2]


def test_cholecseg8k_is_cholec80():
    """The audit knows its videos as those of Cholec80, by the case names that are stored."""
    assert patient_key("cholecseg8k", "video01") == patient_key("cholec80", "video01")
    assert known_overlap("cholecseg8k", "cholec80") == ("17 videos, same numbers", True)
    assert known_overlap("kvasir_seg", "hyper_kvasir")[1] is False


def test_kvasir_seg(tmp_path):
    ellipse = cv2.ellipse(
        np.zeros((HEIGHT, WIDTH, 3), np.uint8), (14, 12), (9, 7), 0, 0, 360, (255,) * 3, -1
    )
    for k in range(12):
        write(tmp_path / f"in/Kvasir-SEG/images/cju{k}.jpg", photo(k))
        if k != 4:
            write(tmp_path / f"in/Kvasir-SEG/masks/cju{k}.jpg", ellipse)  # JPEG blurs its edge
    write(tmp_path / "in/Kvasir-SEG/masks/cju7.jpg", ellipse[:-2])
    (tmp_path / "in/Kvasir-SEG/kavsir_bboxes.json").write_text(json.dumps({}))
    summary, splits = built("kvasir_seg", tmp_path / "in", tmp_path / "data")
    counts = {split: len(videos) for split, videos in splits.items()}
    assert sum(counts.values()) == 11 and set(counts) == {"train", "val", "test"}
    blurred = cv2.imread(str(tmp_path / "in/Kvasir-SEG/masks/cju0.jpg"), cv2.IMREAD_GRAYSCALE)
    assert len(np.unique(blurred)) > 5
    records = {k: v for split in splits for k, v in stored(summary, split).items()}
    wrong = ids_of(records["cju0"], "polyp") != (ellipse[..., 0] > 0)
    assert wrong.mean() < 0.02
    assert not len(records["cju7"]["maps"]["polyp"]["frames"])
    assert_reported(summary.skipped, [("cju4.jpg", "has no mask (expected masks/cju4.jpg)")])
    assert_reported(summary.partial, [("cju7", "cju7.jpg: measures 32 x 22, its frame 32 x 24")])


def test_cvc_clinicdb(tmp_path):
    for n in range(1, 79):
        write(tmp_path / f"in/CVC-ClinicDB/Original/{n}.tif", photo(n))
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[: n % 20 + 2, :9] = 255
        write(tmp_path / f"in/CVC-ClinicDB/Ground Truth/{n}.tif", mask)
    (tmp_path / "in/CVC-ClinicDB/Ground Truth/30.tif").unlink()
    summary, splits = built("cvc_clinicdb", tmp_path / "in", tmp_path / "data")
    together = {video: split for split, videos in splits.items() for video in videos}
    assert sorted(together) == [
        f"sequence{k:02d}" for k in range(1, 5)
    ]  # 1-25, 26-50, 51-67, 68-78
    record = stored(summary, together["sequence03"])["sequence03"]
    assert len(record["frames"]) == STARTS[3] - STARTS[2] == 17
    assert int(ids_of(record, "polyp", 2).sum()) == (53 % 20 + 2) * 9
    assert len(summary.skipped) == 25 and "has no picture" in summary.skipped[0][1]
    assert_reported(summary.partial, [("Original", "30.tif: has no polyp map")])


def test_endovis2018(tmp_path):
    ids = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % len(COLOURS)
    label = np.array(list(COLOURS.values()), np.uint8)[ids][..., ::-1]
    for sequence in (1, 4, 9, 20):
        for n in range(3):
            folder = tmp_path / f"in/miccai_challenge_2018_release_1/seq_{sequence}"
            write(folder / f"left_frames/frame{n:03d}.png", photo(n))
            write(folder / f"right_frames/frame{n:03d}.png", photo(n + 9))
            write(folder / f"labels/frame{n:03d}.png", label)
    (folder.parent / "seq_9/left_frames/frame001.png").unlink()
    summary, splits = built("endovis2018", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {k: {v: v} for k, v in
                             (("train", "seq_1"), ("val", "seq_4"), ("test", "seq_9"))}  # fmt: skip
    np.testing.assert_array_equal(ids_of(stored(summary, "train")["seq_1"], "scene"), ids)
    assert_reported(summary.skipped, [("seq_20", "case 20 is in no split of endovis2018")])
    assert_reported(summary.partial, [("seq_9", "frame001.png: scene map without a picture")])


def test_c3vd(tmp_path):
    counts = np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH) * 80
    for name in ("cecum_t1_a", "cecum_t1_b", "sigmoid_t3_a", "trans_t4_b"):
        for n in range(3):
            write(tmp_path / f"in/{name}/{n:04d}_color.png", photo(n))
            write(tmp_path / f"in/{name}/{n:04d}_depth.tiff", counts)
            write(tmp_path / f"in/{name}/{n:04d}_normals.tiff", photo(n))
    write(tmp_path / "in/trans_t4_b/0001_depth.tiff", (counts >> 8).astype(np.uint8))
    summary, splits = built("c3vd", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"cecum_t1_a": "cecum_t1", "cecum_t1_b": "cecum_t1"},
        "val": {"sigmoid_t3_a": "sigmoid_t3"},
        "test": {"trans_t4_b": "trans_t4"},
    }
    record = stored(summary, "train")["cecum_t1_a"]
    np.testing.assert_array_equal(ids_of(record, "depth"), counts)
    assert record["maps"]["depth"]["millimetres"] == np.float32(MILLIMETRES)
    assert_reported(summary.partial, [("trans_t4_b", "0001_depth.tiff: is no grey picture of 16")])
