"""Curation filters leave out what they say, count it, and leave every label on its frame."""

import json

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_builders.common.commands.cli import main
from data_builders.common.labels.tracks import Constant, Intervals
from data_builders.common.video.borders import box_of, find_box
from data_builders.common.video.filters import (
    FilterSpec,
    dropped,
    is_black,
    out_of_body,
    out_of_body_classes,
)
from data_builders.common.video.frames import Frame
from tests.data_builders.fake_video import draw_number, read_number, write_images, write_video

BLACK = np.zeros((96, 128, 3), np.uint8)


def numbered(pictures, fps=10.0):
    return [Frame(k / fps, k, picture) for k, picture in enumerate(pictures)]


def kept(frames, spec, outside=None):
    counts = {}
    out = list(dropped(frames, spec, counts, outside))
    return [f.number for f, _ in out], [f.number for f, gap in out if gap], counts


def test_black_and_frozen_stretches():
    """0-4 live, 5-19 black, 20-24 live, 25-27 black (too short), 28-50 the same picture."""
    pictures = [draw_number(k) for k in range(51)]
    pictures[5:20] = [BLACK] * 15
    pictures[25:28] = [BLACK] * 3
    pictures[28:] = [draw_number(28)] * 23
    frames = numbered(pictures)
    everything = list(range(51))
    assert kept(frames, FilterSpec()) == (everything, [], {})
    black = [*range(5), *range(20, 51)]
    assert kept(frames, FilterSpec(drop_black=True)) == (black, [20], {"drop_black": 15})
    frozen = [*range(6), *range(20, 29)]  # of black, too, the first frame stays
    assert kept(frames, FilterSpec(drop_frozen=True)) == (
        frozen,
        [20],
        {"drop_frozen": 14 + 22},
    )
    both = FilterSpec(drop_black=True, drop_frozen=True)
    counts = {"drop_black": 15, "drop_frozen": 22}
    assert kept(frames, both) == ([*range(5), *range(20, 29)], [20], counts)
    long = FilterSpec(drop_black=True, min_seconds=1.5)  # 15 frames span 1.4 s
    assert kept(frames, long)[2] == {}
    short = FilterSpec(drop_black=True, min_seconds=0.2)
    assert kept(frames, short)[2] == {"drop_black": 18}


def test_black_is_not_dark():
    rng = np.random.default_rng([0])
    assert is_black(BLACK) and is_black(rng.integers(0, 20, BLACK.shape, dtype=np.uint8))
    text = BLACK.copy()
    cv2.putText(text, "12:07", (2, 10), cv2.FONT_HERSHEY_PLAIN, 0.5, (255, 255, 255))
    assert is_black(text)
    dark = BLACK.copy()
    dark[40:60, 40:80] = 60
    assert not is_black(dark) and not is_black(draw_number(0))


def test_slow_change_is_not_frozen():
    pictures = [np.full((96, 128, 3), 60 + k, np.uint8) for k in range(60)]
    numbers, _, counts = kept(numbered(pictures), FilterSpec(drop_frozen=True, min_seconds=0.5))
    assert numbers == list(range(60)) and counts == {}


@pytest.mark.parametrize("clock", ["frames", "seconds"])
def test_out_of_body(clock):
    unit = 1 if clock == "frames" else 0.1
    tracks = {
        "phase": Intervals([0, 12 * unit], [7 * unit, 20 * unit], [0, 1], clock=clock),
        "overlay_out_of_body": Constant(0),
    }
    names = {
        "phase": ("dissection", "Out of body"),
        "overlay_out_of_body": ("absent", "present"),
        "tool": ("a", "b"),
    }
    classes = out_of_body_classes(names)
    assert classes == {"phase": frozenset({1}), "overlay_out_of_body": frozenset({1})}
    assert out_of_body_classes({"out_of_body": ("inside", "outside")}) == {"out_of_body": {1}}
    frames = numbered([draw_number(k) for k in range(25)])
    outside = out_of_body(tracks, classes)
    numbers, gaps, counts = kept(frames, FilterSpec(drop_out_of_body=True), outside)
    assert numbers == [*range(12), *range(20, 25)] and gaps == [20]
    assert counts == {"drop_out_of_body": 8}
    assert kept(frames, FilterSpec(), outside)[0] == list(range(25))


def test_boxes_of_masks():
    content = np.zeros((200, 300), bool)
    content[:, 40:260] = True
    assert box_of(content) == (0, 200, 40, 260)  # pillars
    content[:20] = content[190:] = False
    assert box_of(content) == (20, 190, 40, 260)
    assert box_of(np.ones((200, 300), bool)) is None
    assert box_of(np.zeros((200, 300), bool)) is None
    content = np.ones((200, 300), bool)
    content[:, 0] = False
    assert box_of(content) is None  # a column of 300 is not worth it
    y, x = np.mgrid[:400, :600]
    radius, half = 180, 180 * 2 / np.sqrt(5)  # where the edge of the square is half inside
    top, bottom, left, right = box_of((y - 210) ** 2 + (x - 280) ** 2 < radius**2)
    assert np.allclose([top, bottom, left, right], [210 - half, 210 + half, 280 - half, 280 + half],
                       atol=2.5)  # fmt: skip


