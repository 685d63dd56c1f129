"""What a file holds beside pictures: tracks, clocks, names of other files."""

import gc
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.kinds import recordings
from data_builders.common.video.reading import read_video
from surgrec_jax.records.errors import BadInput
from tests.data_builders.encoded import FPS, encode
from tests.data_builders.fake_video import damage, draw_number, read_number


def read(path, **spec):
    report = ReadReport()
    frames = list(read_video(path, report=report, decode_spec=DecodeSpec(**spec)))
    return frames, report


# Tracks.


def two_tracks(path: Path, cover: bool) -> Path:
    with av.open(path, "w") as file:
        tracks = [file.add_stream("libx264", rate=FPS) for _ in range(2)]
        for track, size in zip(tracks, ((128, 96), (256, 192)), strict=True):
            track.width, track.height, track.pix_fmt = *size, "yuv420p"
        if cover:
            picture = file.add_stream("mjpeg", rate=FPS)
            picture.width, picture.height, picture.pix_fmt = 512, 512, "yuvj420p"
            picture.codec_context.color_range = 2
            picture.disposition = av.stream.Disposition.attached_pic
        for k in range(10):
            for first, track in zip((0, 100), tracks, strict=True):
                shown = draw_number(first + k, (track.width, track.height))
                frame = av.VideoFrame.from_ndarray(shown, "bgr24")
                for packet in track.encode(frame):
                    file.mux(packet)
        if cover:
            frame = av.VideoFrame.from_ndarray(draw_number(999, (512, 512)), "bgr24")
            frame = frame.reformat(format="yuvj420p", dst_color_range=2)
            for packet in (*picture.encode(frame), *picture.encode(None)):
                file.mux(packet)
        for track in tracks:
            for packet in track.encode(None):
                file.mux(packet)
    return path


@pytest.mark.parametrize("cover", [False, True])
def test_a_second_picture_track_is_named_and_can_be_chosen(tmp_path, cover):
    path = two_tracks(tmp_path / "a.mp4", cover)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(10))
    assert report.notes == [
        "has 2 picture tracks (0: h264 128x96, 1: h264 256x192); track 0 was read "
        "(--picture_track N reads another)"
    ]
    frames, report = read(path, picture_track=1)
    assert [read_number(frame.picture) for frame in frames] == list(range(100, 110))
    assert not report.notes
    with pytest.raises(BadInput, match=r"has 2 picture track.*--picture_track is 2"):
        read(path, picture_track=2)


def test_a_track_of_one_picture_is_a_preview(tmp_path):
    path = tmp_path / "a.mov"
    with av.open(path, "w") as file:
        preview, film = (file.add_stream(codec, rate=FPS) for codec in ("mjpeg", "libx264"))
        for track, pixels in ((preview, "yuvj420p"), (film, "yuv420p")):
            track.width, track.height, track.pix_fmt = 128, 96, pixels
        preview.codec_context.color_range = 2
        frames = [av.VideoFrame.from_ndarray(draw_number(k), "bgr24") for k in range(10)]
        still = av.VideoFrame.from_ndarray(draw_number(999), "bgr24")
        still = still.reformat(format="yuvj420p", dst_color_range=2)
        for packet in (*preview.encode(still), *preview.encode(None)):
            file.mux(packet)
        for frame in (*frames, None):
            for packet in film.encode(frame):
                file.mux(packet)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(10))
    assert "track 1 was read" in report.notes[0]


# Clocks.


def test_a_bare_stream_without_a_rate_needs_one(tmp_path):
    path = encode(tmp_path / "a.mjpg", codec="mjpeg", container="mjpeg", pixels="yuvj420p")
    with pytest.raises(BadInput, match="neither time stamps nor a rate.*--native_fps"):
        read(path)
    frames, report = read(path, native_fps=10.0)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / 10)
    assert report.native_fps == 10 and report.duration == pytest.approx(3)
    assert report.notes == ["carries no time stamps; 10 frames per second"]


def test_a_bare_stream_keeps_its_own_rate(tmp_path):
    path = encode(tmp_path / "a.h264")
    assert read(path)[1].native_fps == FPS


def test_frames_of_an_avi_are_not_late_by_what_b_frames_need(tmp_path):
    """An AVI stamps frames by when they are decoded, and so the first one after the start."""
    path = encode(tmp_path / "a.avi", options={"bf": "3", "b_strategy": "0"})
    frames, _ = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(30) / FPS, atol=2e-3)


