import os
import resource
import struct

import cv2
import numpy as np
import pytest

from data_builders.common.video.frames import ReadReport
from data_builders.common.video.reading import probe, read_video, shrink
from surgrec_jax.records.errors import BadInput
from tests.data_builders.fake_video import (
    damage,
    draw_number,
    read_number,
    set_intervals,
    set_rotation,
    truncate,
    write_images,
    write_video,
)


def read(path, **kwargs):
    report = ReadReport()
    return list(read_video(path, report=report, **kwargs)), report


# Real files.


def test_rotated_sample_comes_out_upright(samples):
    frames, report = read(samples / "decord_video_90.mov")
    assert [frame.picture.shape for frame in frames] == [(568, 320, 3)] * 3
    assert (report.native_height, report.native_width) == (568, 320)
    raw = cv2.VideoCapture(str(samples / "decord_video_90.mov"), cv2.CAP_FFMPEG)
    raw.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    assert raw.get(cv2.CAP_PROP_ORIENTATION_META) == 90
    _, lying = raw.read()
    assert lying.shape == (320, 568, 3)
    np.testing.assert_array_equal(frames[0].picture, cv2.rotate(lying, cv2.ROTATE_90_CLOCKWISE))


def test_ten_bit_sample(samples):
    frames, report = read(samples / "torchcodec_h264_10bits.mp4")
    assert len(frames) == 30 and report.native_fps == 30.0 and not report.problems
    assert frames[0].picture.dtype == np.uint8 and frames[0].picture.shape == (200, 200, 3)
    assert 20 < frames[0].picture.mean() < 235 and frames[0].picture.std() > 10


def test_multi_stream_sample(samples):
    frames, report = read(samples / "torchcodec_nasa_13013.mp4", fps=5)
    assert report.frames_read == 325 and report.native_fps == 25.0 and not report.problems
    np.testing.assert_allclose([f.time for f in frames], np.arange(65) / 5, atol=1e-6)
    assert (report.native_height, report.native_width) == (180, 320)


def test_damaged_sample_gives_what_can_be_decoded(samples):
    frames, report = read(samples / "decord_corrupted.mp4")
    # The damage lies at 2.8 s of 5 s; a reader that stops there gets 28 frames.
    assert report.frames_read == len(frames) == 49
    assert report.damaged == 1 and "damaged in 1 place" in report.problems[0]
    assert frames[-1].time == pytest.approx(4.9) and frames[-1].number == 49


# Made files.


@pytest.mark.parametrize(
    ("name", "fourcc", "fps"),
    [
        ("a.mp4", "mp4v", 25),
        ("a.avi", "MJPG", 30),
        ("a.avi", "XVID", 29.97),
        ("a.mkv", "mp4v", 59.94),
        ("a.mkv", "FFV1", 10),
        ("a.webm", "VP80", 24),
        ("a.mov", "mp4v", 50),
    ],
)
def test_every_frame_has_its_number_and_time(tmp_path, name, fourcc, fps):
    path = write_video(tmp_path / name, 70, fps=fps, fourcc=fourcc)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(70))
    assert [frame.number for frame in frames] == list(range(70))
    np.testing.assert_allclose([f.time for f in frames], np.arange(70) / fps, atol=0.6e-3)
    assert report.native_fps == pytest.approx(fps, rel=1e-3) and not report.problems
    assert report.duration == pytest.approx(70 / fps, abs=2e-3)


def test_stored_rate_and_size(tmp_path):
    path = write_video(tmp_path / "a.mp4", 100, fps=25, size=(320, 240))
    frames, report = read(path, fps=8, short_side=96)
    expected = [int(k * 25 / 8) for k in range(32)]  # the frame at or last before k / 8 s
    assert [read_number(frame.picture) for frame in frames] == expected
    assert {frame.picture.shape for frame in frames} == {(96, 128, 3)}
    assert (report.native_height, report.native_width) == (240, 320)
    slow, _ = read(path, fps=50, short_side=4000)
    assert len(slow) == 100 and slow[0].picture.shape == (240, 320, 3)  # nothing is made up


def test_variable_frame_rate(tmp_path):
    shown = np.tile([0.02, 0.04, 0.12, 0.03, 0.5], 12)
    path = set_intervals(write_video(tmp_path / "a.mp4", 60), shown)
    starts = np.concatenate([[0], np.cumsum(shown)[:-1]])
    frames, _ = read(path)
    np.testing.assert_allclose([frame.time for frame in frames], starts, atol=1e-3)
    assert [read_number(frame.picture) for frame in frames] == list(range(60))
    picked, _ = read(path, fps=4)
    instants = np.arange(0, starts[-1] + 1e-9, 0.25)
    wanted = sorted(set(np.searchsorted(starts, instants + 1e-3, side="right") - 1))
    assert [frame.number for frame in picked] == wanted
    assert [read_number(frame.picture) for frame in picked] == wanted


@pytest.mark.parametrize(
    ("degrees", "turn"),
    [
        (90, cv2.ROTATE_90_CLOCKWISE),
        (180, cv2.ROTATE_180),
        (270, cv2.ROTATE_90_COUNTERCLOCKWISE),
    ],
)
def test_rotation(tmp_path, degrees, turn):
    path = write_video(tmp_path / "a.mp4", 3, size=(128, 96))
    plain = [frame.picture for frame in read(path)[0]]
    turned, report = read(set_rotation(path, degrees))
    for picture, frame in zip(plain, turned, strict=True):
        np.testing.assert_array_equal(frame.picture, cv2.rotate(picture, turn))
    assert (report.native_height, report.native_width) == turned[0].picture.shape[:2]


