"""`check` finds what is missing, unreadable or contradictory in a download, and says what to do."""

import json

import pytest

from data_builders.common.commands.check import check
from data_builders.common.commands.cli import main
from data_builders.common.source.registry import builder_class
from tests.data_builders.fake_video import truncate, write_images, write_video

PHASES = ("Preparation", "CalotTriangleDissection")
TOOLS = "Frame\tGrasper\tBipolar\tHook\tScissors\tClipper\tIrrigator\tSpecimenBag\n"


def add_case(root, number, frames=100, rows=None, fps=25):
    """A case of Cholec80: its video, 25k + 1 phase rows and k tool rows."""
    write_video(root / "videos" / f"video{number:02d}.mp4", frames, fps=fps, size=(64, 48))
    add_annotations(root, number, frames if rows is None else rows)


def add_annotations(root, number, rows):
    for kind in ("phase", "tool"):
        (root / f"{kind}_annotations").mkdir(exist_ok=True)
    phases = "".join(f"{k}\t{PHASES[k >= rows // 2]}\n" for k in range(rows + 1))
    tools = "".join(f"{k}\t1\t0\t0\t0\t0\t0\t0\n" for k in range(0, rows, 25))
    path = root / "phase_annotations" / f"video{number:02d}-phase.txt"
    path.write_text(f"Frame\tPhase\n{phases}")
    (root / "tool_annotations" / f"video{number:02d}-tool.txt").write_text(TOOLS + tools)


def checked(root, tmp_path, **kwargs):
    return check(builder_class("cholec80")(data_dir=tmp_path, manual_dir=root), **kwargs)


def found(report, root):
    return [(k, path.replace(f"{root}/", ""), why) for k, path, why in report.findings]


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "cholec80"
    for number in (1, 2, 41):
        add_case(root, number)
    return root


