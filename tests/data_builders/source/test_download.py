"""Finding files in a download: links, hidden files, doubled folders, keys that stand twice."""

from types import SimpleNamespace

import pytest

from data_builders.common.source.download import find_files, in_split
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_download import assert_reported, write_lines


@pytest.fixture
def builder():
    return SimpleNamespace(name="source", skipped=[], MANUAL_DOWNLOAD_INSTRUCTIONS="Put it there.")


def find(builder, root, **more):
    arguments = {"video": r"videos/v(\d+)\.mp4", "annotations": {"label": r"v(\d+)\.txt"}} | more
    return find_files(builder, root, **arguments)


def names(found, root):
    return {
        kind: {key: path.relative_to(root).as_posix() for key, path in paths.items()}
        for kind, paths in found.items()
    }


def test_files_are_sorted_by_key_wherever_they_lie(builder, tmp_path):
    for name in ("b/b/videos/v10.mp4", "a/videos/v2.mp4", "a/other/v2.txt", "v10.txt", "notes.md"):
        write_lines(tmp_path / name, ["x"])
    write_lines(tmp_path / ".cache/videos/v3.mp4", ["x"])
    write_lines(tmp_path / "__MACOSX/videos/v4.mp4", ["x"])
    write_lines(tmp_path / "a/videos/.v5.mp4", ["x"])
    write_lines(tmp_path / "a/myvideos/v6.mp4", ["x"])  # a pattern begins at a part's beginning
    found = find(builder, tmp_path)
    assert names(found, tmp_path) == {
        "video": {"10": "b/b/videos/v10.mp4", "2": "a/videos/v2.mp4"},
        "label": {"10": "v10.txt", "2": "a/other/v2.txt"},
    }
    assert_reported(builder.skipped, [("a/myvideos/v6.mp4", "does not parse")])


def test_links_that_lead_out_are_listed(builder, tmp_path):
    root = tmp_path / "in"
    write_lines(root / "videos/v1.mp4", ["x"])
    write_lines(tmp_path / "elsewhere/videos/v2.mp4", ["x"])
    (root / "videos/v2.mp4").symlink_to(tmp_path / "elsewhere/videos/v2.mp4")
    (root / "more").symlink_to(tmp_path / "elsewhere")
    (root / "v1.txt").symlink_to(tmp_path / "secret")
    found = find(builder, root)
    assert names(found, root) == {"video": {"1": "videos/v1.mp4"}, "label": {}}
    assert_reported(
        builder.skipped,
        [
            ("videos/v2.mp4", "leads out of the folder"),
            ("in/more", "links are not followed"),
            ("v1.txt", "leads out of the folder"),
        ],
    )


def test_two_files_for_one_key_and_labels_without_video(builder, tmp_path):
    for name in ("a/videos/v1.mp4", "b/videos/v1.mp4", "videos/v2.mp4", "v3.txt", "v1.txt"):
        write_lines(tmp_path / name, ["x"])
    assert names(find(builder, tmp_path), tmp_path)["video"] == {"2": "videos/v2.mp4"}
    assert_reported(
        builder.skipped,
        [
            ("a/videos/v1.mp4", "a/videos/v1.mp4 and b/videos/v1.mp4 claim the same video 1"),
            ("b/videos/v1.mp4", "keep one"),
            ("v3.txt", "belongs to no video (label of 3)"),
            ("v1.txt", "belongs to no video"),
        ],
    )


def test_the_first_pattern_with_a_key_wins_and_folders_are_not_entered(builder, tmp_path):
    for name in ("videos/v1.mp4", "frames/v1/000.png", "frames/v2/000.png", "frames/v2/v9.txt"):
        write_lines(tmp_path / name, ["x"])
    found = find(builder, tmp_path, video=[r"videos/v(\d+)\.mp4", r"frames/v(\d+)/"])
    assert names(found, tmp_path) == {
        "video": {"1": "videos/v1.mp4", "2": "frames/v2"},
        "label": {},
    }
    assert not builder.skipped


def test_official_splits(builder, tmp_path):
    videos = {"01": tmp_path / "1", "05": tmp_path / "5", "09": tmp_path / "9"}
    given = list(in_split(builder, videos, {"train": range(1, 3), "test": (9,)}))
    assert given == [("01", tmp_path / "1", "train"), ("09", tmp_path / "9", "test")]
    assert_reported(builder.skipped, [("/5", "case 5 is in no split of source")])


def test_refused_folders(builder, tmp_path):
    with pytest.raises(BuildError, match="source needs --manual_dir.*Put it there"):
        find(builder, None)
    with pytest.raises(BuildError, match="is not a folder"):
        find(builder, tmp_path / "no")
    with pytest.raises(BuildError, match="no videos in .*Put it there"):
        find(builder, tmp_path)
