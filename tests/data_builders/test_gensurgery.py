"""GenSurgery: files as the owner's downloader names them, and folders of pictures."""

import pytest

from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_video import write_images, write_video
from tests.data_builders.sources import build_all, copy_of, skipped, together


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in")
    gap = [n for n in range(1, 64) if n != 30]  # a missing picture shifts nothing
    write_images(root / "frames" / "hernia repair 1", gap, name="frame_{:05d}.png")
    write_images(root / "frames" / "short", range(59))
    return root


def test_pictures_become_videos(download, tmp_path):
    summary, splits = build_all("gensurgery", download, tmp_path)
    assert list(splits) == ["train"] and list(splits["train"]) == ["hernia repair 1"]
    video = splits["train"]["hernia repair 1"]
    assert video.numbers == [n for n in range(1, 64) if n != 30]
    assert video.times == pytest.approx([n - 1 for n in video.numbers])
    assert not video.labels and not video.video_labels
    assert video.fields["domain"] == "laparoscopy"
    assert (video.fields["case_id"], video.fields["native_fps"]) == ("hernia repair 1", 1.0)
    ((path, reason),) = skipped(summary, download).items()
    assert path == "frames/short" and "59 pictures, fewer than 60" in reason


def test_faults_are_listed(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    folder = root / "frames" / "hernia repair 1"
    (folder / "cover.png").write_bytes(b"has no number")
    (folder / "frame_00007.png").write_bytes(b"")
    (folder / "frame_00099.png").symlink_to(download / "frames" / "short" / "000000.png")
    summary, splits = build_all("gensurgery", root, tmp_path / "out")
    assert 7 not in together(splits)["hernia repair 1"].numbers
    assert "first cover.png" in skipped(summary, root)["frames/hernia repair 1"]
    link = "frames/hernia repair 1/frame_00099.png"
    assert skipped(summary, root)[link] == "is a link; not followed"
    assert 0 not in together(splits)["hernia repair 1"].numbers
    ((path, problem),) = summary.partial
    assert path.endswith("hernia repair 1") and "1 unreadable picture(s), first 7.png" in problem
    (folder / "img_00008.png").write_bytes((folder / "frame_00008.png").read_bytes())
    with pytest.raises(BuildError, match=r"img_00008\.png.*is frame 8, as frame_00008\.png is"):
        build_all("gensurgery", root, tmp_path / "out2")


def test_another_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BuildError, match="no videos in"):
        build_all("gensurgery", tmp_path / "in", tmp_path / "out")


def test_files_as_the_downloader_names_them(download, tmp_path):
    """Its name is all after the last slash of the link, the title as YouTube has it, the suffix."""
    root = tmp_path / "in"
    names = {
        "_OCp8V_G8SM": "_OCp8V_G8SM.Lap. chole (Dr. A) - 50% faster!.mp4",
        "-dRMtqVl8J2": "watch?v=-dRMtqVl8J2.Nissen \u29f8 part 2.webm",
        "NqBQYlSV1jQ": "NqBQYlSV1jQ?si=FjhSFpuj-FvyfFAs.Hernia.mkv",
        "abcdefghijk": "abcdefghijk.Unmerged.f137.mp4",
        "ABCDEFGHIJK": "ABCDEFGHIJK.Merged.mp4",
    }
    coded = {".webm": "VP80", ".mkv": "MJPG"}
    for name in names.values():
        path = root / "videos" / name
        write_video(path, 12, fps=4, fourcc=coded.get(path.suffix, "mp4v"))
    write_video(root / "videos" / "watch?v=_OCp8V_G8SM.Another link.mp4", 4, fps=4)
    for name in ("ABCDEFGHIJK.Merged.f137.mp4", "short.mp4", "0hNB8vLQiA4.Half.mp4.part"):
        (root / "videos" / name).write_bytes(b"not looked into")
    (root / "videos" / "_OCp8V_G8SM.Lap. chole.en.vtt").write_text("WEBVTT")
    write_images(root / "frames" / "watch?v=-dRMtqVl8J2.Nissen", range(60), name="{:03d}.png")
    write_images(root / "frames" / "hernia repair 1", range(60), name="{:03d}.png")
    summary, splits = build_all("gensurgery", root, tmp_path / "out")
    videos = splits["train"]
    assert set(videos) == {*names, "hernia repair 1"}
    for name in names:
        assert videos[name].numbers == list(range(12))
        assert (videos[name].fields["case_id"], videos[name].fields["native_fps"]) == (name, 4)
    found = skipped(summary, root)
    assert "does not parse" in found["videos/short.mp4"]
    assert "does not parse" in found["videos/0hNB8vLQiA4.Half.mp4.part"]
    assert "the same video as" in found["frames/watch?v=-dRMtqVl8J2.Nissen"] and len(found) == 3
