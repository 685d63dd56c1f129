"""Cataract-1K phases: intervals in seconds at 59.94 fps, gaps, an empty row, a misspelled class."""

import pytest

from data_builders.common.source.splits import split_by_case
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

FPS = 60000 / 1001
# Case -> rows (class on disk, first frame, end frame); not in order, as on disk.
CASES = {
    "4687": [("Viscoelastic", 60, 80), ("Incision", 12, 36), ("Capsule Pulishing", 36, 36)],
    "5013": [("Capsule Pulishing", 0, 20), ("Anterior_Chamber Flushing", 20, 90)],
    "5063": [("Tonifying/Antibiotics", 33, 34), ("Incision", 2, 30), ("Incision", 50, 70)],
}


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "Cataract-1K" / "Phase_recognition_dataset"
    for case, rows in CASES.items():
        write_video(root / "videos" / f"case_{case}.mp4", 90, fps=FPS, size=(96, 72))
        folder = root / "annotations" / f"case_{case}"
        folder.mkdir(parents=True)
        lines = [f"{case},{c},{a},{b},{a / FPS:.3f},{b / FPS:.3f}\n" for c, a, b in rows]
        (folder / f"case_{case}_annotations_phases.csv").write_text(
            "caseId,comment,frame,endFrame,sec,endSec\n" + "".join(lines)
        )
        # The owner's rate is wrong here and must not be read.
        (folder / f"case_{case}_video.csv").write_text("a,b,c,d,fps\n1,2,3,4,240\n")
    write_video(root.parent / "Pupil_reaction" / "clip_1.mp4", 5, size=(96, 72))  # not this part
    return root.parent


def test_every_frame_has_its_phase(download, tmp_path):
    summary, splits = build_all("cataract1k", download, tmp_path)
    assert not summary.skipped
    ((path, problem),) = summary.partial
    assert path.endswith("case_4687.mp4") and "phases.csv:4: an interval of no length" in problem
    videos = together(splits)
    for case, rows in CASES.items():
        video = videos[f"case_{case}"]
        assert video.numbers == list(range(90))

        def phase_of(number, rows=rows):
            return next((name for name, a, b in rows if a <= number < b), None)

        assert_labels(video, "phase", phase_of)
        assert video.fields["native_fps"] == pytest.approx(FPS, abs=1e-3)
        assert video.fields["domain"] == "cataract"
    fractions = {"train": 0.7, "val": 0.1, "test": 0.2}
    assert dealt(splits) == split_by_case([f"case_{case}" for case in CASES], fractions, 0)


def edit(root, case, old, new):
    path = next(root.rglob(f"case_{case}_annotations_phases.csv"))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    edit(root, "4687", "Incision", "Incison")
    edit(root, "5013", "5013,Anterior", "5063,Anterior")
    next(root.rglob("case_5063_video.csv")).unlink()  # not needed
    part = "Phase_recognition_dataset"
    (root / part / "videos" / "case_9999.mp4").write_bytes(b"a video without phases")
    (root / part / "videos" / "case9.mp4").write_bytes(b"")
    summary, splits = build_all("cataract1k", root, tmp_path / "out")
    assert list(together(splits)) == ["case_5063"]
    found = skipped(summary, root)
    phases = f"{part}/annotations/case_{{0}}/case_{{0}}_annotations_phases.csv"
    where = f"{part}/videos/case_4687.mp4 ({phases.format('4687')}:3)"
    assert "unknown class 'Incison'" in found[where]
    where = f"{part}/videos/case_5013.mp4 ({phases.format('5013')}:3)"
    assert "is of case '5063'" in found[where]
    assert "case_9999_annotations_phases.csv" in found[f"{part}/videos/case_9999.mp4"]
    assert "does not parse" in found[f"{part}/videos/case9.mp4"]
    assert len(found) == 4


def test_overlapping_and_backward_intervals_are_refused(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    edit(root, "5063", f"{50 / FPS:.3f}", f"{10 / FPS:.3f}")
    edit(root, "5013", f"{20 / FPS:.3f},{90 / FPS:.3f}", f"{20 / FPS:.3f},0.1")
    summary, _ = build_all("cataract1k", root, tmp_path / "out")
    reasons = "; ".join(f"{path}: {reason}" for path, reason in skipped(summary, root).items())
    assert "case_5063_annotations_phases.csv:4): 0.167 to 1.168 overlaps 0.033 to 0.5" in reasons
    assert "case_5013_annotations_phases.csv:3): the interval from 0.334 to 0.1 ends" in reasons