def test_cut_off_tail(tmp_path):
    path = truncate(write_video(tmp_path / "a.avi", 200, fourcc="MJPG"), 0.6)
    frames, report = read(path)
    assert 80 < len(frames) < 180
    whole = [read_number(frame.picture) for frame in frames[:-1]]  # the last may be torn
    assert whole == list(range(len(frames) - 1))
    assert "claims 200 frames" in report.problems[0]


def test_damaged_middle_keeps_numbers_by_time(tmp_path):
    """Frames after a hole keep their own time and number: labels stay on their frames."""
    path = damage(write_video(tmp_path / "a.mp4", 300), 0.4, 0.45)
    frames, report = read(path)
    assert 150 < len(frames) < 300
    sound = 0
    for frame in frames:
        try:
            shown = read_number(frame.picture)
        except AssertionError:  # a picture torn by the damage
            continue
        sound += 1
        assert abs(frame.number - shown) <= 1 and abs(frame.time - shown / 25) < 0.05
    assert sound > 150 and report.problems


def test_header_that_lies_about_its_rate(tmp_path):
    path = write_video(tmp_path / "a.avi", 50, fps=25, fourcc="MJPG")
    data = bytearray(path.read_bytes())
    count = data.index(b"avih") + 8 + 16  # dwTotalFrames
    struct.pack_into("<I", data, count, 444)
    length = data.index(b"strh") + 8 + 32  # dwLength of the stream
    struct.pack_into("<I", data, length, 444)
    path.write_bytes(data)
    frames, report = read(path)
    assert len(frames) == report.frames_read == 50
    assert report.header_frames == 444 and "claims 444 frames, 50" in report.problems[0]


def test_probe_measures_the_rate(tmp_path):
    path = write_video(tmp_path / "a.mkv", 90, fps=59.94)
    assert probe(path).native_fps == pytest.approx(60000 / 1001, rel=1e-4)
    assert probe(path).frames_read == 64


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"no video at all" * 100, "not a video"),
        (b"ffconcat version 1.0\nfile other.mp4\n", "not a video"),
        (
            b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.mp4\n#EXT-X-ENDLIST\n",
            "not a video",
        ),
    ],
)
def test_files_that_are_no_videos(tmp_path, content, reason):
    write_video(tmp_path / "other.mp4", 5)
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(BadInput, match=reason):
        read(tmp_path / "bad.mp4")


def test_missing_and_special_files(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        read(tmp_path / "none.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(BadInput, match="regular file"):
        read(tmp_path / "pipe.mp4")  # and does not wait for a writer


def test_absurd_size_is_refused_before_memory_is_taken(tmp_path):
    path = write_video(tmp_path / "a.avi", 3, fourcc="HFYU")
    data = bytearray(path.read_bytes())
    at = data.index(b"strf") + 8 + 4  # biWidth, biHeight
    struct.pack_into("<ii", data, at, 20000, 15000)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(BadInput, match=r"20000 x 15000|over 67108864 pixels"):
        read(path)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # in KiB
    assert grown < 20000 * 15000 * 1.5 / 1024 / 2  # far from one picture


def test_names_that_are_not_utf8(tmp_path):
    good = write_video(tmp_path / "a.mp4", 10)
    strange = os.fsencode(tmp_path) + b"/caf\xe9\n.mp4"
    os.rename(good, strange)
    frames, _ = read(os.fsdecode(strange))
    assert [read_number(frame.picture) for frame in frames] == list(range(10))


def test_folder_of_pictures(tmp_path):
    """Numbers in names are the clock: a missing picture leaves a gap and shifts nothing."""
    numbers = [n for n in range(1, 31) if n != 7]
    folder = write_images(tmp_path / "video01", numbers, name="video01_{:06d}.png", shown_minus=1)
    (folder / "video01_000009.png").write_bytes(b"broken")
    frames, report = read(folder, image_fps=5.0, image_start=1)
    shown = [read_number(frame.picture) for frame in frames]
    assert shown == [n for n in range(30) if n not in (6, 8)]
    assert [frame.number for frame in frames] == shown
    np.testing.assert_allclose([frame.time for frame in frames], np.array(shown) / 5)
    assert report.native_fps == 5.0 and "1 unreadable picture" in report.problems[0]
    once, _ = read(folder, image_fps=5.0, image_start=1, fps=1)
    assert [frame.number for frame in once] == [0, 5, 10, 15, 20, 25]
    with pytest.raises(BadInput, match="image_fps"):
        read(folder)


def test_pictures_of_changing_size_get_one_size(tmp_path):
    folder = tmp_path / "f"
    folder.mkdir()
    for k, size in enumerate([(128, 96), (128, 96), (256, 192)]):
        cv2.imwrite(str(folder / f"{k}.png"), draw_number(k, size))
    frames, report = read(folder, image_fps=1.0)
    assert [frame.picture.shape for frame in frames] == [(96, 128, 3)] * 3
    assert [read_number(frame.picture) for frame in frames] == [0, 1, 2]
    assert "size changes" in report.problems[0]


@pytest.mark.parametrize("size", [(854, 480), (1280, 720), (1920, 1080), (1365, 767), (300, 1080)])
def test_shrinking_is_close_to_area_averaging(size):
    rng = np.random.default_rng([3])
    picture = cv2.resize(
        rng.integers(0, 256, (60, 80, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC
    )
    scale = 256 / min(size)
    target = round(size[0] * scale), round(size[1] * scale)
    exact = cv2.resize(picture, target, interpolation=cv2.INTER_AREA)
    difference = np.abs(shrink(picture, target).astype(int) - exact)
    assert difference.shape == (target[1], target[0], 3)
    assert difference.mean() < 1.5
