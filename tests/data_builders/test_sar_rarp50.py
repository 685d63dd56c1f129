"""SAR-RARP50: two-part operations, inclusive intervals, a second label file that may disagree."""

import numpy as np

from data_builders.sar_rarp50.sar_rarp50_dataset_builder import ACTIONS, SCENE
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)
from tests.data_builders.map_files import ids_of, stored, write

FRAMES = 240
SPANS = ((0, 64, 0), (65, 81, 1), (82, 200, 3), (201, 239, 7))


def action_of(frame):
    return next((ACTIONS[c] for start, end, c in SPANS if start <= frame <= end), None)


def make(folder, spans=SPANS, discrete_from=0, frames=FRAMES, fps=60, change=None):
    small_video(folder / "video_left.avi", frames, fps)
    write_lines(folder / "action_continues.txt", [f"{a} {b} {c}" for a, b, c in spans])
    rows = {k: ACTIONS.index(action_of(k)) for k in range(discrete_from, FRAMES, 6)}
    rows |= change or {}
    write_lines(folder / "action_discrete.txt", [f"{k},{c}" for k, c in rows.items()])


def test_labels_cases_and_splits(tmp_path):
    make(tmp_path / "SAR/train1/video_01")
    scene = np.arange(72 * 96, dtype=np.uint8).reshape(72, 96) % len(SCENE)
    for number in (0, 60, 180):
        mask = np.stack([scene] * 3, -1) if number else scene
        write(tmp_path / f"SAR/train1/video_01/segmentation/{number:09d}.png", mask)
    write(tmp_path / "SAR/train1/video_11_1/segmentation/000000120.png", scene + 1)
    write(tmp_path / "SAR/train1/video_11_1/segmentation/000000240.png", scene)
    make(tmp_path / "SAR/train1/video_11_1", discrete_from=120)  # begins late: joined by number
    make(tmp_path / "SAR/train2/video_11_2", change={12: 5})
    make(tmp_path / "SAR/test/video_41")
    summary, splits = built("sar_rarp50", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"video_01": "video_01", "video_11_1": "video_11", "video_11_2": "video_11"},
        "test": {"video_41": "video_41"},
    }
    for video in (splits["train"] | splits["test"]).values():
        assert_frames(video, FRAMES, 60)
        assert_labels(video, "action", action_of)
        assert video.fields["domain"] == "robotic"
    assert not summary.skipped
    record = stored(summary, "train")["video_01"]
    assert list(record["maps"]["scene"]["frames"]) == [0, 8, 24]  # stored at 8 a second
    for k in range(3):
        np.testing.assert_array_equal(ids_of(record, "scene", k), scene)
    assert not len(stored(summary, "train")["video_11_1"]["maps"]["scene"]["frames"])
    assert_reported(
        summary.partial,
        [
            ("video_11_1", "000000240.png: scene map without a frame: the video has 240"),
            (
                "video_11_2",
                "action_discrete.txt:3: disagrees with action_continues.txt about 1 of 40",
            ),
        ],
    )


def test_faults(tmp_path):
    make(tmp_path / "train1/video_01", spans=SPANS[:2])  # ends 2.6 s before the video
    make(tmp_path / "train1/video_02", spans=((0, 64, 0), (64, 80, 1)))
    make(tmp_path / "train1/video_03", spans=((0, 64, 8),))
    make(tmp_path / "train1/video_04", fps=30)
    make(tmp_path / "train1/video_05", frames=12)
    make(tmp_path / "train2/video_05", frames=12)
    make(tmp_path / "train2/video_6", frames=12)
    make(tmp_path / "train2/video_07", spans=((10, 5, 1),), frames=12)
    make(tmp_path / "train2/video_08", frames=12)
    (tmp_path / "train2/video_08/action_continues.txt").unlink()
    (tmp_path / "train2/video_08/video_left (1).avi").write_bytes(b"x")
    summary, splits = built("sar_rarp50", tmp_path, tmp_path / "data")
    assert list(splits["train"]) == ["video_01"]
    assert_labels(splits["train"]["video_01"], "action", lambda k: action_of(k) if k < 82 else None)
    ((_, reason),) = summary.partial
    assert "action_continues.txt:2: the labels end at 1.4 s, the video at 4.0 s" in reason
    twice = ("video_05", "claim the same")
    assert_reported(
        summary.skipped,
        [
            ("video_02/action_continues.txt:2", "overlaps"),
            ("video_03/action_continues.txt:1", "unknown class '8'"),
            ("video_04", "runs at 30 frames a second"),
            *[twice] * 6,
            ("video_6", "does not parse"),
            ("video_left (1).avi", "does not parse"),
            ("video_07/action_continues.txt:1", "ends before it begins"),
            ("video_08/video_left.avi", "expected action_continues.txt"),
        ],
    )
