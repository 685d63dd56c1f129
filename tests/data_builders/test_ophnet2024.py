"""OphNet2024: whole videos and clips, intervals that overlap, rows that are numbered by clips."""

from data_builders.ophnet2024.ophnet2024_dataset_builder import PHASES
from tests.data_builders.fake_download import (
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)

FPS = 10
# Seconds and ids; the fourth overlaps the third, and half a second has no row.
SPANS = ((0, 1.5, 3), (2, 2.5, 6), (2.5, 4, 0), (3.6, 5, 51))


def table(root, cases_: dict[str, tuple[str, tuple]]) -> None:
    """As the owner has it: a byte-order mark in some copies, and lines that end in CR LF."""
    lines = ["\ufeffvideo_id,start,end,split,surgery_id,phase_id"]
    for case, (split, spans) in cases_.items():
        lines += [f"{case},{start:g},{end:g},{split},5,{phase}" for start, end, phase in spans]
    write_lines(root / "OphNet2024_loca_challenge_phase.csv", lines, end="\r\n")


def phase_at(number: int) -> str | None:
    found = [phase for start, end, phase in SPANS if start <= number / FPS < end]
    return PHASES[found[0]] if len(found) == 1 else None


def test_whole_videos(tmp_path):
    small_video(tmp_path / "in/OphNet2024_all/case_0002.mp4", 50, FPS)
    small_video(tmp_path / "in/OphNet2024_all/case_0007.mp4", 50, FPS)
    small_video(tmp_path / "in/OphNet2024_all/case_0001.mp4", 5, FPS)
    small_video(tmp_path / "in/cut/case_0002/case_0002_0.mp4", 15, FPS)  # it is there whole
    table(tmp_path / "in", {"case_0002": ("train", SPANS), "case_0007": ("test", SPANS)})
    summary, splits = built("ophnet2024", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {
        "train": {"case_0002": "case_0002"}, "test": {"case_0007": "case_0007"}}  # fmt: skip
    for video in (splits["train"]["case_0002"], splits["test"]["case_0007"]):
        assert_labels(video, "phase", phase_at)
        assert set(video.labels["phase"]) == {None, *(PHASES[k] for k in (3, 6, 0, 51))}
    assert not summary.partial
    assert_reported(summary.skipped, [("case_0001", "has no row in OphNet2024_loca_challenge")])


def test_clips(tmp_path):
    for clip, (start, end, _) in enumerate(SPANS):
        frames = round((end - start) * FPS) + 40 * (clip == 2)
        small_video(tmp_path / f"in/case_0012/case_0012_{clip}.mp4", frames, FPS)
    small_video(tmp_path / "in/case_0012/case_0012_4.mp4", 5, FPS)
    table(tmp_path / "in", {"case_0012": ("val", SPANS)})
    summary, splits = built("ophnet2024", tmp_path / "in", tmp_path / "data")
    assert cases(splits) == {"val": {f"case_0012_{k}": "case_0012" for k in range(4)}}
    for clip, (_, _, phase) in enumerate(SPANS):
        labels = splits["val"][f"case_0012_{clip}"].labels["phase"]
        assert set(labels) == {PHASES[phase]}
    told = "csv:4: the labels end at 1.5 s, the video at 5.5 s"
    assert_reported(summary.partial, [("case_0012_2", told)])
    assert_reported(summary.skipped, [("case_0012_4", "is clip 4 of a case of 4 rows")])


def test_faults(tmp_path):
    for case in (1, 2, 3, 4):
        small_video(tmp_path / f"in/case_000{case}.mp4", 10, FPS)
    mixed = [f"case_0003,0,1,{split},5,3" for split in ("train", "test")]
    rows = {"case_0001": ("train", ((0, 9, 3),)), "case_0002": ("train", ((0, 1, 52),))}
    table(tmp_path / "in", rows | {"case_0004": ("all", ((0, 1, 3),))})
    path = tmp_path / "in/OphNet2024_loca_challenge_phase.csv"
    path.write_bytes(path.read_bytes() + "\r\n".join(mixed).encode())
    summary, splits = built("ophnet2024", tmp_path / "in", tmp_path / "data")
    assert list(splits["train"]) == ["case_0001"]
    assert_reported(summary.partial, [("case_0001", "the labels end at 9.0 s, the video at 1.0")])
    assert_reported(
        summary.skipped,
        [
            ("phase.csv:3", "'phase_id' is 52: none of 0 to 51"),
            ("case_0003", "phase.csv:6: has the split 'test', line 5 'train'"),
            ("case_0004", "has the split 'all'"),
        ],
    )
