"""Label boxes from files to records: around what is drawn, sparse, cut and mirrored with it."""

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from data_builders.common.build.build import build
from data_builders.common.commands.check import check
from data_builders.common.source.builder import VideoConfig, VideoDatasetBuilder, VideoItem
from data_builders.common.source.items import OpenedVideo
from data_builders.common.video.boxes import Boxes, cut_boxes
from data_builders.common.video.filters import FilterSpec
from surgrec_jax.data.loading.transforms import crop_flip_boxes, crop_resize_flip
from surgrec_jax.records.boxes import parse_boxes
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.example import NoRecordError
from surgrec_jax.records.schema import RecordSpec
from surgrec_jax.records.source import open_source

HEIGHT, WIDTH, EDGE = 96, 128, 32  # of the picture between two black edges
CLASSES = ("grey", "white")
LEVELS = (140, 250)  # grey levels of things of these classes
# Frame -> class, top, left, bottom, right; frame 4 was looked at and shows none, 1 was not.
THINGS = {
    0: [(0, 8, 16, 40, 56), (1, 50, 70, 90, 120)],
    2: [(1, 0, 0, 24, 64)],
    4: [],
    5: [(0, 20, 20, 60, 100)],
}


def picture(number: int) -> np.ndarray:
    drawn = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    for kind, top, left, bottom, right in THINGS.get(number, ()):
        drawn[top:bottom, left:right] = LEVELS[kind]
    return cv2.copyMakeBorder(drawn, 0, 0, EDGE, EDGE, cv2.BORDER_CONSTANT)


class Written:
    """Boxes as a source gives them, in pixels of the whole picture."""

    def __init__(self, more=None):
        self.things = THINGS | (more or {})
        self.numbers = self.things.keys()

    def at(self, number: int) -> Boxes | None:
        if number not in self.numbers:
            return None
        if self.things[number] is None:
            raise BadInput(self.where(number), "has an object without a box")
        rows = np.array(self.things[number], float).reshape(-1, 5)
        return Boxes(rows[:, 1:] + [0, EDGE, 0, EDGE], rows[:, 0].astype(int))

    def where(self, number: int) -> str:
        return f"boxes.json: {number}.png"


class MiniBoxes(VideoDatasetBuilder, skip_registration=True):
    """A folder of six pictures, four of them with boxes around what is drawn."""

    pkg_dir_path: ClassVar = tfds.core.Path(__file__).parent  # only because this is no package
    BUILDER_CONFIGS: ClassVar = [
        VideoConfig(name="default", record=RecordSpec(frames=3, fps=25, short_side=72)),
        VideoConfig(
            name="cropped",
            record=RecordSpec(frames=3, fps=25, short_side=72),
            filters=FilterSpec(crop_borders=True),
        ),
    ]
    BOXES: ClassVar = {"thing": CLASSES}
    MORE: ClassVar = None

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        return [self.item("v0", manual_dir, "train")]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        return OpenedVideo(item.path, image_fps=25.0, boxes={"thing": Written(self.MORE)})


