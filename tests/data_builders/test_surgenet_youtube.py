"""SurgeNet-YouTube: how pictures are named is unknown here, so the user says it."""

import pytest

from data_builders.common.commands.cli import main
from tests.data_builders.contract import read_back
from tests.data_builders.fake_video import write_images

PATTERN = r"(?P<video>[^/]+/\w+?)_(?P<frame>\d+)\.png"


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in")
    # Two videos in one folder, numbers of one shown as those plus 100.
    write_images(root / "colectomy", range(5, 15), name="abc_{:05d}.png")
    write_images(root / "colectomy", range(20, 28), name="xyz_{:05d}.png", shown_minus=-100)
    write_images(root / "bypass", range(3), name="abc_{}.png")
    return root


def run(download, data_dir, *options):
    args = ["build", "surgenet_youtube", "--manual_dir", download, "--data_dir", data_dir]
    return main([*map(str, args), "--workers", "1", *options])


def test_pictures_become_videos(download, tmp_path, capsys):
    assert run(download, tmp_path, "--pattern", PATTERN) == 0
    videos = read_back(tmp_path / "surgenet_youtube" / "default" / "1.0.0")["train"]
    assert {name: video.numbers for name, video in videos.items()} == {
        "bypass/abc": [0, 1, 2],
        "colectomy/abc": list(range(5, 15)),
        "colectomy/xyz": list(range(120, 128)),
    }
    for name, video in videos.items():
        assert video.times == pytest.approx([n - video.numbers[0] for n in video.numbers])
        assert video.fields["case_id"] == name
    assert "skipped" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "needs --pattern"),
        (("--pattern", "("), "no regular expression"),
        (("--pattern", r"(?P<video>.*)\.png"), "needs the groups"),
        (("--pattern", r"(?P<video>.*)/(?P<frame>\d+)\.bmp"), "no picture in"),
    ],
)
def test_without_a_pattern_nothing_is_guessed(download, tmp_path, capsys, options, message):
    assert run(download, tmp_path, *options) == 1
    assert message in capsys.readouterr().err
