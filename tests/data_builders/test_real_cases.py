"""Small inputs that once went wrong, beside the checkout (../shared/cases): their right answers.

Frames carry their number as 16 bits in the top quarter of the picture, the lowest on the left.
"""

from pathlib import Path

import numpy as np
import pytest

from tests.data_builders.contract import read_back
from tests.data_builders.video_folder_run import run

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no ../shared/cases beside the checkout")


def built(case, tmp_path, *options):
    """The stored videos of a case."""
    out = tmp_path / "out"
    assert run(CASES / case / "in", out, "--split", "none", *options) == 0
    return read_back(out / "video_folder" / "default" / "1.0.0")["train"]


def number(picture):
    height, width = picture.shape[:2]
    row = picture[height // 8 - 2 : height // 8 + 2].mean(axis=(0, 2))
    middles = [round((k + 0.5) * width / 16) for k in range(16)]
    return sum(int(row[x - 2 : x + 3].mean() > 128) << k for k, x in enumerate(middles))


@pytest.mark.parametrize("options", [("--fps", "8"), ("--fps", "25", "--shards", "1")])
def test_interlaced(tmp_path, options):
    videos = built("01_interlaced", tmp_path, *options)
    rate = int(options[1])
    frames = [int(k * 25 / rate + 1e-9) for k in range(int(2.4 * rate) + 1)]
    frames = [k for k in frames if k < 60]
    assert [number(p) for p in videos["a_patient1.mp4"].pictures] == frames
    # Filmed with 50 fields a second: each frame is that of its first field.
    pictures = videos["b_patient2_interlaced.mts"].pictures
    assert [number(p) for p in pictures] == [2 * k for k in frames]


def test_pixel_shape(tmp_path):
    video = built("02_pixel_shape", tmp_path, "--short_side", "2000")["sar_mp4.mp4"]
    assert {picture.shape for picture in video.pictures} == {(576, 1024, 3)}


def test_endings(tmp_path):
    assert sorted(built("03_endings_left_out", tmp_path, "--strict")) == [
        *("a.mp4", "b.asf", "d.h264")
    ]


def test_a_picture_that_begins_late(tmp_path):
    labels = CASES / "10_video_begins_late" / "late.csv"
    options = ("--fps", "25", "--labels", labels)
    (video,) = built("10_video_begins_late", tmp_path, *options).values()
    np.testing.assert_allclose(video.times, 2 + np.arange(125) / 25, atol=1e-3)
    (track,) = video.labels.values()
    assert [k for k, label in enumerate(track) if label is not None] == list(range(25, 50))


def test_size_changes(tmp_path, capsys):
    (video,) = built("11_size_changes", tmp_path, "--fps", "25").values()
    assert "the picture size changes within the video" in capsys.readouterr().out
    assert len(video.pictures) == 100
    for picture in video.pictures:
        white = picture[2 * picture.shape[0] // 5 :].min(axis=2) > 200
        rows, columns = white.any(1), white.any(0)
        if columns.any():
            assert abs(int(rows.sum()) - int(columns.sum())) <= 4, (rows.sum(), columns.sum())


def test_mirrored(tmp_path):
    (video,) = built("12_mirrored", tmp_path).values()
    assert number(video.pictures[1][:, ::-1]) == int(video.times[1] * 25 + 0.5)
