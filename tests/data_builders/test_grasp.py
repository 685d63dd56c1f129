"""GraSP: key frames by the second, some outlined; pictures numbered at 30 or 45 a second."""

import json

import numpy as np
import pytest

from data_builders.common.video.coco import inside_of
from data_builders.grasp.grasp_dataset_builder import INSTRUMENTS, PHASES, STEPS
from surgrec_jax.records.maps import VOID
from tests.data_builders.fake_download import (
    assert_labels,
    assert_reported,
    built,
    cases,
    write_lines,
)
from tests.data_builders.fake_video import write_images
from tests.data_builders.map_files import ids_of, stored

SIZE = 96, 128  # (height, width) of the pictures that `write_images` draws

SECONDS = 4


def labels_of(second):
    return {"phases": (0, 5, 10, 3)[second], "steps": (20, 0, 7, 1)[second]}


def categories():
    return {
        "phases_categories": [{"id": k, "name": name} for k, name in enumerate(PHASES)],
        "steps_categories": [{"id": k, "name": name} for k, name in enumerate(STEPS)],
    }


def annotation(rates, seconds=SECONDS):
    images, rows = [], []
    for case, rate in rates.items():
        for second in range(seconds):
            number = len(images) + 1000
            name = f"CASE{case:03d}"
            images.append({"id": number, "video_name": name, "frame_num": second * rate})
            label = labels_of(second % SECONDS)
            rows.append({"id": number, "image_id": number, **label})
    return {**categories(), "images": images, "annotations": rows}


def write(root, rates, split, change=None):
    for case, rate in rates.items():
        # 45 a second: two of three numbers have a picture.
        numbers = [k for k in range(SECONDS * rate) if rate != 45 or k % 3 != 1]
        write_images(root / f"frames/CASE{case:03d}", numbers, name="{:09d}.jpg")
    data = annotation(rates)
    if change:
        change(data)
    write_lines(root / f"annotations/grasp_long-term_{split}.json", [json.dumps(data)])


