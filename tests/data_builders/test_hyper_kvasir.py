"""Hyper-Kvasir videos: folders and a table of findings, three containers, rates and sizes."""

import pytest

from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

LOW, UP = "lower-gi-tract", "upper-gi-tract"
COLITIS = "584f1fa0-9bb9-49d3-b412-c42819d0a200"
# Path -> (fps, size, organ, finding, row of the table after the name; None: it has none).
VIDEOS = {
    f"{LOW}/pathological-findings/ulcerative-colitis/{COLITIS}.avi": (
        *(25, (120, 96), "Lower GI", "lower-ulcerative-colitis"),
        ("Lower GI,Colitis,,,", "Colitis"),
    ),
    f"{LOW}/pathological-findings/polyps/Polypp 5.avi": (
        *(20, (96, 96), "Lower GI", "lower-polyps"),
        ('Lower GI,"Polyps,  large",Paris 1s,,', "Polyps, large"),
    ),
    f"{LOW}/pathological-findings/polyps/polypp 1.avi": (
        *(25, (96, 96), "Lower GI", "lower-polyps"),
        ("Lower GI,,,,", None),
    ),
    f"{LOW}/pathological-findings/polyps/a0.avi": (
        *(30, (128, 96), "Lower GI", "lower-polyps"),
        (None, None),
    ),
    f"{UP}/pathological-findings/polyps/a1.mpg": (
        *(25, (128, 96), "Upper GI", "upper-polyps"),
        ("Upper GI,Colitis,,,", "Colitis"),
    ),
    f"{UP}/anatomical-landmarks/z-line/a2.avi": (
        *(25, (128, 96), "Upper GI", "upper-z-line"),
        ("upper gi ,Z-line,,,", "Z-line"),
    ),
}
HEADER = "Video file,Organ,Finding 1,Classification 1,Finding 2,Classification 2\n"


def stem(path):
    return path.rsplit("/", 1)[1].rsplit(".", 1)[0]


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "labeled-videos"
    for k, (path, (fps, size, *_)) in enumerate(VIDEOS.items()):
        fourcc = "MPG1" if path.endswith(".mpg") else "XVID"
        write_video(root / path, 20 + k, fps=fps, size=size, fourcc=fourcc)
    rows = [f"{stem(path)},{row}\n" for path, (*_, (row, _)) in VIDEOS.items() if row]
    (root / "video-labels.csv").write_text(HEADER + "".join(rows))
    return root


def test_every_video_has_its_findings(download, tmp_path):
    summary, splits = build_all("hyper_kvasir", download, tmp_path)
    assert not summary.skipped
    partial = {path.rsplit("/", 1)[1]: problem for path, problem in summary.partial}
    assert "no row in video-labels.csv" in partial.pop("a0.avi")
    assert not partial
    videos = together(splits)
    assert len(videos) == len(VIDEOS)
    for k, (path, (fps, size, organ, finding, (_, text))) in enumerate(VIDEOS.items()):
        video = videos[stem(path)]
        assert video.numbers == list(range(20 + k))
        wanted = {"organ": organ, "finding": finding, "finding_text": text}
        assert video.video_labels == wanted
        assert video.fields["native_fps"] == pytest.approx(fps)
        assert (video.fields["native_width"], video.fields["native_height"]) == size
        assert (video.fields["case_id"], video.fields["domain"]) == (stem(path), "endoscopy")
    # Each finding is dealt by itself: the three of lower-polyps go to three splits.
    split_of = dealt(splits)
    polyps = [
        split_of[stem(path)] for path in VIDEOS if "lower-gi-tract/pathological-findings/p" in path
    ]
    assert sorted(polyps) == ["test", "train", "val"]


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    table = root / "video-labels.csv"
    text = table.read_text().replace("a1,Upper GI", "a1,Lower GI")
    table.write_text(text.replace("a2,upper gi ", "a2,Throat") + "gone,Upper GI,Ulcer,,,\n")
    twin = root / UP / "anatomical-landmarks" / "pylorus" / f"{COLITIS}.avi"
    write_video(twin, 5, size=(96, 72), fourcc="XVID")
    (root / LOW / "pathological-findings" / "polyps" / "a0.avi").write_bytes(b"")
    (root / "loose.avi").write_bytes(b"lies in no class")
    summary, splits = build_all("hyper_kvasir", root, tmp_path / "out")
    assert sorted(together(splits)) == ["Polypp 5", "polypp 1"]
    found = skipped(summary, root)
    (colitis,) = (reason for path, reason in found.items() if COLITIS in path and "low" in path)
    assert "keep one" in colitis
    assert "which has no video" in found["video-labels.csv:7"]
    (where,) = (path for path, reason in found.items() if "says 'Lower GI'" in reason)
    assert where.endswith("a1.mpg (video-labels.csv:5)")
    (where,) = (path for path, reason in found.items() if "unknown class 'Throat'" in reason)
    assert where.endswith("a2.avi (video-labels.csv:6)")
    assert any("0 bytes" in reason for reason in found.values())
    assert "does not parse" in found["loose.avi"]
    assert "which has no video" in found["video-labels.csv:2"]  # of the two files
    assert len(found) == 8


def test_without_the_table_nothing_is_built(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "video-labels.csv").rename(root / "labels.csv")
    with pytest.raises(BuildError, match="no video-labels.csv"):
        build_all("hyper_kvasir", root, tmp_path / "out")
