"""Endoscapes2023: pictures of all videos in one folder, rated every five seconds."""

import json

import numpy as np

from data_builders.endoscapes.endoscapes_dataset_builder import ANATOMY, BOXED
from surgrec_jax.audit.patients import known_overlap, patient_key
from surgrec_jax.records.maps import VOID
from tests.data_builders.fake_download import assert_labels, built, cases, write_lines
from tests.data_builders.fake_video import write_images
from tests.data_builders.map_files import ids_of, stored, write

SECONDS = range(40, 52)  # of the operation
RATED = {40: (0, 0.333, 1), 45: (0.667, 0, 0), 50: (1, 1, 0.333)}
HEADER = "vid,frame,avg_cvs,is_ds_keyframe,C1,C2,C3,cvs_annotator_1"
IDS = np.arange(96 * 128, dtype=np.uint8).reshape(96, 128) % len(ANATOMY)


def make(root, split: str, video: int) -> list[str]:
    frames = [25 * k for k in SECONDS]
    write_images(root / split, frames, name=f"{video}_{{}}.jpg", shown_minus=25 * SECONDS[0])
    write_images(root / f"{split}_seg", frames[:1], name=f"{video}_{{}}.jpg")
    rows = []
    for second, frame in zip(SECONDS, frames, strict=True):
        means = RATED.get(second, (1, 1, 1))  # the table has values of unrated frames, too
        cells = ",".join(map(str, means))
        rows.append(f'{video},{frame},0.5,{second in RATED},{cells},"[0.0, 1.0, 0.0]"')
    return rows


def write_boxes(folder, boxes: dict[str, list[tuple[int, list]]]) -> None:
    """A COCO file: name of a picture -> id of a class, from 1, and [left, top, width, height]."""
    images = [
        {"id": 30 + k, "file_name": f"{name}.jpg", "height": 96, "width": 128}
        for k, name in enumerate(boxes)
    ]
    things = [
        {"id": 1, "image_id": 30 + k, "category_id": kind, "bbox": box}
        for k, found in enumerate(boxes.values())
        for kind, box in found
    ]
    kinds = [{"id": k, "name": name} for k, name in enumerate(BOXED, 1)]
    data = {"images": images, "annotations": things, "categories": kinds}
    write_lines(folder / "annotation_coco.json", [json.dumps(data)])


def expected(k: int):
    return lambda number: (
        ("absent", "present")[RATED[number // 25 + 40][k] > 0.5]
        if number // 25 + 40 in RATED
        else None
    )


def test_labels_maps_and_splits(tmp_path):
    root, rows = tmp_path / "in/endoscapes", []
    for split, video in (("train", 7), ("train", 70), ("val", 121), ("test", 162)):
        rows += make(root, split, video)
    write_lines(root / "all_metadata.csv", [HEADER, *rows])
    anatomy = IDS.copy()
    anatomy[0] = 255
    write(root / "semseg/7_1125.png", np.stack([anatomy] * 3, -1))
    write_boxes(root / "train", {"7_1025": [(2, [0, 10, 64, 20])], "70_1000": [], "7_1050": []})
    summary, splits = built("endoscapes", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"7": "7", "70": "70"}, "val": {"121": "121"}, "test": {"162": "162"}}  # fmt: skip
    assert not summary.skipped and not summary.partial
    for videos in splits.values():
        for video in videos.values():
            assert [number // 25 for number in video.numbers] == list(range(12))
            np.testing.assert_allclose(video.times, range(12))
            names = ("cvs_two_structures", "cvs_hepatocystic_triangle", "cvs_cystic_plate")
            for k, name in enumerate(names):
                assert_labels(video, name, expected(k))
    record = stored(summary, "train")["7"]
    assert list(record["maps"]["anatomy"]["frames"]) == [5]
    anatomy[0] = VOID
    np.testing.assert_array_equal(ids_of(record, "anatomy"), anatomy)
    boxes = record["boxes"]["anatomy"]
    assert list(boxes["frames"]) == [1, 2] and list(boxes["counts"]) == [1, 0]
    assert [ANATOMY[1:][k] for k in boxes["classes"]] == ["hepatocystic_triangle"]
    np.testing.assert_allclose(boxes["corners"], [[10 / 96, 0, 30 / 96, 0.5]], atol=1e-6)


def test_faults(tmp_path):
    root = tmp_path / "endoscapes"
    rows = [*make(root, "train", 1), f"1,{25 * 60},0,True,1,1,1,x"]
    rows += [row.replace("0.333,1,", "1.333,1,") for row in make(root, "train", 2)]
    write_images(root / "train", [1130], name="1_{}.jpg")
    write(root / "semseg/1_1125.png", IDS + 1)
    write(root / "semseg/1_9000.png", IDS)
    wrong = {"1_1025": [(1, [100, 0, 64, 20])], "1_1030": [], "1_2500": []}
    write_boxes(root / "train", wrong)
    write_lines(root / "all_metadata.csv", [HEADER, *rows])
    summary, splits = built("endoscapes", tmp_path, tmp_path / "data")
    assert {split: list(videos) for split, videos in splits.items()} == {"train": ["1"]}
    ((_, told),) = summary.partial
    for fault in (
        "all_metadata.csv:14: a label without a picture",
        "1_1130.jpg: frame 1130 is not on a second",
        "1_1125.png: holds values that are no class: 7",
        "1_9000.png: anatomy map without a picture",
        "1_1025.jpg: a box (0, 100, 20, 164) is outside of its picture of 128 x 96 pixels",
        "1_1030.jpg: boxes of a frame that is not on a second",
        "1_2500.jpg: anatomy boxes without a frame: the video has 12",
    ):
        assert fault in told
    ((where, reason),) = summary.skipped
    assert "all_metadata.csv:15" in where + reason and "is 1.333: no mean of votes" in reason


def test_its_patients_are_those_of_cholec80():
    assert patient_key("endoscapes", "7") == patient_key("cholec80", "video72")
    assert patient_key("endoscapes", "33") == patient_key("cholect50", "VID110")
    assert patient_key("endoscapes", "72") != patient_key("cholec80", "video72")
    assert known_overlap("endoscapes", "cholect50")[1] is True