def expected(key, names, rate):
    return lambda number: names[labels_of(number // rate)[key]]


def test_labels_and_splits(tmp_path):
    root = tmp_path / "GraSP/GraSP_30fps"
    write(root, {1: 45, 21: 30}, "train")
    write(root, {41: 30}, "test")
    write_images(tmp_path / "GraSP/GraSP_1fps/frames/CASE001", range(2), name="{:05d}.jpg")
    summary, splits = built("grasp", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"CASE001": "CASE001", "CASE021": "CASE021"},
        "test": {"CASE041": "CASE041"},
    }
    assert not summary.skipped and not summary.partial
    for name, video in (splits["train"] | splits["test"]).items():
        rate = 45 if name == "CASE001" else 30
        assert_labels(video, "phase", expected("phases", PHASES, rate))
        assert_labels(video, "step", expected("steps", STEPS, rate))
        assert len(video.times) == 8 * SECONDS and video.fields["domain"] == "robotic"
        for number, time in zip(video.numbers, video.times, strict=True):
            assert abs(time - number / rate) < 1e-3


def test_the_release_at_one_a_second(tmp_path):
    write(tmp_path / "in", {2: 1}, "train")
    summary, splits = built("grasp", tmp_path / "in", tmp_path / "data")
    video = splits["train"]["CASE002"]
    assert video.numbers == list(range(SECONDS)) and not summary.partial
    assert_labels(video, "phase", expected("phases", PHASES, 1))


def test_faults(tmp_path):
    def unknown(data):
        data["annotations"][1]["phases"] = 11

    def rename(data):
        data["steps_categories"][4]["name"] = "Other"

    def uneven(data):
        data["images"][1]["frame_num"] = 7
        data["images"][2]["frame_num"] = 95

    for folder, case, split, change, reason in (
        ("a", 41, "test", unknown, ("CASE041", "phase 11 of CASE041 is no class")),
        ("b", 47, "test", rename, ("CASE047", "its class 4 is called 'Other'")),
        ("c", 14, "train", uneven, ("CASE014", "not evenly spaced")),
        ("d", 15, "train", lambda d: d["annotations"].clear(), ("CASE015", "holds no labels")),
        ("e", 7, "train", dict.clear, ("CASE007", "no lists of categories")),
        ("f", 5, "train", None, ("CASE005", "in no split")),
    ):
        root = tmp_path / "in" / folder
        write(root, {case: 30}, split, change)
        write_images(tmp_path / "in" / folder / "ok/frames/CASE050", range(3))
        data = annotation({50: 1}, seconds=3)
        write_lines(root / "ok/annotations/grasp_long-term_test.json", [json.dumps(data)])
        summary, splits = built("grasp", root, tmp_path / "data" / folder)
        assert list(splits) == ["test"] and list(splits["test"]) == ["CASE050"]
        assert_reported(summary.skipped, [reason])


def test_an_annotation_that_is_longer_is_listed(tmp_path):
    write_images(tmp_path / "in/frames/CASE051", range(3))
    data = annotation({51: 1}, seconds=8)
    write_lines(tmp_path / "in/annotations/grasp_long-term_test.json", [json.dumps(data)])
    summary, _ = built("grasp", tmp_path / "in", tmp_path / "data")
    assert_reported(summary.partial, [("CASE051", "the labels end at 8.0 s, the video at 3.0 s")])


def outline(rows: slice, columns: slice) -> dict:
    """A rectangle's run lengths, as numbers."""
    inside = np.zeros(SIZE, bool)
    inside[rows, columns] = True
    flat = np.concatenate([[False], inside.T.ravel(), [not inside[-1, -1]]])
    ends = np.flatnonzero(np.diff(flat))
    return {"size": list(SIZE), "counts": np.diff(np.concatenate([[0], ends])).tolist()}


def outlines(case: str, frames: dict[int, list[tuple[int, dict]]]) -> dict:
    """A COCO file; classes count from 1, and one is of another case."""
    images = [
        {"id": 7 + k, "file_name": f"{case}/{number:09d}.jpg", "height": SIZE[0], "width": SIZE[1]}
        for k, number in enumerate(frames)
    ]
    things = [
        {"id": 90 + n, "image_id": 7 + k, "category_id": kind, "segmentation": segmentation}
        | {"bbox": [4 * kind, 10, 20, 30.5]}
        for k, found in enumerate(frames.values())
        for n, (kind, segmentation) in enumerate(found)
    ]
    other = images[0] | {"id": 6, "file_name": f"CASE003/{0:09d}.jpg"}
    categories = [{"id": k, "name": name} for k, name in enumerate(INSTRUMENTS, 1)]
    return {"categories": categories, "images": [*images, other], "annotations": things}


def test_outlined_instruments(tmp_path):
    left, right = (slice(10, 40), slice(0, 60)), (slice(30, 80), slice(50, 100))
    frames = {30: [(1, outline(*left)), (5, outline(*right))], 61: [], 89: [(7, outline(*left))]}
    write(tmp_path / "in", {7: 30}, "train")
    path = tmp_path / "in/annotations/grasp_short-term_train.json"
    write_lines(path, [json.dumps(outlines("CASE007", frames))])
    summary, _ = built("grasp", tmp_path / "in", tmp_path / "data")
    assert not summary.skipped and not summary.partial
    record = stored(summary, "train")["CASE007"]
    assert len(record["maps"]["instrument"]["frames"]) == 3
    expected = np.zeros(SIZE, np.uint8)
    expected[left], expected[right], expected[30:40, 50:60] = 1, 5, VOID
    np.testing.assert_array_equal(ids_of(record, "instrument", 0), expected)
    assert not ids_of(record, "instrument", 1).any()
    assert (ids_of(record, "instrument", 2)[left] == 7).all()
    boxes = record["boxes"]["instrument"]
    assert list(boxes["counts"]) == [2, 0, 1] and list(boxes["classes"]) == [0, 4, 6]
    pixels = np.array(boxes["corners"]) * [*SIZE, *SIZE]
    np.testing.assert_allclose(
        pixels, [[10, 4, 40.5, 24], [10, 20, 40.5, 40], [10, 28, 40.5, 48]], atol=1e-4
    )


def test_faults_of_outlines(tmp_path):
    small, short = outline(slice(2), slice(2)), outline(slice(2), slice(2))
    small["size"], short["counts"] = [90, 128], short["counts"][:-1]
    frames = {k: [(1, thing)] for k, thing in enumerate([small, short, {"size": list(SIZE)}])}
    frames |= {3: [(1, outline(slice(4), slice(4)))], 999: []}
    write(tmp_path / "in/a", {41: 1}, "test")
    data = json.dumps(outlines("CASE041", frames))
    write_lines(tmp_path / "in/a/annotations/grasp_short-term_test.json", [data])
    write(tmp_path / "in/b", {2: 1}, "train")
    strange = outlines("CASE002", {0: []})
    strange["categories"].append({"id": 9, "name": "Scalpel"})
    write_lines(tmp_path / "in/b/annotations/grasp_short-term_train.json", [json.dumps(strange)])
    summary, _ = built("grasp", tmp_path / "in", tmp_path / "data")
    assert list(stored(summary, "test")["CASE041"]["maps"]["instrument"]["frames"]) == [3]
    ((_, told),) = summary.partial
    for fault in (
        "CASE041/000000000.jpg: has an outline of size [90, 128] in a picture of [96, 128]",
        "CASE041/000000001.jpg: has run lengths of ",
        "CASE041/000000002.jpg: has an outline without run lengths",
        "CASE041/000000999.jpg: instrument map without a frame: the video has 4",
    ):
        assert fault in told, told
    assert_reported(summary.skipped, [("CASE002", "has a class 'Scalpel'")])


def test_run_lengths_as_text():
    """An ellipse of 24 x 32 pixels, encoded by the owners' library (pycocotools 2.0)."""
    rows, columns = np.mgrid[:24, :32]
    ellipse = ((columns - 14) / 9) ** 2 + ((rows - 12) / 7) ** 2 <= 1
    text = "T41d06L2N2O0O2O00000O20N1000001N101N2N4Jg5"
    np.testing.assert_array_equal(inside_of({"size": [24, 32], "counts": text}, (24, 32)), ellipse)
    for wrong in (text[:-1], text + "P", "~~", "o" * 90, "P" * 20, [1, -1, 768], None, [[1]]):
        with pytest.raises(ValueError, match="run lengths"):
            inside_of({"size": [24, 32], "counts": wrong}, (24, 32))
