"""LapGyn events: clips of four events and their rest, a case on both sides of the split."""

import pytest

from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_video import write_video
from tests.data_builders.sources import build_all, copy_of, skipped, together

CLIPS = {  # path -> the labels that are known of it
    "AbdominalAccess/Train/AbdominalAccess/case_102_AbdominalAccess_0": {
        "event": "AbdominalAccess",
        "abdominal_access": "AbdominalAccess",
    },
    "AbdominalAccess/Train/Rest/case_116_irrelevant_0": {"abdominal_access": "Rest"},
    "Bleeding/Train/Rest/case_110_Irigation_3": {"bleeding": "Rest"},
    "Bleeding/Test/Bleeding/case_77_Bleeding_10": {"event": "Bleeding", "bleeding": "Bleeding"},
    "Coag-Transection/Train/Transection/case_504_Transection_0": {
        "event": "Coag-Transection",
        "coag_transection": "Coag-Transection",
    },
    "Coag-Transection/Test/Rest/case_100_clip100.mp4_0": {"coag_transection": "Rest"},
    "NeedlePassing/Train/NeedlePassing/case_102_NeedlePassing_41": {
        "event": "NeedlePassing",
        "needle_passing": "NeedlePassing",
    },
}
SHARED = "NeedlePassing/Train/Rest/case_77_Knotting_2"  # its case is tested above
NAMES = ("event", "abdominal_access", "bleeding", "coag_transection", "needle_passing")


@pytest.fixture(scope="module")
def download(tmp_path_factory):
    root = tmp_path_factory.mktemp("in") / "LapGyn_dataset"
    for k, name in enumerate([*CLIPS, SHARED]):
        write_video(root / f"{name}.mp4", 6 + k, size=(96, 72))
    return root


def test_clips_have_the_labels_that_are_known(download, tmp_path):
    summary, splits = build_all("lapgyn_events", download, tmp_path)
    assert not summary.partial
    for k, (name, labels) in enumerate(CLIPS.items()):
        video = splits["train" if "/Train/" in name else "test"][name]
        assert video.numbers == list(range(6 + k))
        assert video.video_labels == {key: labels.get(key) for key in NAMES}
        assert video.fields["case_id"] == "_".join(name.split("/")[-1].split("_")[:2])
        assert video.fields["domain"] == "laparoscopy"
    assert SHARED not in together(splits)  # a tested case is not trained on
    ((path, reason),) = skipped(summary, download).items()
    assert path == f"{SHARED}.mp4" and "clips of case_77 in Test as well" in reason


def test_faults_are_listed(download, tmp_path):
    root = copy_of(download, tmp_path / "in")
    (root / "Bleeding" / "Train" / "Rest" / "clip_5.mp4").write_bytes(b"names no case")
    other = root / "Bleeding" / "Train" / "Suction" / "case_110_Suction_1.mp4"
    other.parent.mkdir()
    other.write_bytes(b"in a folder that is no class")
    (root / f"{next(iter(CLIPS))}.mp4").write_bytes(b"")
    summary, _ = build_all("lapgyn_events", root, tmp_path / "out")
    found = skipped(summary, root)
    assert "does not parse" in found["Bleeding/Train/Rest/clip_5.mp4"]
    assert (
        "'Suction'; expected 'Bleeding' or 'Rest'"
        in found["Bleeding/Train/Suction/case_110_Suction_1.mp4"]
    )
    assert "0 bytes" in found[f"{next(iter(CLIPS))}.mp4"]
    assert len(found) == 4


def test_another_folder_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(BuildError, match="lapgyn_events: no videos in"):
        build_all("lapgyn_events", tmp_path / "in", tmp_path / "out")
