"""Pictures as a viewer sees them: whole, square pixels, upright, in their colours, of one track."""

import itertools
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import read_video
from tests.data_builders.encoded import FPS, encode
from tests.data_builders.fake_video import read_number

ONE = 1 << 16


def read(path, **spec):
    report = ReadReport()
    frames = list(read_video(path, report=report, decode_spec=DecodeSpec(**spec)))
    return frames, report


# Interlaced.


@pytest.mark.parametrize("count", [2, 3, 30])
def test_each_interlaced_frame_gives_one_whole_picture(tmp_path, count):
    path = encode(tmp_path / "a.mkv", numbers=range(count), fields="tff")
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(count))
    assert report.interlaced == count and not report.problems
    assert report.notes == [f"{count} interlaced frames were deinterlaced"]


def test_an_interlaced_frame_alone(tmp_path):
    frames, report = read(encode(tmp_path / "a.mkv", numbers=[5], fields="tff"))
    assert len(frames) == report.interlaced == 1 and not report.problems
    assert read_number(frames[0].picture[::2]) == 5


def test_interlaced_frames_are_kept_when_asked(tmp_path):
    path = encode(tmp_path / "a.mkv", fields="tff", numbers=[3, 4, 5])
    frames, report = read(path, interlaced="keep")
    assert not report.notes and len(frames) == 3
    for frame in frames:
        shown = [int(read_number(frame.picture[row::2])) for row in (0, 1)]
        assert shown == [frame.number + 3, frame.number + 4]


def test_a_file_that_turns_interlaced_and_back(tmp_path):
    parts = [
        encode(tmp_path / f"{k}.h264", numbers=range(10 * k, 10 * k + 10), fields=fields)
        for k, fields in enumerate([None, "tff", "bff", None])
    ]
    path = tmp_path / "all.h264"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(40) / FPS)
    assert report.interlaced == 20


# Shape.


@pytest.mark.parametrize(
    ("turned", "a", "d"), [*itertools.product((False, True), (1, -1), (1, -1))]
)
def test_all_eight_orientations(tmp_path, turned, a, d):
    """A point (x, y) is shown at (a x + c y, b x + d y): ISO/IEC 14496-12."""
    values = (0, a, 0, d, 0, 0) if turned else (a, 0, 0, 0, d, 0)
    matrix = [*(ONE * value for value in values), 0, 0, 1 << 30]
    path = encode(tmp_path / "a.mp4", numbers=[11, 12], matrix=matrix)
    plain = encode(tmp_path / "plain.mp4", numbers=[11, 12])
    for frame, lying in zip(read(path)[0], read(plain)[0], strict=True):
        height, width = lying.picture.shape[:2]
        columns, rows = np.meshgrid(np.arange(width), np.arange(height))
        x, y = (d * rows, a * columns) if turned else (a * columns, d * rows)
        shown = np.zeros((width, height, 3) if turned else (height, width, 3), np.uint8)
        shown[y - y.min(), x - x.min()] = lying.picture
        np.testing.assert_array_equal(frame.picture, shown)


@pytest.mark.parametrize(
    ("aspect", "width"), [("64/45", 182), ("8/9", 114), ("12/11", 140), ("1/1", 128)]
)
def test_pixels_become_square(tmp_path, aspect, width):
    path = encode(tmp_path / "a.mp4", aspect=Fraction(aspect))
    frames, report = read(path)
    assert {frame.picture.shape for frame in frames} == {(96, width, 3)}
    assert (report.native_height, report.native_width) == (96, width) and not report.problems
    assert [read_number(frame.picture) for frame in frames] == list(range(30))


def with_aspect(path, width):
    """An mp4 whose container claims pixels of `width` by 1."""
    data = path.read_bytes()
    at = data.index(b"pasp") + 4
    path.write_bytes(data[:at] + bytes([0, 0, 0, width, 0, 0, 0, 1]) + data[at + 8 :])
    return path


