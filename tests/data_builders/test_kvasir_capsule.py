"""Kvasir-Capsule: findings of single frames, boxes, two official lists, unlabelled videos."""

import pytest

from data_builders.common.source.splits import split_by_case
from data_builders.kvasir_capsule.kvasir_capsule_dataset_builder import FINDINGS
from surgrec_jax.records.errors import BuildError
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

A, B, C, U = "04a78ef00c5245e0", "3ada4222967f421d", "d626dd8e7a7d4b21", "ffff000011112222"
LABELS = {
    A: {3: "Ileocecal valve", 4: "Ileocecal valve", 9: "Ulcer"},
    B: {0: "Blood - fresh", 59: "Normal clean mucosa"},
    C: {30: "Reduced Mucosal View"},  # spelt as the owner's older lists do
}
NAMES = {"Reduced Mucosal View": "Reduced mucosal view"}
FOLDS = {A: {3: "split_0", 9: "split_1"}, B: {0: "split_1"}, C: {}}
HEADER = "filename;video_id;frame_number;finding_category;finding_class;x1;y1;x2;y2;x3;y3;x4;y4\n"


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "kvasir-capsule"
    for name in LABELS:
        write_video(root / "labelled_videos" / f"{name}.mp4", 60, fps=30, size=(96, 96))
    write_video(root / "unlabelled_videos" / f"{U}.mp4", 20, fps=30, size=(96, 96))
    rows = []
    for name, known in LABELS.items():
        for frame, label in known.items():
            # The owner's writer gives rows without a box one cell less than the header has.
            box = "1;2;30;2;30;40;1;40" if label == "Ulcer" else ";;;;;;"
            rows.append(f"{name}_{frame}.jpg;{name};{frame};Some;{label};{box}\n")
    rows.append(rows[2].replace("1;2;30;2", "5;2;50;2"))  # a second box in one frame
    (root / "metadata.csv").write_text(HEADER + "".join(rows))
    for k in range(2):
        rows = [
            f"{name}_{frame}.jpg,Some older name\n"
            for name, known in FOLDS.items()
            for frame, fold in known.items()
            if fold == f"split_{k}"
        ]
        path = root / "official_splits" / f"split_{k}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("filename,label\n" + "".join(rows))
    return root


def test_findings_sit_on_their_frames(download, tmp_path):
    summary, splits = build_all("kvasir_capsule", download, tmp_path)
    assert not summary.skipped and not summary.partial
    assert list(FINDINGS) == sorted(FINDINGS) and len(FINDINGS) == 14
    videos = together(splits)
    for name, known in LABELS.items():
        assert videos[name].numbers == list(range(60))
        wanted = {frame: NAMES.get(label, label) for frame, label in known.items()}
        assert_labels(videos[name], "finding", wanted.get)
        assert_labels(videos[name], "official_fold", FOLDS[name].get)
        assert videos[name].fields["domain"] == "endoscopy"
        assert videos[name].fields["native_fps"] == 30
    assert list(splits["unlabelled"]) == [U]
    assert_labels(splits["unlabelled"][U], "finding", lambda number: None)
    split_of = dealt(splits)
    del split_of[U]
    assert split_of == split_by_case(LABELS, {"train": 0.7, "val": 0.1, "test": 0.2}, 0)


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    table = root / "metadata.csv"
    text = table.read_text().replace(f"{A}_9.jpg;{A};9;Some;Ulcer;5", f"{A}_9.jpg;{A};9;x;Wart;5")
    text = text.replace(f"{B}_59.jpg", f"{B}_58.jpg")
    table.write_text(text + f"{'0' * 16}_1.jpg;{'0' * 16};1;x;Ulcer;;;;;;;;\n")
    (root / "labelled_videos" / "Capsule.mp4").write_bytes(b"")
    summary, splits = build_all("kvasir_capsule", root, tmp_path / "out")
    assert sorted(together(splits)) == [C, U]
    found = skipped(summary, root)
    assert "unknown class 'Wart'" in found[f"labelled_videos/{A}.mp4 (metadata.csv:8)"]
    assert "is not frame 59" in found[f"labelled_videos/{B}.mp4 (metadata.csv:6)"]
    assert "1 rows name video 0000000000000000" in found["metadata.csv:9"]
    assert "does not parse" in found["labelled_videos/Capsule.mp4"]
    assert len(found) == 4


def test_a_frame_with_two_findings_is_unlabelled_and_told(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    with (root / "metadata.csv").open("a") as table:
        table.write(f"{A}_4.jpg;{A};4;Luminal;Polyp;1;2;30;2;30;40;1;40\n")
        table.write(f"{A}_3.jpg;{A};3;Luminal;Polyp;;;;;;;\n")
        table.write(f"{B}_0.jpg;{B};0;Luminal;Ulcer;;;;;;;\n")
    summary, splits = build_all("kvasir_capsule", root, tmp_path / "out")
    videos = together(splits)
    assert not summary.skipped and sorted(videos) == sorted([*LABELS, U])
    assert_labels(videos[A], "finding", {9: "Ulcer"}.get)
    assert_labels(videos[B], "finding", {59: "Normal clean mucosa"}.get)
    told = {path.rpartition("/")[2]: problem for path, problem in summary.partial}
    assert told == {
        f"{A}.mp4": "2 frame(s) show Ileocecal valve and Polyp at once and are unlabelled: 3, 4",
        f"{B}.mp4": "1 frame(s) show Blood - fresh and Ulcer at once and are unlabelled: 0",
    }


def test_rows_of_a_wrong_length_stop_the_build(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    table = root / "metadata.csv"
    sound = table.read_text()
    for row, cells in ((f"{A}_5.jpg;{A};5;Some;Ulcer;1;2;30;2;30;40;1;40;7", 14), (f"{A}_5", 1)):
        table.write_text(sound + row + "\n")
        with pytest.raises(BuildError, match=rf"metadata\.csv:9: has {cells} cells where 13"):
            build_all("kvasir_capsule", root, tmp_path / "out")


def test_labels_beyond_the_video_and_a_video_without_labels(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    table = root / "metadata.csv"
    lines = [line for line in table.read_text().splitlines(True) if B not in line]
    table.write_text("".join(lines).replace(f"{C}_30.jpg;{C};30", f"{C}_3000.jpg;{C};3000"))
    summary, _ = build_all("kvasir_capsule", root, tmp_path / "out")
    ((where, reason),) = skipped(summary, root).items()
    assert where == f"labelled_videos/{B}.mp4" and "without a row in metadata.csv" in reason
    ((path, problem),) = summary.partial
    assert C in path and "metadata.csv:5: the labels end at 100.0 s, the video at 2.0 s" in problem


def test_broken_tables_stop_the_build(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "official_splits" / "split_0.csv").write_text("filename,label\nframe7.jpg,Ulcer\n")
    with pytest.raises(BuildError, match=r"split_0\.csv:2: 'frame7\.jpg'"):
        build_all("kvasir_capsule", root, tmp_path / "out")
    (root / "metadata.csv").write_text(HEADER.replace(";", ","))
    with pytest.raises(BuildError, match=r"metadata\.csv:1: the header needs"):
        build_all("kvasir_capsule", root, tmp_path / "out")
