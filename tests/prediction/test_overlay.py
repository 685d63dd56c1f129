"""Overlay videos: what they show, on whose clock, and what a full disk leaves."""

import subprocess
import sys

import av
import cv2
import numpy as np
import pytest

from data_builders.common.video.container import DEFAULT
from surgrec_jax.evaluation.report.svg_tasks import palette
from surgrec_jax.prediction import overlay
from surgrec_jax.prediction.command import main
from tests import one_device
from tests.data_builders.encoded import encode
from tests.data_builders.fake_video import draw_number, read_number
from tests.prediction.workdirs import CLASSES

SIZE = 129, 97  # odd, as H.264 does not have it


def frames_of(path):
    """(seconds, BGR picture) of every frame, and the codec's name."""
    with av.open(path) as file:
        (stream,) = file.streams
        found = [(f.time, f.to_ndarray(format="bgr24")) for f in file.decode(stream)]
        return found, stream.codec_context.name


def told(**change):
    scores = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0]])
    spans = ((0.0, 0.8, 0), (0.8, 1.2, 1))
    return overlay.Told(
        **{"classes": ("préparer", "cut", "sew"), "times": np.array([0.0, 0.4, 0.8])}
        | {"scores": scores, "segments": spans}
        | change
    )


def near(pixel, k):
    return np.abs(pixel.astype(int) - palette(3)[k][::-1]).max() < 20


def test_pictures_keep_their_clock_above_a_band_with_the_ribbon(tmp_path):
    stamps = [0.0, 0.04, 0.2, 0.24, 0.52, 0.8, 1.08, 1.16]  # no constant rate
    video = encode(tmp_path / "odd.mkv", numbers=range(8), stamps=stamps, size=(128, 96))
    overlay.write(tmp_path / "overlay.mp4", video, told(), DEFAULT)
    found, codec = frames_of(tmp_path / "overlay.mp4")
    assert codec == "h264"
    np.testing.assert_allclose([time for time, _ in found], stamps, atol=0.002)
    for k, (_, picture) in enumerate(found):
        assert picture.shape == (96 + overlay.BAND, 128, 3)
        assert read_number(picture[:96]) == k
        y = 96 + overlay.BAND // 6
        x = int(128 * stamps[k] / 1.2)
        assert picture[y, x].min() > 150  # the mark
        for place, label in ((20, 0), (110, 1)):
            assert abs(place - x) < 8 or near(picture[y, place], label)
    words = [picture[96 + overlay.BAND // 3 + 2 :] for _, picture in found]
    assert np.abs(words[0].astype(int) - words[6]).max() > 100  # other words
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_what_is_said_at_an_instant_is_the_segments_class_with_its_probability(tmp_path):
    one = told()
    said = [one.classes_of(one.at(t)) for t in (0, 0.39, 0.4, 0.79, 0.8, 7)]
    assert said == [[(0, 0.9)], [(0, 0.9)], [(0, 0.6)], [(0, 0.6)], [(1, 0.8)], [(1, 0.8)]]
    several = told(segments=((0.0, 0.8, 0), (0.4, 1.2, 2)))
    assert several.classes_of(1) == [(0, 0.6), (2, 0.0)] and several.classes_of(2) == [(2, 0.0)]
    ribbon = overlay.Band(several, 90, 120)._ribbon
    assert near(ribbon[2, 10], 0) and near(ribbon[16, 110], 2) and ribbon[2, 110].max() < 40


def test_another_encoder_does_where_there_is_no_h264(tmp_path):
    assert overlay.find_encoder(("none_such", "mpeg4")) == "mpeg4"
    with pytest.raises(overlay.ConfigError, match="FFmpeg has none of the encoders none_such"):
        overlay.find_encoder(("none_such",))
    video = encode(tmp_path / "a.mp4", numbers=range(4), size=SIZE, codec="ffv1", container="nut")
    overlay.write(tmp_path / "overlay.mp4", video, told(), DEFAULT, "mpeg4")
    found, codec = frames_of(tmp_path / "overlay.mp4")
    assert codec == "mpeg4" and len(found) == 4 and found[0][1].shape == (162, 130, 3)
    assert read_number(found[3][1][:97, :129]) == 3


def test_the_command_adds_overlays_to_answers_that_are_there(run, videos, tmp_path, capsys):
    command = [f"--checkpoint={run}", f"--out={tmp_path}", str(videos / "one.mp4")]
    assert main(command) == 0
    before = (tmp_path / "one/prediction.json").stat().st_mtime_ns
    assert main([*command, "--overlay"]) == 0
    film = tmp_path / "one/overlay.mp4"
    written = film.stat().st_mtime_ns
    assert "kept" in capsys.readouterr().out
    assert (tmp_path / "one/prediction.json").stat().st_mtime_ns == before
    found, _ = frames_of(film)
    assert len(found) == 160 and found[-1][0] == pytest.approx(19.875, abs=0.002)
    # The probability and class that stand in the tables are those that are shown.
    one = overlay.read_tables(tmp_path / "one", CLASSES)
    (shown,) = one.classes_of(one.at(7.3))
    lines = (tmp_path / "one/predictions.csv").read_text().splitlines()
    assert shown[1] == float(lines[8].split(",")[2 + shown[0]])
    # It stays while the answers do, and is made anew with them.
    assert main([*command, "--overlay"]) == 0 and film.stat().st_mtime_ns == written
    assert main([*command, "--smoothing=none"]) == 0 and not film.exists()
    assert main([*command, "--live", "--overlay"]) == 1
    assert "--overlay is of files" in capsys.readouterr().err


def noisy(path, count):
    rng = np.random.default_rng(0)

    def draw(number, size):
        picture = draw_number(number, size)
        return cv2.addWeighted(picture, 0.5, rng.integers(0, 256, picture.shape, np.uint8), 0.5, 0)

    return encode(path, numbers=range(count), size=(320, 240), draw=draw)


@pytest.mark.slow
def test_a_full_disk_costs_the_overlay_alone_and_the_same_command_goes_on(run, videos, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small tmpfs needs root")
    try:
        given = [videos / "one.mp4", noisy(tmp_path / "noisy.mp4", 200), videos / "two.mp4"]
        command = [sys.executable, "-m", "surgrec_jax.predict", f"--checkpoint={run}", "--overlay"]
        command += [f"--out={disk}", *map(str, given)]
        environment = one_device.environment()
        one = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert one.returncode == 1 and "Traceback" not in one.stderr, one.stderr
        assert f"{disk}/noisy/overlay.mp4: No space left on device" in one.stderr
        assert "2 of 3 videos have not all that was asked; the same command" in one.stderr
        there = sorted(p.relative_to(disk).as_posix() for p in disk.rglob("*") if p.is_file())
        own = ("index.html", "prediction.json", "predictions.csv", "segments.csv")
        assert there == sorted([*(f"{v}/{f}" for v in ("noisy", "one") for f in own),
                                "one/overlay.mp4"])  # fmt: skip
        first = (disk / "one/overlay.mp4").read_bytes()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        two = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert two.returncode == 0, two.stderr
        assert two.stdout.count("kept") == 2  # only two.mp4 is answered
        assert (disk / "one/overlay.mp4").read_bytes() == first
        assert len(frames_of(disk / "noisy/overlay.mp4")[0]) == 200
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