def test_the_container_decides_on_the_shape_of_pixels(tmp_path):
    path = with_aspect(encode(tmp_path / "a.mp4", aspect=Fraction(4, 3)), 2)
    assert read(path)[0][0].picture.shape == (96, 256, 3)


def test_a_shape_of_pixels_that_no_camera_has(tmp_path):
    path = with_aspect(encode(tmp_path / "a.mp4", aspect=Fraction(4, 3)), 200)
    frames, report = read(path)
    assert frames[0].picture.shape == (96, 128, 3)
    assert report.notes == ["claims pixels of shape 200, which no camera has; taken as square"]


def test_the_shape_of_pixels_changes_in_mid_file(tmp_path):
    """MPEG-2 shows frames one later than it decodes them: each has its own shape all the same."""

    def disc(number, size):
        picture = np.zeros((size[1], size[0], 3), np.uint8)
        # An ellipse as coded, a circle as shown.
        wide = (16, 15) if number < 20 else (64, 45)
        axes = round(200 * wide[1] / wide[0]), 200
        return cv2.ellipse(picture, (360, 288), axes, 0, 0, 360, (255, 255, 255), -1)

    parts = [
        encode(tmp_path / f"{k}.m2v", codec="mpeg2video", numbers=range(20 * k, 20 * k + 20),
               size=(720, 576), draw=disc, aspect=aspect, options={"bf": "2"})
        for k, aspect in enumerate([Fraction(16, 15), Fraction(64, 45)])
    ]  # fmt: skip
    path = tmp_path / "all.m2v"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, report = read(path)
    assert len(frames) == 40 and "picture size changes" in report.problems[0]
    for frame in frames:
        white = frame.picture[..., 0] > 128
        wide, high = white.any(0).sum(), white.any(1).sum()
        assert abs(wide - high) <= 3, (frame.number, wide, high)


# Colours.


@pytest.mark.parametrize(
    ("matrix", "full"), [(5, False), (6, False), (1, False), (5, True), (1, True)]
)
@pytest.mark.parametrize("size", [(128, 96), (1280, 720)])
def test_colours_by_matrix_and_range(tmp_path, matrix, full, size):
    """ITU-R BT.601 (5, 6) and BT.709 (1), computed here from their definition."""
    kr, kb = (0.2126, 0.0722) if matrix == 1 else (0.299, 0.114)
    colours = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 100, 90]]) / 255  # RGB
    y = colours @ [kr, 1 - kr - kb, kb]
    cb, cr = (colours[:, 2] - y) / (2 - 2 * kb), (colours[:, 0] - y) / (2 - 2 * kr)
    if full:
        planes = np.stack([255 * y, 128 + 255 * cb, 128 + 255 * cr])
    else:
        planes = np.stack([16 + 219 * y, 128 + 224 * cb, 128 + 224 * cr])
    coded = np.clip(np.round(planes), 0, 255).astype(np.uint8)
    path = tmp_path / "a.mkv"
    with av.open(path, "w") as file:
        stream = file.add_stream("libx264", rate=FPS, options={"qp": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        stripes = [np.repeat(plane, size[0] // 4)[None].repeat(size[1], 0) for plane in coded]
        stripes[1:] = [plane[::2, ::2] for plane in stripes[1:]]
        layout = np.concatenate([plane.reshape(-1, size[0]) for plane in stripes])
        frame = av.VideoFrame.from_ndarray(layout, "yuv420p")
        frame.colorspace, frame.color_range, frame.pts = matrix, 2 if full else 1, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    (frame,), _ = read(path)
    middles = [size[0] // 8 + k * size[0] // 4 for k in range(4)]
    seen = frame.picture[size[1] // 2, middles, ::-1]
    np.testing.assert_allclose(seen, 255 * colours, atol=3)


def test_ten_bits_become_eight(tmp_path):
    path = encode(tmp_path / "a.mkv", codec="ffv1", pixels="yuv420p10le")
    frames, _ = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    dark, bright = np.percentile(frames[0].picture, [5, 95])
    assert abs(dark - 30) <= 2 and abs(bright - 230) <= 2