def test_frames_lost_in_a_container_are_counted(tmp_path):
    """Matroska goes on behind a damaged place without an error; numbers count what was in it."""
    path = encode(tmp_path / "a.mkv", codec="libvpx", numbers=range(80), options={"g": "10"})
    damage(path, 0.4, 0.5)
    frames, report = read(path)
    assert len(frames) < 75 and report.problems
    after = frames[-10:]
    assert [read_number(frame.picture) for frame in after] == [frame.number for frame in after]
    assert after[-1].number == 79 and after[-1].time == pytest.approx(79 / FPS, abs=2e-3)


def test_the_option_changes_no_file_with_time_stamps(tmp_path):
    path = encode(tmp_path / "a.mp4")
    assert read(path, native_fps=10.0)[1].native_fps == FPS


def test_recordings_one_after_the_other_in_one_file(tmp_path):
    """A transport stream whose clock begins anew: times go on, and nothing is lost."""
    parts = [
        encode(tmp_path / f"{k}.ts", container="mpegts", numbers=range(40 * k, 40 * k + 40))
        for k in range(3)
    ]
    path = tmp_path / "all.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(120))
    np.testing.assert_allclose([frame.time for frame in frames], np.arange(120) / FPS, atol=2e-3)
    assert any("set anew 2 time(s)" in problem for problem in report.problems)


@pytest.mark.parametrize("flags", ["faststart", "empty_moov"])
def test_files_copied_behind_one_another(tmp_path, flags):
    """Of an MP4, also of one in fragments, FFmpeg reads the first and says nothing."""
    path = encode(tmp_path / "a.mp4", numbers=range(5), muxer={"movflags": flags})
    assert not read(path)[1].problems
    path.write_bytes(path.read_bytes() * 2)
    frames, report = read(path)
    assert len(frames) == 5 and "holds 2 recordings one after the other" in report.problems[0]
    path.write_bytes(b"\0\0\0\1free" + b"\xff" * 8 + b"moov")  # a box of 2^64 bytes
    assert recordings(path) == 1


def test_a_track_that_begins_in_mid_file(tmp_path):
    """A track that FFmpeg did not see at first ends no build; what is lost with it is said."""
    first = encode(tmp_path / "1.ts", container="mpegts", sound="mp2")
    other = {"mpegts_start_pid": "512", "mpegts_pmt_start_pid": "4352"}
    late = encode(tmp_path / "2.ts", container="mpegts", sound="mp2", muxer=other)
    nothing = (b"\x47\x1f\xff\x10" + b"\xff" * 184) * 28_000  # more than FFmpeg looks through
    path = tmp_path / "all.ts"
    path.write_bytes(first.read_bytes() + nothing + late.read_bytes() * 40)
    frames, report = read(path)
    assert [read_number(frame.picture) for frame in frames] == list(range(30))
    assert any("are not of its picture track" in problem for problem in report.problems)


# Memory.


def test_no_frame_is_kept(tmp_path):
    """Without Python's search for circles: frames are large, and it comes seldom."""
    path = encode(tmp_path / "a.mkv", numbers=range(60), fields="tff", aspect=Fraction(4, 3))
    gc.collect()
    gc.disable()
    try:
        for number, _ in enumerate(read_video(path)):
            if number % 20 == 19:
                held = sum(type(thing) is av.VideoFrame for thing in gc.get_objects())
                assert held <= 8, held
    finally:
        gc.enable()


# Files that point elsewhere.

ELSEWHERE = {
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n",
    "list.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{path}\n#EXT-X-ENDLIST\n",
    "list.ffconcat": "ffconcat version 1.0\nfile '{path}'\n",
    "list.mkv": "ffconcat version 1.0\nfile '{path}'\n",
    "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "list.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period>'
    "<AdaptationSet><Representation><BaseURL>{path}</BaseURL></Representation></AdaptationSet>"
    "</Period></MPD>",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_file_that_names_another_does_not_open_it(tmp_path, name):
    video = encode(tmp_path / "video.mp4")
    (tmp_path / name).write_text(ELSEWHERE[name].format(path=video))
    with pytest.raises(BadInput, match="not a video that FFmpeg can open"):
        read(tmp_path / name)


def test_names_are_no_patterns_and_no_protocols(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k in range(3):
        cv2.imwrite(str(tmp_path / f"{k:03d}.png"), draw_number(k))
    for name in ("%03d.png", "*.png"):
        with pytest.raises(BadInput):
            read(Path(name))
    odd = encode(tmp_path / "plain.mp4").rename(tmp_path / "concat:a.mp4|b.mp4")
    assert len(read(Path(odd.name))[0]) == 30