class Faulty(MiniBoxes, skip_registration=True):
    """Boxes that reach out of the picture, are empty, none, and of no frame."""

    MORE: ClassVar = {
        1: [(0, 8, 16, HEIGHT + 0.7, 56)],  # less than a pixel: rounding
        2: [(1, 8, 16, HEIGHT + 2, 56), (1, 8, 16, 40, 56)],
        3: [(0, 40, 16, 40, 56)],
        5: None,
        9: [(0, 8, 16, 40, 56)],
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for k in range(6):
        cv2.imwrite(str(root / f"{k}.png"), picture(k))
    return root


@pytest.fixture(scope="module", params=["default", "cropped"])
def source(request, pictures, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    summary = build(
        *(MiniBoxes,), data_dir=data, manual_dir=pictures, config=request.param, num_workers=1,
        progress=False,
    )  # fmt: skip
    assert not summary.partial
    (stored,) = {
        frame.shape
        for record in tfds.builder_from_directory(summary.directory).as_data_source("train")
        for frame in record["frames"]
    }
    assert stored == ((72, 96, 3) if request.param == "cropped" else (72, 144, 3))
    return open_source(data, "mini_boxes", request.param, "train")


def framed(frame: np.ndarray, corners: np.ndarray, classes: np.ndarray) -> list[bool]:
    """Whether each box holds its class's grey level, up to its edges, which are blurred."""
    height, width = frame.shape[:2]
    found = []
    for box, kind in zip(corners, classes, strict=True):
        top, left, bottom, right = np.rint(box * [height, width, height, width]).astype(int)
        inside = frame[top + 3 : bottom - 3, left + 3 : right - 3].astype(int)
        here = np.abs(frame.mean(-1) - LEVELS[kind]) < 20
        rows = np.flatnonzero(here[:, left:right].mean(1) > 0.5)
        columns = np.flatnonzero(here[top:bottom].mean(0) > 0.5)
        if not (rows.size and columns.size):
            return [False]
        ends = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
        close = np.abs(ends - [top, left, bottom, right]).max() <= 2
        found.append(bool(close and np.abs(inside - LEVELS[kind]).max() < 20))
    return found


def frames_of(source, number: int) -> list[np.ndarray]:
    return [
        cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        for jpeg in source.record(number).frames
    ]


def test_boxes_lie_around_what_is_drawn(source):
    assert source.boxes == {"thing": CLASSES} and not source.maps
    seen = {}
    for number in range(2):
        frames, boxes = frames_of(source, number), source.parse_boxes(source.raw(number), number)
        for k, place in enumerate(boxes["thing"].frames.tolist()):
            corners, classes = boxes["thing"].of(k)
            seen[3 * number + place] = classes.tolist()
            assert all(framed(frames[place], corners, classes))
    assert seen == {k: [kind for kind, *_ in things] for k, things in THINGS.items()}


def test_crops_and_flips_act_on_boxes_and_frames_alike(source):
    frame, boxes = frames_of(source, 0)[0], source.parse_boxes(source.raw(0), 0)["thing"]
    corners, classes = boxes.of(0)
    height, width = frame.shape[:2]
    wrong = 0
    for box in ((0, 0, height, width), (4, 10, 60, width - 20), (2, 0, 50, width)):
        for flip in (False, True):
            out = np.empty((1, 96, 96, 3), np.uint8)
            crop_resize_flip([frame], box, out, flip)
            found, kept = crop_flip_boxes(corners, height, width, box, flip)
            assert kept.tolist() == [0, 1] and all(framed(out[0], found, classes[kept]))
            other, _ = crop_flip_boxes(corners, height, width, box, not flip)
            wrong += not all(framed(out[0], other, classes))
    assert wrong == 6  # the other way round they disagree
    upper = (0, 0, 24, width)
    _, kept = crop_flip_boxes(corners, height, width, upper)
    assert kept.tolist() == [0]  # nothing of the second is left


def test_faults_are_listed_by_file(pictures, tmp_path):
    summary = build(
        Faulty, data_dir=tmp_path, manual_dir=pictures, num_workers=1, progress=False
    )  # fmt: skip
    ((_, told),) = summary.partial
    for fault in (
        "boxes.json: 2.png: a box (8, 48, 98, 88) is outside of its picture of 192 x 96 pixels; "
        "its frame has no boxes",
        "boxes.json: 3.png: a box (40, 48, 40, 88) is empty",
        "boxes.json: 5.png: has an object without a box; its frame has no boxes",
        "boxes.json: 9.png: thing boxes without a frame: the video has 6",
    ):
        assert fault in told, told
    looked = check(Faulty(data_dir=tmp_path / "x", manual_dir=pictures), decode=True).findings
    assert [what for kind, _, what in looked if kind == "damaged"] == [told]
    source = open_source(tmp_path, "faulty", "default", "train")
    parsed = [source.parse_boxes(source.raw(k), k)["thing"] for k in range(2)]
    assert [boxes.frames.tolist() for boxes in parsed] == [[0, 1], [1]]
    assert parsed[0].corners.max() == 1


class Several(MiniBoxes, skip_registration=True):
    """The same pictures as four videos."""

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        return [self.item(f"v{k}", manual_dir, "train") for k in range(4)]


def test_the_same_bytes_with_more_processes(pictures, tmp_path):
    written = []
    for workers in (1, 4):
        options = {"manual_dir": pictures, "num_workers": workers, "progress": False}
        summary = build(Several, data_dir=tmp_path / str(workers), **options)
        assert summary.splits["train"].frames == 24
        files = sorted(summary.directory.glob("*.array_record*"))
        written.append([path.read_bytes() for path in files])
    assert written[0] == written[1]


def test_what_is_blanked_or_fitted_takes_its_boxes_along():
    boxes = Boxes(np.array([[0.0, 0, 10, 20], [30, 50, 60, 90]]), np.array([0, 1]))
    cut = {"native": (60, 100), "box": None, "blank": [(0, 0, 0.25, 0.2)]}
    assert cut_boxes(boxes, (60, 100), **cut).classes.tolist() == [1]
    cut |= {"native": (120, 300), "blank": ()}  # twice as large, in the middle of 300 columns
    fitted = cut_boxes(boxes, (60, 100), **cut)
    pixels = fitted.corners * [120, 300, 120, 300]
    np.testing.assert_allclose(pixels, [[0, 50, 20, 90], [60, 150, 120, 230]])


def test_records_with_wrong_boxes_are_refused(source):
    def refused(change, reason):
        example = tf_example_pb2.Example.FromString(source.raw(0))
        change(example.features.feature)
        with pytest.raises(NoRecordError, match=reason):
            parse_boxes(example.SerializeToString(), source.boxes)

    def put(key, kind, values):
        return lambda feature: getattr(feature[f"boxes/thing/{key}"], kind).value.__setitem__(
            slice(None), values
        )

    refused(put("frames", "int64_list", [0, 3]), "which it has not")
    refused(put("frames", "int64_list", [2, 0]), "which it has not")
    refused(put("counts", "int64_list", [2, 9]), "do not add up")
    refused(put("counts", "int64_list", [4, -1]), "do not add up")
    refused(put("classes", "int64_list", [0, 1, 2]), "none of 0 to 1")
    refused(put("corners", "float_list", [0.5] * 12), "outside of their frame")
    refused(put("corners", "float_list", [float("nan")] * 12), "outside of their frame")
    with pytest.raises(NoRecordError, match="is not a record"):
        parse_boxes(b"\xff", source.boxes)
