"""EgoSurgery: sessions of a video in one folder, phases by name, boxes of tools and hands."""

import json

import numpy as np

from data_builders.egosurgery.egosurgery_dataset_builder import HANDS, PHASES, TOOLS
from tests.data_builders.fake_download import (
    assert_labels,
    assert_reported,
    built,
    cases,
    write_lines,
)
from tests.data_builders.fake_video import write_images
from tests.data_builders.map_files import stored

SIZE = 96, 128  # (height, width)
PHASE_OF = (0, 0, 1, 7, 7)


def make(root, session: str, folder: str = "images", first: int = 3) -> None:
    numbers = range(first, first + len(PHASE_OF))
    name = f"{session}_{{:04d}}.jpg"
    write_images(root / folder / session[:2], numbers, name=name, shown_minus=first)
    rows = [f"{session}_{n:04d},{PHASES[PHASE_OF[n - first]].title()}" for n in numbers]
    write_lines(root / f"annotations/phase/{session}.csv", ["Frame,Phase", *rows])


def coco(path, classes, boxes: dict[str, list[tuple[str, list]]], size=SIZE) -> None:
    """A COCO file: the end of a picture's name -> class and [left, top, width, height]."""
    first = 0 if classes is TOOLS else 1
    ids = {name: k for k, name in enumerate(classes, first)}
    images = [
        {"id": k, "file_name": f"{name}.jpg", "height": size[0], "width": size[1]}
        for k, name in enumerate(boxes)
    ]
    annotations = [
        {"id": k, "image_id": list(boxes).index(name), "category_id": ids[kind], "bbox": box}
        for k, (name, kind, box) in enumerate(
            (name, *thing) for name, things in boxes.items() for thing in things
        )
    ]
    categories = [{"id": k, "name": name} for name, k in ids.items()]
    data = {"images": images, "annotations": annotations, "categories": categories}
    write_lines(path, [json.dumps(data)])


def test_sessions_phases_and_boxes(tmp_path):
    root = tmp_path / "in/EgoSurgery"
    for session in ("01_1", "01_2", "09_1"):
        make(root, session)
    make(root, "04_1", folder="test")
    split = root / "annotations/bbox/by_split"
    skewer, gauze = ("Skewer", [10, 20, 30, 40]), ("Gauze", [0, 0, 128, 96])
    tools = {"train/01/01_1_0005": [skewer, gauze], "01_2_0003": [], "train/01/02_1_0003": []}
    coco(split / "tools/train.json", TOOLS, tools)
    coco(split / "hands/train.json", HANDS, {"01_1_0005": [("Other hands right", [1, 2, 3, 4])]})
    summary, splits = built("egosurgery", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"01_1": "01", "01_2": "01"},
        "val": {"09_1": "09"},
        "test": {"04_1": "04"},
    }
    assert not summary.skipped and not summary.partial
    for videos in splits.values():
        for video in videos.values():
            assert video.times.tolist() == [0, 2, 4, 6, 8]
            assert_labels(video, "phase", lambda number: PHASES[PHASE_OF[number]])
    records = stored(summary, "train")
    tool = records["01_1"]["boxes"]["tool"]
    assert list(tool["frames"]) == [2] and list(tool["counts"]) == [2]
    assert [TOOLS[k] for k in tool["classes"]] == ["Skewer", "Gauze"]
    corners = np.array(tool["corners"]) * [*SIZE, *SIZE]
    np.testing.assert_allclose(corners, [[20, 10, 60, 40], [0, 0, 96, 128]], atol=1e-4)
    hand = records["01_1"]["boxes"]["hand"]
    assert [HANDS[k] for k in hand["classes"]] == ["Other hands right"]
    looked = records["01_2"]["boxes"]["tool"]
    assert list(looked["frames"]) == [0] and list(looked["counts"]) == [0]


def test_faults(tmp_path):
    root = tmp_path / "in"
    for session in ("02_1", "03_1", "06_1", "08_1", "11_1", "16_1", "10_1"):
        make(root, session)
    phase = root / "annotations/phase"
    (phase / "03_1.csv").unlink()
    write_lines(phase / "06_1.csv", ["Frame,Phase", "06_1_0003,draping"])
    write_lines(phase / "08_1.csv", ["Frame,Phase", "08_2_0003,design"])
    write_lines(phase / "11_1.csv", ["Frame,Phase", "11_1_0003,design", "11_1_0099,design"])
    out = [("Hook", [100, 20, 30, 40])]
    coco(root / "instances_train.json", TOOLS, {"02_1_0003": out, "02_1_0004": [("Hook", [1] * 4)]})
    coco(root / "by_split/hands/train.json", HANDS, {"11_1_0004": []}, size=(1080, 1920))
    coco(root / "instances_val.json", (*TOOLS, "Kidney Dish"), {"10_1_0003": []})
    summary, splits = built("egosurgery", root, tmp_path / "data")
    assert {split: list(videos) for split, videos in splits.items()} == {"train": ["02_1", "11_1"]}
    assert list(stored(summary, "train")["02_1"]["boxes"]["tool"]["frames"]) == [1]
    told = " ".join(reason for _, reason in summary.partial)
    assert "02_1_0003.jpg: a box (20, 100, 60, 130) is outside of its picture" in told
    assert "its boxes were drawn in 1920 x 1080 pixels, its frame has 128 x 96" in told
    assert "11_1.csv:3: a label without a picture" in told and len(summary.partial) == 2
    assert_reported(
        summary.skipped,
        [
            ("images/03", "has no phase annotation (expected 03_1.csv)"),
            ("06_1.csv:2", "unknown class 'draping'"),
            ("08_1.csv:2", "'08_2_0003' is no frame of 08_1"),
            ("images/10", "has a class 'Kidney Dish'"),
            ("images/16", "case 16 is in no split"),
        ],
    )
