"""GraSP: key frames by the second over pictures that are numbered at 30 or 45 a second."""

import json

from data_builders.grasp.grasp_dataset_builder import PHASES, STEPS
from tests.data_builders.fake_download import (
    assert_labels,
    assert_reported,
    built,
    cases,
    write_lines,
)
from tests.data_builders.fake_video import write_images

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
