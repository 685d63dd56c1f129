"""Colonoscopic: three classes of lesions, each lesion in two lights, both in one split."""

import pytest

from data_builders.common.source.splits import split_by_case
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, skipped, together

CLASSES = {"Adenoma": "Adenoma", "Hyperplasic": "Hyperplasic", "Serrated": "Serrated"}
LESIONS = {  # lesion -> class
    f"{name.lower()}_{k:02d}": name for name in CLASSES for k in (1, 2, 7)
}


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "colonoscopy_dataset"
    for case, name in LESIONS.items():
        for k, light in enumerate(("NBI", "WL")):
            path = root / name / case / "videos" / f"{light}.mp4"
            write_video(path, 8 + k, size=(96, 72))
        (root / name / case / "calibration.xml").write_text("<x/>")
    return root


def test_both_lights_of_a_lesion_stay_together(download, tmp_path):
    summary, splits = build_all("colonoscopic", download, tmp_path)
    assert not summary.skipped and not summary.partial
    videos = together(splits)
    assert len(videos) == 2 * len(LESIONS)
    for case, name in LESIONS.items():
        for k, light in enumerate(("NBI", "WL")):
            video = videos[f"{case}_{light}"]
            assert video.numbers == list(range(8 + k))
            assert video.video_labels == {"lesion": name, "light": light}
            assert (video.fields["case_id"], video.fields["domain"]) == (case, "endoscopy")
    for name in CLASSES:  # every class is dealt by itself
        cases = [case for case in LESIONS if LESIONS[case] == name]
        split_of = split_by_case(cases, {"train": 0.7, "val": 0.1, "test": 0.2}, 0)
        assert sorted(split_of.values()) == ["test", "train", "val"]
        for case, split in split_of.items():
            assert {f"{case}_NBI", f"{case}_WL"} <= splits[split].keys()


def test_faults_are_listed(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "Adenoma" / "adenoma_01" / "videos" / "WL.mp4").write_bytes(b"")
    (root / "Serrated" / "serrated_01").rename(root / "Serrated" / "hyperplasic_21")
    (root / "Adenoma" / "NBI(3).mp4").write_bytes(b"as browsers name a second download")
    summary, splits = build_all("colonoscopic", root, tmp_path / "out")
    found = skipped(summary, root)
    assert "0 bytes" in found["Adenoma/adenoma_01/videos/WL.mp4"]
    for light in ("NBI", "WL"):
        assert "which class is it?" in found[f"Serrated/hyperplasic_21/videos/{light}.mp4"]
    assert "does not parse" in found["Adenoma/NBI(3).mp4"]
    assert len(found) == 4
    assert "adenoma_01_NBI" in together(splits) and "adenoma_01_WL" not in together(splits)
