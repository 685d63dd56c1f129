"""Cataract-21: a German phase name per frame, with and without a header, official split."""

import pytest

from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, skipped, together

# Case -> (frames of the video, label of each row in runs).
CASES = {
    "training/case_01": (60, [("not_initialized", 9), ("Incision", 11), ("Visco-Absaugung", 40)]),
    "training/case_17": (40, [("Phako", 20), ("not_initialized", 3), ("Antibiotikum", 19)]),
    "validation/case_18": (50, [("Irrigation-Aspiration", 25), ("Tonisieren", 20)]),
}


def labels(runs):
    return [name for name, count in runs for _ in range(count)]


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "cat-21"
    for name, (frames, runs) in CASES.items():
        write_video(root / f"{name}.mp4", frames, size=(96, 72))
        rows = "".join(f"{k},{label}\n" for k, label in enumerate(labels(runs)))
        header = "Frame,Phase\n" if name.endswith("17") else ""
        (root / f"{name}.csv").write_text(header + rows)
    return root


def test_every_frame_has_its_phase(download, tmp_path):
    summary, splits = build_all("cataract21", download, tmp_path)
    assert not summary.skipped and not summary.partial  # two rows more, five fewer: within bounds
    assert {name: sorted(videos) for name, videos in splits.items()} == {
        "train": ["case_01", "case_17"],
        "val": ["case_18"],
    }
    for name, (frames, runs) in CASES.items():
        video = together(splits)[name.split("/")[1]]
        assert video.numbers == list(range(frames))
        known = {k: label for k, label in enumerate(labels(runs)) if label != "not_initialized"}
        assert_labels(video, "phase", known.get)
        assert (video.fields["case_id"], video.fields["domain"]) == (
            video.fields["video_id"],
            "cataract",
        )


def test_other_names_of_the_same_layout(download, tmp_path):
    root = tmp_path / "in" / "all"
    root.mkdir(parents=True)
    for name in CASES:
        side, case = name.split("/")
        for suffix in (".mp4", ".csv"):
            (root / f"{case}_{side}{suffix}").write_bytes((download / (name + suffix)).read_bytes())
    summary, splits = build_all("cataract21", root.parent, tmp_path / "out")
    assert not summary.skipped
    assert sorted(splits["train"]) == ["case_01", "case_17"] and sorted(splits["val"]) == [
        "case_18"
    ]


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    path = root / "training" / "case_01.csv"
    path.write_text(path.read_text().replace("10,Incision", "10,Inzision"))
    (root / "training" / "case_17.csv").unlink()
    (root / "training" / "case_19.mp4").write_bytes(b"on the wrong side")
    (root / "training" / "case_02.mp4").write_bytes(b"one")
    (root / "training" / "case_02_training.mp4").write_bytes(b"another")
    summary, splits = build_all("cataract21", root, tmp_path / "out")
    assert list(together(splits)) == ["case_18"]
    found = skipped(summary, root)
    assert "unknown class 'Inzision'" in found["training/case_01.mp4 (training/case_01.csv:11)"]
    assert "case_17.csv" in found["training/case_17.mp4"]
    assert "18 to 21 the validation" in found["training/case_19.mp4"]
    assert "keep one" in found["training/case_02.mp4"]
    assert "keep one" in found["training/case_02_training.mp4"]
    assert len(found) == 5


def test_two_labels_for_a_frame_and_a_tail_are_reported(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    path = root / "training" / "case_17.csv"
    path.write_text(path.read_text() + "5,Rhexis\n")
    long = "".join(f"{k},Tonisieren\n" for k in range(200))
    (root / "validation" / "case_18.csv").write_text(long)
    summary, _ = build_all("cataract21", root, tmp_path / "out")
    ((where, reason),) = skipped(summary, root).items()
    assert where.endswith("case_17.csv:44)") and "another label than line 7" in reason
    ((path, problem),) = summary.partial
    assert "case_18" in path and "labels end at 8.0 s, the video at 2.0 s" in problem
