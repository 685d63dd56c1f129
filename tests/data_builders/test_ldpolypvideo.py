"""LDPolypVideo: pictures with boxes, videos with and without polyps, official test folders."""

import pytest

from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_images, write_video
from tests.data_builders.sources import build_all, copy_of, skipped, together

# Folder -> boxes in the pictures from `first` on.
FOLDERS = {"TrainValid/1": (1, [0, 2, 1, 0, 0, 1]), "TrainValid/9": (0, [0] * 5)}
FOLDERS |= {"Test/101": (1, [1, 1, 0, 1])}
BOXES = ["120 95 233 190", "301 210 360 270"]


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "LDPolypVideo"
    for name, (first, counts) in FOLDERS.items():
        side, folder = name.split("/")
        numbers = range(first, first + len(counts))
        images = root / side / "Images" / folder
        write_images(images, numbers, name=f"{folder}_{{:04d}}.jpg", shown_minus=first)
        for number, count in zip(numbers, counts, strict=True):
            path = root / side / "Annotations" / folder / f"{number:04d}.txt"  # another stem
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join([str(count), *BOXES[:count]]) + "\n")
    for k in range(1, 4):
        for label, folder in enumerate(("videos_without_polyps", "videos_with_polyps")):
            path = root / folder / f"{label}_{k}.avi"
            write_video(path, 10 + k, size=(96, 72), fourcc="XVID")
    return root


def test_polyps_sit_on_their_frames(download, tmp_path):
    summary, splits = build_all("ldpolypvideo", download, tmp_path)
    assert not summary.skipped and not summary.partial
    videos = together(splits)
    for name, (_, counts) in FOLDERS.items():
        video = videos[f"images_{int(name.split('/')[1]):03d}"]
        assert video.numbers == list(range(len(counts)))
        assert video.times == pytest.approx([n / 25 for n in video.numbers], abs=1e-4)

        def polyp(n, counts=counts):
            return "polyps" if counts[n] else "no_polyps"

        assert_labels(video, "polyp", polyp)
        assert video.video_labels == {"polyp": "polyps" if any(counts) else "no_polyps"}
    for k in range(1, 4):
        assert videos[f"0_{k}"].numbers == videos[f"1_{k}"].numbers == list(range(10 + k))
        assert_labels(videos[f"0_{k}"], "polyp", lambda n: "no_polyps")
        assert_labels(videos[f"1_{k}"], "polyp", lambda n: None)
        assert videos[f"0_{k}"].video_labels == {"polyp": "no_polyps"}
        assert videos[f"1_{k}"].video_labels == {"polyp": "polyps"}
    # Test is the owner's; TrainValid and the videos are dealt, those with and without polyps alike.
    assert [v for v in splits["test"] if v.startswith("images")] == ["images_101"]
    for split in ("train", "val", "test"):
        assert sorted(v[0] for v in splits[split] if v[1] == "_") == ["0", "1"]
        assert all(video.fields["case_id"] == name for name, video in splits[split].items())


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    boxes = root / "TrainValid" / "Annotations"
    (boxes / "1" / "0002.txt").write_text("2\n120 95 233 190\n301 210 36O 270\n")  # a letter O
    (boxes / "9" / "0003.txt").unlink()
    (root / "Test" / "Annotations" / "101" / "0004.txt").write_text("2\n1 2 3 4\n")
    (root / "videos_with_polyps" / "0_9.avi").write_bytes(b"on the wrong side")
    (root / "videos_with_polyps" / "polyp.avi").write_bytes(b"no number")
    write_images(root / "TrainValid" / "Images" / "120", range(2))
    write_images(root / "TrainValid" / "Images" / "12", range(2))
    summary, splits = build_all("ldpolypvideo", root, tmp_path / "out")
    found = skipped(summary, root)
    images = "TrainValid/Images"
    where = f"{images}/1 (TrainValid/Annotations/1/0002.txt:3)"
    assert "'301 210 36O 270' is not xmin ymin xmax ymax" in found[where]
    where = "Test/Images/101 (Test/Annotations/101/0004.txt:1)"
    assert "announces 2 boxes and has 1" in found[where]
    assert "belongs in videos_without_polyps" in found["videos_with_polyps/0_9.avi"]
    assert "does not parse" in found["videos_with_polyps/polyp.avi"]
    assert "101 to 160 Test" in found[f"{images}/120"]
    assert "Annotations/N" in found[f"{images}/12"]
    assert len(found) == 6
    ((path, problem),) = summary.partial
    assert path.endswith("Images/9") and "1 pictures have no annotation, first [3]" in problem
    nine = together(splits)["images_009"]
    assert_labels(nine, "polyp", lambda n: None if n == 3 else "no_polyps")


def test_texts_that_count_otherwise_than_pictures_are_refused(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    folder = root / "TrainValid" / "Annotations" / "1"
    (folder / "0006.txt").rename(folder / "0000.txt")  # texts from 0, pictures from 1
    summary, _ = build_all("ldpolypvideo", root, tmp_path / "out")
    ((where, reason),) = skipped(summary, root).items()
    assert "Annotations/1/0000.txt" in where and "no picture 0" in reason