def test_a_sound_download(root, tmp_path, capsys):
    for decode in (False, True):
        report = checked(root, tmp_path, decode=decode)
        assert report.findings == []
        assert {s: counts[:2] for s, counts in report.splits.items()} == {
            "train": (2, 2),
            "test": (1, 1),
        }
        size = sum((root / "videos" / f"video0{k}.mp4").stat().st_size for k in (1, 2))
        assert report.splits["train"][2] == size
        assert report.rates == {"25": 3} and report.sizes == {"64x48": 3}
        assert report.seconds == pytest.approx(12)
        assert len(report.labels["phase"]) == 5 and "Preparation" not in report.labels["phase"]
        assert report.labels["tool_grasper"] == ["absent"] and not report.to_mend(strict=True)
    json_file = tmp_path / "report.json"
    arguments = ["check", "cholec80", "--manual_dir", str(root), "--json", str(json_file)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "ready to build." in out and "--decode reads every frame" in out
    assert json.loads(json_file.read_text())["rates"] == {"25": 3}
    assert sorted(path.name for path in root.iterdir()) == [  # nothing was written
        "phase_annotations",
        "tool_annotations",
        "videos",
    ]


def test_everything_that_can_be_wrong(root, tmp_path, capsys):
    (root / "videos" / "video02.mp4").write_bytes(b"")
    (root / "tool_annotations" / "video41-tool.txt").unlink()
    add_case(root, 3, frames=100, rows=300)  # 12 s of labels on 4 s of video
    add_case(root, 4, fps=30)
    add_case(root, 5)
    path = root / "phase_annotations" / "video05-phase.txt"
    path.write_text(path.read_text().replace("7\tPreparation", "7\tPreperation", 1))
    add_annotations(root, 6, 100)  # without a video
    write_video(root / "videos" / "video81.mp4", 10, size=(64, 48))
    (root / "videos" / "endoscopy.mp4").write_bytes(b"x")
    report = checked(root, tmp_path)
    everything = found(report, root)
    by_kind = {}
    for kind, path, why in everything:
        by_kind.setdefault(kind, []).append((path, why))
    assert by_kind["unreadable"] == [("videos/video02.mp4", "is empty (0 bytes)")]
    ((path, why),) = by_kind["missing"]
    assert path == "videos/video41.mp4" and "video41-tool.txt" in why
    contradictory = [why for _, why in by_kind["contradictory"]]
    assert len(contradictory) == 2  # phases and tools
    assert all("labels end at 12.0 s, the video at 4.0 s" in why for why in contradictory)
    (rate, name) = sorted(by_kind["annotation"])[::-1]
    assert rate[0] == "videos/video04.mp4" and "runs at 30 frames a second" in rate[1]
    assert name[0] == "phase_annotations/video05-phase.txt:9" and "Preperation" in name[1]
    passed = [path for path, _ in by_kind["passed over"]]
    assert passed == [
        "phase_annotations/video06-phase.txt",
        "tool_annotations/video06-tool.txt",
        "videos/endoscopy.mp4",
        "videos/video81.mp4",
    ]
    assert report.to_mend() == 6 and report.to_mend(strict=True) == 10
    assert main(["check", "cholec80", "--manual_dir", str(root)]) == 1
    out = capsys.readouterr().out
    assert "-> download the file again" in out and "6 to mend, 4 passed over." in out


def test_damage_inside_is_found_by_decoding(root, tmp_path):
    add_case(root, 7, frames=100)
    path = root / "videos" / "video07.avi"
    write_video(path, 100, size=(64, 48), fourcc="MJPG")
    truncate(path, 0.5).rename(root / "videos" / "video07.mp4")
    report = checked(root, tmp_path, decode=True)
    kinds = [(kind, path) for kind, path, _ in found(report, root)]
    assert kinds[0] == ("damaged", "videos/video07.mp4")
    assert {kind for kind, _ in kinds[1:]} == {"contradictory"}  # labels beyond what is left
    assert report.seconds < 12 + 4


def test_strict_counts_what_is_passed_over(root, capsys):
    (root / "videos" / "endoscopy.mp4").write_bytes(b"x")
    assert main(["check", "cholec80", "--manual_dir", str(root)]) == 0
    assert main(["check", "cholec80", "--manual_dir", str(root), "--strict"]) == 1
    assert "ready to build, 1 passed over." in capsys.readouterr().out


def test_pictures(root, tmp_path):
    folder = root / "frames" / "video10"
    write_images(folder, [1, 2, 4], name="video10_{:06d}.png", shown_minus=1)
    add_annotations(root, 10, 100)
    (folder / "video10_000003.png").write_bytes(b"")
    report = checked(root, tmp_path)
    assert found(report, root) == [
        ("damaged", "frames/video10/video10_000003.png", "is empty (0 bytes)")
    ]
    (folder / "video10_000003.png").rename(folder / "video10_000000.png")  # the first one
    kinds = [kind for kind, _, _ in checked(root, tmp_path).findings]
    assert kinds == ["damaged", "note"]
    (folder / "video10_000000.png").unlink()
    ((kind, _, why),) = checked(root, tmp_path).findings
    assert kind == "note" and why.startswith("1 numbers are missing")


def test_other_folders_and_sources(tmp_path, capsys):
    assert main(["check", "cholec80", "--manual_dir", str(tmp_path)]) == 1
    assert "no videos in" in capsys.readouterr().err
    assert main(["check", "cholec80"]) == 1
    assert "needs --manual_dir" in capsys.readouterr().err
    assert main(["check", "cholec81", "--manual_dir", str(tmp_path)]) == 1
    assert "did you mean cholec80" in capsys.readouterr().err
    assert main(["check", "cholec80", "--config", "huge", "--manual_dir", str(tmp_path)]) == 1
    assert "no configuration 'huge'; there are default" in capsys.readouterr().err
    # A source's own options are known to check as to build.
    write_video(tmp_path / "mine" / "a" / "x.mp4", 8, fps=8)
    write_video(tmp_path / "mine" / "b" / "y.mp4", 9, fps=8)
    mine = ["check", "video_folder", "--manual_dir", str(tmp_path / "mine")]
    assert main([*mine, "--class_from", "subfolder", "--split", "none"]) == 0
    out = capsys.readouterr().out
    assert "train           2 videos      2 cases" in out and "frame rates: 8 (2)" in out