def framed(number, top=12, left=40, size=(208, 120)):
    """A numbered picture of 128 x 96 on black; its border flickers as compression does."""
    picture = np.full((size[1], size[0], 3), number % 16, np.uint8)
    picture[top : top + 96, left : left + 128] = draw_number(number)
    return picture


def test_find_box_in_files(tmp_path):
    bordered = write_video(
        tmp_path / "a.mp4", (framed(k) for k in range(50)), size=(208, 120), fps=25
    )
    assert np.allclose(find_box(bordered), (12, 108, 40, 168), atol=1)
    # Dark for most of the time, and never where the picture is.
    pictures = [framed(k) if k % 10 == 0 else framed(0) // 8 for k in range(50)]
    assert np.allclose(
        find_box(write_video(tmp_path / "b.mp4", pictures, size=(208, 120))),
        (12, 108, 40, 168),
        atol=1,
    )
    assert find_box(write_video(tmp_path / "c.mp4", 20)) is None
    assert find_box(write_images(tmp_path / "d", range(5))) is None


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Bordered; frames 20-39 black, 60-79 standing still; phases change at 1 s, 4 s and 6 s."""
    root = tmp_path_factory.mktemp("filters")
    pictures = [framed(k) for k in range(100)]
    pictures[20:40] = [framed(0) * 0] * 20
    pictures[61:80] = [framed(60)] * 19
    write_video(root / "in" / "a.mp4", pictures, size=(208, 120), fps=10)
    write_video(root / "in" / "b.mp4", 30, fps=10)
    write_video(root / "in" / "c.mp4", [BLACK] * 30, fps=10)
    rows = [(0, 1, "first"), (1, 4.5, "second"), (4.5, 6, "third"), (8.5, 10, "out of body")]
    table = ["path,start_s,end_s,phase", *(f"a.mp4,{a},{b},{name}" for a, b, name in rows)]
    (root / "labels.csv").write_text("\n".join(table))
    arguments = ["build", "video_folder", "--manual_dir", str(root / "in"), "--workers", "1"]
    arguments += ["--labels", str(root / "labels.csv"), "--split", "none", "--fps", "10"]
    assert main([*arguments, "--name", "plain", "--data_dir", str(root / "data")]) == 0
    switches = ["--crop_borders", "--drop_black", "--drop_frozen", "--drop_out_of_body"]
    assert main([*arguments, *switches, "--name", "clean", "--data_dir", str(root / "data")]) == 0
    return root


def records_of(root, name, video_id):
    builder = tfds.builder_from_directory(root / "data" / name / "default" / "1.0.0")
    source = builder.as_data_source("train")
    records = [source[k] for k in range(len(source))]
    names = builder.info.features["labels"]["phase"].feature.names
    return [r for r in records if r["video_id"].decode() == video_id], names


def test_labels_stay_on_their_frames(built):
    records, names = records_of(built, "clean", "a.mp4")
    wanted = [[*range(20)], [*range(40, 61)], [*range(80, 85)]]
    assert len(records) == 3 and [r["segment"] for r in records] == [0, 1, 2]
    for record, numbers in zip(records, wanted, strict=True):
        assert np.allclose(record["times"], np.array(numbers) / 10, atol=1e-3)
        assert [read_number(picture) for picture in record["frames"]] == numbers
        for number, label in zip(numbers, record["labels"]["phase"], strict=True):
            known = [(10, "first"), (45, "second"), (60, "third")]
            name = next((name for end, name in known if number < end), None)
            assert (None if label < 0 else names[label]) == name
        assert abs(record["frames"][0].shape[0] - 96) <= 2
        assert abs(record["frames"][0].shape[1] - 128) <= 2
        assert (record["native_height"], record["native_width"]) == (120, 208)
    plain, _ = records_of(built, "plain", "a.mp4")
    assert [len(r["times"]) for r in plain] == [64, 36]
    assert plain[0]["frames"][0].shape == (120, 208, 3)


def test_the_summary_counts(built, capsys):
    note = json.loads((built / "data" / "clean" / "default" / "1.0.0" / "build.json").read_text())
    assert note["summary"]["filtered"] == {
        "crop_borders": [1, 1],
        "drop_black": [2, 20 + 30],
        "drop_frozen": [1, 19],
        "drop_out_of_body": [1, 15],
    }
    assert note["filters"]["drop_black"] is True
    ((path, reason),) = note["summary"]["skipped"]
    assert path.endswith("c.mp4") and "the filters leave no frame" in reason
    assert note["summary"]["splits"]["train"]["frames"] == 46 + 30
    plain = json.loads((built / "data" / "plain" / "default" / "1.0.0" / "build.json").read_text())
    assert plain["summary"]["filtered"] == {} and plain["summary"]["skipped"] == []
    arguments = ["build", "video_folder", "--manual_dir", str(built / "in"), "--name", "clean"]
    arguments += ["--labels", str(built / "labels.csv"), "--split", "none", "--fps", "10"]
    arguments += ["--data_dir", str(built / "data"), "--drop_black"]
    assert main(arguments) == 1  # other switches make another data set
    assert "was made from other files or settings" in capsys.readouterr().err
    switches = ["--crop_borders", "--drop_frozen", "--drop_out_of_body"]
    assert main([*arguments, *switches]) == 0
    out = capsys.readouterr().out
    assert "crop_borders: 1 videos\n" in out
    assert "drop_black: 2 videos, 50 frames left out" in out
