"""LapGyn4: pictures spread over folders of classes become videos with a label per picture."""

import cv2
import pytest

from data_builders.common.source.splits import split_by_case
from tests.data_builders.contract import assert_labels
from tests.data_builders.fake_video import draw_number
from tests.data_builders.sources import build_all, copy_of, dealt, skipped, together

ACTIONS, ORGANS, BOTH = "Surgical_Actions", "Anatomical_Structures", "Actions_on_Anatomy"
# (case, video) -> part -> frame -> class. Frame numbers have gaps and do not begin at 0.
VIDEOS = {
    (12, 3456): {
        ACTIONS: {78: "Coagulation", 79: "Cutting_HF", 81: "Coagulation"},
        ORGANS: {78: "Uterus", 90: "Colon"},
    },
    (12, 7): {BOTH: {1: "Suturing_Vagina", 2: "Suturing_Other"}},
    (3, 8): {ACTIONS: {100: "Suturing"}, BOTH: {100: "Suturing_Ovary"}},
    (40, 1): {ORGANS: {5: "Liver"}},
}


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "LapGyn4_v1.2"
    for (case, video), parts in VIDEOS.items():
        for part, frames in parts.items():
            for frame, name in frames.items():
                path = root / part / name / f"c_{case}_v_{video}_f_{frame}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), draw_number(frame, (96, 72)))
    (root / "Instrument_Count" / "2").mkdir(parents=True)
    cv2.imwrite(str(root / "Instrument_Count" / "2" / "31.jpg"), draw_number(0, (96, 72)))
    (root / "Readme").write_text("LapGyn4")
    return root


def test_every_picture_has_its_classes(download, tmp_path):
    summary, splits = build_all("lapgyn4", download, tmp_path)
    assert not summary.partial
    ((path, reason),) = skipped(summary, download).items()
    assert path == "Instrument_Count" and "Cholec80" in reason
    videos = together(splits)
    assert len(videos) == len(VIDEOS)
    for (case, number), parts in VIDEOS.items():
        video = videos[f"c_{case}_v_{number}"]
        frames = sorted({frame for known in parts.values() for frame in known})
        assert video.numbers == frames
        assert video.times == pytest.approx([frame - frames[0] for frame in frames])
        for part in (ACTIONS, ORGANS, BOTH):
            assert_labels(video, part.lower(), parts.get(part, {}).get)
        assert (video.fields["case_id"], video.fields["domain"]) == (f"c_{case}", "laparoscopy")
    fractions = {"train": 0.7, "val": 0.1, "test": 0.2}
    assert dealt(splits) == split_by_case(["c_12", "c_3", "c_40"], fractions, 0)


def test_faults_are_listed(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    twin = root / ACTIONS / "Injection" / "c_3_v_8_f_100.jpg"
    twin.parent.mkdir()
    cv2.imwrite(str(twin), draw_number(100, (96, 72)))
    (root / ACTIONS / "Coagulation" / "c_12_v_3456_f_81.jpg").write_bytes(b"")
    (root / ORGANS / "Liver" / "c_40_f_6.jpg").write_bytes(b"names no video")
    odd = root / ORGANS / "Spleen" / "c_40_v_1_f_6.jpg"
    odd.parent.mkdir()
    odd.write_bytes(b"in a folder that is no class")
    (root / "Instrument_Count" / "2" / "31.jpg").unlink()
    (root / "Instrument_Count" / "2").rmdir()
    (root / "Instrument_Count").rmdir()
    summary, splits = build_all("lapgyn4", root, tmp_path / "out")
    found = skipped(summary, root)
    assert "does not parse" in found[f"{ORGANS}/Liver/c_40_f_6.jpg"]
    assert "Spleen is no class" in found[f"{ORGANS}/Spleen/c_40_v_1_f_6.jpg"]
    assert len(found) == 2
    problems = dict(summary.partial)
    assert "c_3_v_8_f_100.jpg lies in several classes of Surgical_A" in problems.pop("c_3_v_8")
    assert "1 unreadable picture(s)" in problems.pop("c_12_v_3456") and not problems
    video = together(splits)["c_3_v_8"]
    assert video.labels["surgical_actions"] == [None]
    assert video.labels["actions_on_anatomy"] == ["Suturing_Ovary"]
    video = together(splits)["c_12_v_3456"]
    assert video.numbers == [78, 79, 90]
    assert_labels(video, "surgical_actions", VIDEOS[12, 3456][ACTIONS].get)
    assert_labels(video, "anatomical_structures", VIDEOS[12, 3456][ORGANS].get)
