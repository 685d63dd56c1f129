"""Cholec80: videos and pictures, per-frame phases, per-second tools, and what can go wrong."""

import pytest

from data_builders.cholec80.cholec80_dataset_builder import PHASES, TOOLS
from data_builders.common.build.build import build
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)
from tests.data_builders.fake_video import write_images

FRAMES = 200
HEADER = "Frame\t" + "\t".join(TOOLS)


def phase_of(frame, first=0):
    return PHASES[first] if frame < 41 else PHASES[3] if frame < 158 else PHASES[6]


def tool_of(tool, frame):
    return "present" if (frame // 25 + TOOLS.index(tool)) % 3 == 0 else "absent"


def annotate(root, name, rows=FRAMES + 1, first=0):
    phases = [f"{k}\t{phase_of(k, first)}" for k in range(rows)]
    write_lines(root / f"phase_annotations/{name}-phase.txt", ["Frame\tPhase", *phases])
    tools = [
        "\t".join([str(k), *(str(int(tool_of(tool, k) == "present")) for tool in TOOLS)])
        for k in range(0, FRAMES, 25)
    ]
    write_lines(root / f"tool_annotations/{name}-tool.txt", [HEADER, *tools])


def test_videos_and_pictures(tmp_path):
    root = tmp_path / "cholec80"
    for name in ("video01", "video40", "video41"):
        small_video(root / f"videos/{name}.mp4", FRAMES, 25)
        write_lines(root / f"videos/{name}-timestamp.txt", ["Time\tPhase", "00:00:00.00\tx"])
        annotate(root, name, first=1 if name == "video40" else 0)  # Preparation is missing there
    write_images(root / "frames/video80", range(1, 9), name="video80_{:06d}.png", shown_minus=1)
    annotate(root, "video80", rows=FRAMES + 2)
    summary, splits = built("cholec80", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"video01": "video01", "video40": "video40"},
        "test": {"video41": "video41", "video80": "video80"},
    }
    assert not summary.skipped and not summary.partial
    for name, video in (splits["train"] | splits["test"]).items():
        step = 25 if name == "video80" else 1  # its pictures are seconds
        assert_frames(video, FRAMES // step, 25 // step)
        first = 1 if name == "video40" else 0
        assert_labels(video, "phase", lambda frame, first=first: phase_of(frame, first), step)
        for tool in TOOLS:
            expected = lambda frame, tool=tool: tool_of(tool, frame)  # noqa: E731
            assert_labels(video, f"tool_{tool.lower()}", expected, step)
        assert video.fields["domain"] == "laparoscopy" and video.fields["source"] == "cholec80"
        assert video.fields["native_fps"] == 25 // step


def test_faults_are_listed_by_file_and_line(tmp_path):
    root = tmp_path / "in"
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 81):
        fps = 5 if number == 8 else 25
        small_video(root / f"videos/video{number:02d}.mp4", 10 if number > 5 else FRAMES, fps)
        annotate(root, f"video{number:02d}")
    phase, tool = root / "phase_annotations", root / "tool_annotations"
    (tool / "video02-tool.txt").unlink()
    with open(phase / "video03-phase.txt", "a") as file:
        file.write("201\tCalotTriangle\n")
    (root / "videos/video04.mp4").write_bytes(b"")
    annotate(root, "video05", rows=FRAMES + 100)  # 4 s longer than the video
    small_video(root / "copy/video06.mp4", 10, 25)
    (root / "videos/video07.mp4").rename(root / "videos/vid7.mp4")
    write_lines(
        tool / "video09-tool.txt", [HEADER, "0\t1\t0\t0\t0\t0\t0\t0", "25\t2\t0\t0\t0\t0\t0\t0"]
    )
    summary, splits = built("cholec80", root, tmp_path / "data")
    assert list(splits) == ["train"] and sorted(splits["train"]) == ["video01", "video05"]
    assert_labels(splits["train"]["video05"], "phase", phase_of)
    assert_reported(
        summary.skipped,
        [
            ("video02.mp4", "expected video02-tool.txt"),
            ("video03-phase.txt:203", "unknown class 'CalotTriangle'"),
            ("video04.mp4", "is empty"),
            ("copy/video06.mp4", "claim the same video 06"),
            ("videos/video06.mp4", "claim the same video 06"),
            ("video06-phase.txt", "belongs to no video"),
            ("video06-tool.txt", "belongs to no video"),
            ("vid7.mp4", "does not parse"),
            ("video07-phase.txt", "belongs to no video"),
            ("video07-tool.txt", "belongs to no video"),
            ("video08.mp4", "runs at 5 frames a second, but its labels count frames at 25"),
            ("video09-tool.txt:3", "unknown class '2'"),
            ("video81.mp4", "is in no split"),
        ],
    )
    ((path, reason),) = summary.partial
    assert "video05.mp4" in path
    assert "video05-phase.txt:301: the labels end at 12.0 s, the video at 8.0 s" in reason


@pytest.mark.parametrize(("make", "message"), [(None, "not a folder"), ("x.txt", "no videos in")])
def test_a_folder_without_videos_is_refused(tmp_path, make, message):
    if make:
        write_lines(tmp_path / "in" / make, ["x"])
    with pytest.raises(BuildError, match=message):
        build("cholec80", data_dir=tmp_path / "d", manual_dir=tmp_path / "in", progress=False)
    with pytest.raises(BuildError, match="needs --manual_dir.*videos/"):
        build("cholec80", data_dir=tmp_path / "d", progress=False)
