"""cataract-101: starts of phases in frames, lead-in, repeated phases, surgeon and experience."""

import pytest

from data_builders.cataract101.cataract101_dataset_builder import Builder
from data_builders.common.source.splits import split_by_case
from surgrec_jax.records.errors import BuildError
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

PHASES = (  # the owner's phases.csv, once more: number on disk - 1 is the id
    *("Incision", "Viscous agent injection", "Rhexis", "Hydrodissection", "Phacoemulsification"),
    *("Irrigation and aspiration", "Capsule polishing", "Lens implant setting-up"),
    *("Viscous agent removal", "Tonifying and antibiotics"),
)
# Case -> (frames, surgeon, experience, [(start frame, phase number)]); ids have gaps as on disk.
CASES = {
    "269": (60, 1, 2, [(8, 1), (20, 2), (31, 2), (45, 10)]),
    "270": (50, 3, 1, [(0, 5), (49, 1)]),
    "275": (40, 4, 2, [(12, 3)]),
    "931": (30, 2, 1, [(1, 8), (2, 9)]),
}


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "cataract-101"
    for case, (frames, *_) in CASES.items():
        write_video(root / "videos" / f"case_{case}.mp4", frames, size=(96, 72))
    videos = "".join(f"{case};{n};25;{s};{e}\n" for case, (n, s, e, _) in CASES.items())
    (root / "videos.csv").write_text("VideoID;Frames;FPS;Surgeon;Experience\n" + videos)
    rows = [f"{case};{start};{p}\n" for case, known in CASES.items() for start, p in known[3]]
    rows.reverse()  # the order of rows must not matter
    (root / "annotations.csv").write_text("VideoID;FrameNo;Phase\n" + "".join(rows))
    (root / "phases.csv").write_text("Phase;Meaning\n1;Incision\n")
    return root


def test_every_frame_has_its_phase(download, tmp_path):
    summary, splits = build_all("cataract101", download, tmp_path)
    assert not summary.skipped and not summary.partial
    assert Builder.TRACKS["phase"] == PHASES
    videos = together(splits)
    assert sorted(videos) == [f"case_{case}" for case in CASES]
    for case, (frames, surgeon, experience, starts) in CASES.items():
        video = videos[f"case_{case}"]
        assert video.numbers == list(range(frames))

        def phase_of(number, starts=starts):
            begun = [phase for start, phase in starts if start <= number]
            return PHASES[begun[-1] - 1] if begun else None

        assert_labels(video, "phase", phase_of)
        wanted = {"surgeon": str(surgeon), "experience": ("low", "high")[experience - 1]}
        assert video.video_labels == wanted
        assert (video.fields["domain"], video.fields["native_fps"]) == ("cataract", 25.0)
    fractions = {"train": 0.7, "val": 0.1, "test": 0.2}
    assert dealt(splits) == split_by_case([f"case_{case}" for case in CASES], fractions, 0)


def test_faults_are_listed_with_file_and_line(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "videos" / "case_270.mp4").write_bytes(b"")
    (root / "videos" / "case_x.mp4").write_bytes(b"no number")
    (root / "videos" / "case_275.mp4").rename(root / "videos" / "case_276.mp4")
    text = (root / "annotations.csv").read_text()
    (root / "annotations.csv").write_text(text.replace("931;2;9", "931;2;11"))
    summary, splits = build_all("cataract101", root, tmp_path / "out")
    assert list(together(splits)) == ["case_269"]
    found = skipped(summary, root)
    assert "0 bytes" in found["videos/case_270.mp4"]
    assert "does not parse" in found["videos/case_x.mp4"]
    assert "case 275 is annotated, but has no video" in found["annotations.csv:4"]
    assert "no row in videos.csv" in found["videos/case_276.mp4"]
    assert "none of 1 to 10" in found["videos/case_931.mp4 (annotations.csv:2)"]
    assert len(found) == 5


def test_a_missing_table_stops_the_build(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "annotations.csv").unlink()
    with pytest.raises(BuildError, match="annotations.csv"):
        build_all("cataract101", root, tmp_path / "out")


def test_a_copy_at_another_rate_is_refused(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    write_video(root / "videos" / "case_275.mp4", 40, fps=30, size=(96, 72))
    summary, _ = build_all("cataract101", root, tmp_path / "out")
    ((where, reason),) = skipped(summary, root).items()
    assert where == "videos/case_275.mp4" and "runs at 30 frames a second" in reason


def test_a_video_shorter_than_its_table_says_is_reported(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    text = (root / "videos.csv").read_text()
    (root / "videos.csv").write_text(text.replace("931;30;", "931;300;"))
    summary, splits = build_all("cataract101", root, tmp_path / "out")
    ((path, problem),) = summary.partial
    assert "case_931" in path and "videos.csv:5: " in problem and "12.0 s" in problem
    assert together(splits)["case_931"].numbers == list(range(30))


def test_a_start_beyond_the_video_is_refused(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    text = (root / "annotations.csv").read_text()
    (root / "annotations.csv").write_text(text.replace("269;45;10", "269;60;10"))
    summary, _ = build_all("cataract101", root, tmp_path / "out")
    ((where, reason),) = skipped(summary, root).items()
    assert where == "videos/case_269.mp4 (annotations.csv:7)"
    assert "frame 60" in reason and "60 frames" in reason
