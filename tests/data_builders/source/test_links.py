"""Links that lead out of the download are never followed, wherever a builder opens a file."""

import shutil

import pytest
from test_cholec80 import annotate

from data_builders.cholec80.cholec80_dataset_builder import Builder
from data_builders.common.build.build import build
from data_builders.common.commands.check import check
from data_builders.common.labels.tables import read_shared
from data_builders.ldpolypvideo.ldpolypvideo_dataset_builder import _numbered
from surgrec_jax.records.errors import BadInput, BuildError
from tests.data_builders.fake_download import assert_reported, built, small_video, write_lines
from tests.data_builders.fake_video import write_images


def test_pictures_in_a_folder(tmp_path):
    """One of a video's pictures is a link: inside the download it counts, outside it does not."""
    root = tmp_path / "in"
    for number in (1, 41):
        name = f"video{number:02d}"
        write_images(root / f"frames/{name}", range(1, 9), name="a_{:06d}.png", shown_minus=1)
        annotate(root, name)
    moved = root / "elsewhere.png", tmp_path / "secret.png"
    for name, target in zip(("video01", "video41"), moved, strict=True):
        picture = root / f"frames/{name}/a_000003.png"
        picture.rename(target)
        picture.symlink_to(target)
    summary, splits = built("cholec80", root, tmp_path / "data")
    assert splits["train"]["video01"].numbers == list(range(8)) and list(splits) == ["train"]
    assert_reported(summary.skipped, [("video41/a_000003.png", "leads out of the folder")])
    report = check(Builder(data_dir=tmp_path / "x", manual_dir=root))
    assert [kind for kind, where, _ in report.findings if "a_000003" in where] == ["annotation"]


def test_tables_beside_the_videos(tmp_path):
    table = write_lines(tmp_path / "secret.csv", ["name,label", "x,1"])
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "table.csv").symlink_to(table)
    with pytest.raises(BuildError, match=r"table\.csv: leads out of the folder"):
        read_shared(tmp_path / "in" / "table.csv", ("name", "label"), by="name")
    assert list(read_shared(table, ("name", "label"), by="name")) == ["x"]


def test_texts_in_a_folder(tmp_path):
    secret = write_lines(tmp_path / "secret.txt", ["0"])
    folder = write_lines(tmp_path / "in" / "1.txt", ["0"]).parent
    (folder / "2.txt").symlink_to(secret)
    with pytest.raises(BadInput, match=r"2\.txt: leads out of the folder"):
        _numbered(folder, (".txt",))


def test_strict_stops_before_anything_is_read(tmp_path):
    """What is passed over while listing: a link, a name that does not parse, a case twice."""
    root = tmp_path / "in"
    for number in (1, 2, 3, 41):
        small_video(root / f"videos/video{number:02d}.mp4", 10, 25)
        annotate(root, f"video{number:02d}", rows=10)
    shutil.copy(root / "videos/video02.mp4", tmp_path / "secret.mp4")
    (root / "videos/video02.mp4").unlink()
    (root / "videos/video02.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "copy").mkdir()
    shutil.copy(root / "videos/video03.mp4", root / "copy")
    (root / "videos/video41.mp4").rename(root / "videos/video_41.mp4")
    options = {"data_dir": tmp_path / "data", "manual_dir": root, "progress": False}
    with pytest.raises(BuildError, match="10 files would be passed over .*--strict") as error:
        build("cholec80", **options, strict=True)
    for part in ("video02.mp4: is a link", "claim the same video 03", "video_41.mp4: a name that"):
        assert part in str(error.value)
    assert not (tmp_path / "data").exists()
