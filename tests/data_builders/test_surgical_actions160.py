"""SurgicalActions160: classes from folders, a seeded split of every class, unknown patients."""

from data_builders.surgical_actions160.surgical_actions160_dataset_builder import ACTIONS
from tests.data_builders.fake_download import (
    assert_frames,
    assert_reported,
    built,
    small_video,
    write_lines,
)


def test_classes_and_splits(tmp_path):
    frames = {}
    for number, name in enumerate(ACTIONS, start=1):
        for clip in range(1, 4 if number > 2 else 11):
            stem = f"{number:02d}_{clip:02d}"
            frames[stem] = 20 + clip
            folder = tmp_path / f"SurgicalActions160/{number:02d}_{name}"
            small_video(folder / f"{stem}.mp4", frames[stem], 25)
    write_lines(tmp_path / "SurgicalActions160/README.txt", ["x"])
    summary, splits = built("surgical_actions160", tmp_path, tmp_path / "data")
    assert not summary.skipped and not summary.partial
    counts = {split: [0] * 16 for split in splits}
    seen = set()
    for split, videos in splits.items():
        for stem, video in videos.items():
            assert_frames(video, frames[stem], 25)
            number = int(stem[:2])
            assert video.video_labels == {"action": ACTIONS[number - 1]}
            assert video.fields["case_id"] == f"clip_{stem}" and not video.labels
            counts[split][number - 1] += 1
            seen.add(stem)
    assert seen == set(frames)
    assert counts["train"][:2] == [7, 7] and counts["val"][:2] == [1, 1]
    assert counts["test"][:2] == [2, 2] and min(map(min, counts.values())) == 1


def test_faults(tmp_path):
    root = tmp_path / "in"
    small_video(root / "01_abdominal_access/01_01.mp4", 20, 25)
    small_video(root / "02_cutting/02_01.mp4", 5, 25)
    small_video(root / "03_cutting/04_01.mp4", 5, 25)
    small_video(root / "03_cutting/clip.mp4", 5, 25)
    write_lines(root / "04_blunt_dissection/04_01.mp4", [])
    small_video(root / "copy/01_abdominal_access/01_02.mp4", 5, 25)
    (root / "01_abdominal_access/01_03.mp4").symlink_to(tmp_path / "elsewhere.mp4")
    small_video(tmp_path / "elsewhere.mp4", 5, 25)
    summary, splits = built("surgical_actions160", root, tmp_path / "data")
    assert sorted(name for videos in splits.values() for name in videos) == ["01_01", "01_02"]
    assert_reported(
        summary.skipped,
        [
            ("02_cutting/02_01.mp4", "02_cutting is not one of the 16 folders"),
            ("03_cutting/04_01.mp4", "a clip of another class"),
            ("03_cutting/clip.mp4", "does not parse"),
            ("04_01.mp4", "is empty"),
            ("01_03.mp4", "leads out of the folder"),
        ],
    )
