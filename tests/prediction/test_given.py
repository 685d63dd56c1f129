"""Which videos a command is given by files and folders, and what their answers are called."""

import os
import shutil

import cv2
import pytest

from surgrec_jax.prediction.command import main
from surgrec_jax.prediction.given import find, video_names
from surgrec_jax.safety.errors import DataError
from tests.prediction.workdirs import pictures


def found(paths, **options):
    said = []
    videos, wrong = find(paths, lambda path, why: said.append((path.name, why)), **options)
    return videos, [str(error) for error in wrong], said


def test_a_folder_is_its_videos_or_its_pictures(videos, tmp_path):
    for place in ("a/one.mp4", "b/deep/one.mp4", "b/zwei ä'.mp4", "out/one/overlay.mp4"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(videos / "one.mp4", tmp_path / place)
    (tmp_path / "b/notes.csv").write_text("path,start\n")
    (tmp_path / "b/no.video").write_bytes(b"words")
    for folder in ("b", "stills"):  # a picture beside videos makes no folder of pictures
        (tmp_path / folder).mkdir(exist_ok=True)
        for k, picture in enumerate(pictures(2)):
            cv2.imwrite(str(tmp_path / folder / f"{k}.png"), picture)
    (tmp_path / "empty").mkdir()
    a, gone = tmp_path / "a/one.mp4", tmp_path / "gone.mp4"
    given = [a, tmp_path / "stills", tmp_path, gone, tmp_path / "empty"]
    there, wrong, said = found(given, without=tmp_path / "out")
    names = [v.relative_to(tmp_path).as_posix() for v in there]
    assert names == ["a/one.mp4", "stills", "b/deep/one.mp4", "b/zwei ä'.mp4", "gone.mp4"]
    assert len(wrong) == 1 and "empty holds no video" in wrong[0]
    assert ("no.video", "is no video by its first bytes") in said
    assert found([tmp_path], picture_fps=2.0)[0][-1] == tmp_path / "stills"


def test_a_name_is_as_long_as_it_must_be(tmp_path):
    a, b = tmp_path / "a" / "case.mp4", tmp_path / "b" / "case.mp4"
    assert video_names([a, tmp_path / "other.mp4"]) == ["case", "other"]
    assert video_names([a, tmp_path / "case.mkv"]) == ["case.mp4", "case.mkv"]
    assert video_names([a, b]) == ["a--case.mp4", "b--case.mp4"]
    deep = [tmp_path / k / "cam" / "1.mp4" for k in ("x", "y")]
    assert video_names(deep) == ["x--cam--1.mp4", "y--cam--1.mp4"]
    with pytest.raises(DataError, match="two videos are called"):
        video_names([a, a])


def test_the_command_answers_the_videos_of_a_folder_beside_their_own_answers(
    run, videos, tmp_path, capsys
):
    shutil.copy(videos / "one.mp4", tmp_path / "one.mp4")
    os.mkdir(tmp_path / "empty")
    command = [f"--checkpoint={run}", f"--out={tmp_path}/out", str(tmp_path), "--rate=0.1"]
    assert main([*command, "--overlay"]) == 0
    assert main([*command, str(tmp_path / "empty"), "--overlay"]) == 1
    told = capsys.readouterr()
    assert "answers" in told.out and told.out.count("kept") == 1
    assert "empty holds no video" in told.err and "1 of 2 videos have not all" in told.err
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["one"]
