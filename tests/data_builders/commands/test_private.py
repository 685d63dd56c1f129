"""Names of files and cases do not reach the data set, nor do blanked parts of pictures."""

import re

import numpy as np
import pytest

from data_builders.video_folder.private import pseudonym, read_boxes, read_key
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_video import write_video
from tests.data_builders.video_folder_run import run, stored


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    root = tmp_path_factory.mktemp("videos")
    for name in ("Muster_Anna/lap4711.avi", "Muster_Anna/lap4712.avi", "Doe_John/lap4711.avi"):
        write_video(root / name, 30, fourcc="MJPG")
    (root / "Doe_John" / "broken.avi").write_bytes(b"no video")
    return root


def test_no_name_of_a_file_or_case_is_stored(videos, tmp_path, capsys):
    key = tmp_path / "key"
    options = ("--case_from", "folder", "--split", "none", "--pseudonyms", key)
    assert run(videos, tmp_path / "a", *options) == 0
    assert "Doe_John/broken.avi" in capsys.readouterr().out  # told, but not stored
    assert key.stat().st_mode & 0o77 == 0
    found = stored(tmp_path / "a")["train"]
    assert len(found) == 3 and all(re.fullmatch(r"video-[0-9a-f]{16}", name) for name in found)
    cases = sorted(video.fields["case_id"] for video in found.values())
    assert len(set(cases)) == 2 and all(re.fullmatch(r"case-[0-9a-f]{16}", c) for c in cases)
    for path in (tmp_path / "a").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(word in data for word in (b"Muster", b"Anna", b"Doe", b"lap4711")), path
    # The same key gives the same names, another one others.
    assert run(videos, tmp_path / "b", *options) == 0
    assert stored(tmp_path / "b")["train"].keys() == found.keys()
    assert run(videos, tmp_path / "c", *options[:-1], tmp_path / "key2") == 0
    assert not stored(tmp_path / "c")["train"].keys() & found.keys()


def test_pseudonyms_need_a_secret(tmp_path):
    path = tmp_path / "key"
    key = read_key(path)
    assert read_key(path) == key and len(key) == 64
    assert pseudonym(key, "case", "a") != pseudonym(key, "video", "a")
    path.write_text("short")
    with pytest.raises(BuildError, match="holds 5 bytes, which is too short for a secret"):
        read_key(path)
    with pytest.raises(BuildError, match="No such file"):
        read_key(tmp_path / "none" / "key")


def test_blanked_parts_are_black(videos, tmp_path):
    options = ("--case_from", "folder", "--split", "none", "--fps", "1000")
    boxes = ("--blank", "0,0,0.5,0.25;0.75,0.75,1,1")
    assert run(videos, tmp_path / "blank", *options, *boxes) == 0
    assert run(videos, tmp_path / "whole", *options) == 0
    blank, whole = (stored(tmp_path / name)["train"] for name in ("blank", "whole"))
    for name, video in blank.items():
        for picture, sound in zip(video.pictures, whole[name].pictures, strict=True):
            height, width = picture.shape[:2]
            assert picture[: height // 4, : width // 2].max() < 40  # JPEG rings at the edges
            assert picture[3 * height // 4 :, 3 * width // 4 :].max() < 40
            kept = picture[height // 3 : 2 * height // 3]
            assert abs(kept.astype(int) - sound[height // 3 : 2 * height // 3]).max() < 40


def test_blanked_parts_are_those_of_the_picture_as_filmed(tmp_path):
    """The white line at the top is the eighth of 128 rows; 32 black rows below are cut off."""
    picture = np.full((128, 160, 3), 90, np.uint8)
    picture[8:16], picture[96:] = 255, 0
    write_video(tmp_path / "in" / "a.avi", [picture] * 20, size=(160, 128), fourcc="MJPG")
    options = ("--split", "none", "--crop_borders", "--blank", "0,0,1,0.125")
    assert run(tmp_path / "in", tmp_path / "out", *options) == 0
    (video,) = stored(tmp_path / "out")["train"].values()
    assert video.pictures[0].shape[:2] == (96, 160)
    assert max(picture.max() for picture in video.pictures) < 130
    assert video.pictures[0][:12].max() < 40 < video.pictures[0][24:].min()


@pytest.mark.parametrize("text", ["1", "0,0,1", "0,0,0,1", "0,0,2,1", "a,b,c,d", "0,0,1,nan"])
def test_bad_boxes_are_refused(text):
    with pytest.raises(BuildError, match="give left,top,right,bottom as fractions"):
        read_boxes(text)
    assert read_boxes(None) == read_boxes("") == ()
