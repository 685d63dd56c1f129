"""MultiBypass140: half-open milliseconds, overlays over phases, folds from unloaded pickles."""

import json
import pickle

import pytest

from data_builders.common.build.build import build
from data_builders.multibypass140.classes import PHASES, STEPS
from surgrec_jax.records.errors import BuildError
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
)

FRAMES = 125
PHASE_MS = ((0, 1480, 1), (1480, 3120, 3), (3600, 5000, 7))
STEP_MS = ((0, 360, 6), (360, 2000, 0), (2000, 4400, 45))
OUT_MS = ((1000, 2040), (4000, 5000))


def at(spans, names, frame):
    return next((names[c] for start, end, c in spans if start <= frame * 40 < end), None)


def out_of_body(frame):
    return "present" if any(start <= frame * 40 < end for start, end in OUT_MS) else "absent"


def entry(start, end, name, number):
    return {"start": start, "end": end, "label_name": name, "label_id": number}


def labels():
    phases = [entry(a, b, PHASES[c], c) for a, b, c in PHASE_MS]
    phases += [entry(a, b, "out_of_body", 12) for a, b in OUT_MS]
    steps = [entry(a, b, f"s{c}_{STEPS[c]}", c) for a, b, c in STEP_MS]
    return {"phases": sorted(phases, key=lambda p: p["start"]), "steps": steps}


def make(root, video, change=None):
    centre, folder = (
        ("bern", "BernBypass70") if video[0] == "B" else ("strasbourg", "StrasBypass70")
    )
    small_video(root / f"MultiBypass140/{folder}/videos/{video}.mp4", FRAMES, 25)
    data = labels()
    if change:
        change(data)
    path = root / f"labels/{centre}/labels_by70/{video}.mp4.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1))


class Bomb:
    """Whoever loads its pickle runs code of the pickle's choice."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle was loaded')",)


def fold(root, centre, number, train, val, test, protocol=4):
    for split, videos in (("train", train), ("val", val), ("test", test)):
        name = f"{split}/1fps{'_100' if split == 'train' else ''}_{number}.pickle"
        path = root / f"labels/{centre}/labels_by70_splits/labels" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = {
            v: [{"Frame_id": f"{v}_{k:08d}", "Original_frame_id": k - 1, "Phase_gt": 1}]
            for v in videos
            for k in (5, 6)
        }
        path.write_bytes(pickle.dumps({**rows, "bomb": Bomb()}, protocol=protocol))


@pytest.fixture
def download(tmp_path):
    root = tmp_path / "in"
    for video in ("BBP01", "BBP03", "SBP09", "SBP10"):
        make(root, video)
    fold(root, "bern", 0, ["BBP01"], ["BBP03"], ["BBP02"], protocol=0)
    fold(root, "bern", 1, ["BBP03"], ["BBP02"], ["BBP01"])
    fold(root, "strasbourg", 0, ["SBP01"], ["SBP09"], ["SBP10"], protocol=2)
    return root


def test_labels_folds_and_splits(download, tmp_path):
    summary, splits = built("multibypass140", download, tmp_path / "data")
    assert cases(splits) == {
        "train": {"BBP01": "BBP01"},
        "val": {"BBP03": "BBP03", "SBP09": "SBP09"},
        "test": {"SBP10": "SBP10"},
    }
    assert not summary.skipped and not summary.partial
    videos = {name: video for split in splits.values() for name, video in split.items()}
    for video in videos.values():
        assert_frames(video, FRAMES, 25)
        assert_labels(video, "phase", lambda k: at(PHASE_MS, PHASES, k))
        assert_labels(video, "step", lambda k: at(STEP_MS, STEPS, k))
        assert_labels(video, "out_of_body", out_of_body)
        assert_labels(video, "severe_index", lambda k: "absent")
    unknown = dict.fromkeys(f"fold_{k}" for k in range(2, 5))
    assert videos["BBP01"].video_labels == {
        "centre": "bern",
        "fold_0": "train",
        "fold_1": "test",
        **unknown,
    }
    assert videos["SBP10"].video_labels == {
        "centre": "strasbourg",
        "fold_0": "test",
        "fold_1": None,
        **unknown,
    }


def test_faults(download, tmp_path):
    def rename(data):
        data["phases"][0]["label_name"] = "pouch"

    def renumber(data):
        data["steps"][1]["label_id"] = 4

    def overlap(data):
        data["phases"].append(entry(0, 100, PHASES[0], 0))

    def lengthen(data):
        data["phases"].append(entry(6000, 60000, PHASES[0], 0))

    names = ["BBP11", "BBP12", "BBP13", "BBP14", "BBP15", "BBP16", "BBP17"]
    for name, change in zip(names, (rename, renumber, overlap, lengthen, dict.clear), strict=False):
        make(download, name, change)
    make(download, "BBP16")
    (download / "labels/bern/labels_by70/BBP16.mp4.json").write_text('{"phases": [\n{]')
    make(download, "BBP17")
    (download / "labels/bern/labels_by70/BBP17.mp4.json").unlink()
    make(download, "BBP70")  # stands in no list
    fold(download, "bern", 0, ["BBP01", *names], ["BBP03"], ["BBP02"])
    summary, splits = built("multibypass140", download, tmp_path / "data")
    assert sorted(splits["train"]) == ["BBP01", "BBP14"]
    assert_labels(splits["train"]["BBP14"], "phase", lambda k: at(PHASE_MS, PHASES, k))
    assert_reported(summary.partial, [("BBP14", "the labels end at 60.0 s, the video at 5.0 s")])
    assert_reported(
        summary.skipped,
        [
            ("BBP11.mp4.json", "unknown class 'pouch'"),
            ("BBP12.mp4.json", "steps[1]: 's0_null_step' has label_id 4"),
            ("BBP13.mp4.json", "overlaps"),
            ("BBP15.mp4.json", "no list 'phases'"),
            ("BBP16.mp4.json:2", "is not JSON"),
            ("BBP17.mp4", "expected labels_by70/BBP17.mp4.json"),
            ("BBP70.mp4", "in no list of fold 0"),
        ],
    )


def test_contradictory_or_missing_folds_are_refused(download, tmp_path):
    fold(download, "bern", 3, ["BBP01"], ["BBP01"], ["BBP02"])
    with pytest.raises(BuildError, match="BBP01 stands in train too, in fold 3"):
        build("multibypass140", data_dir=tmp_path / "d", manual_dir=download, progress=False)
    fold(download, "bern", 3, ["BBP01"], ["BBP03"], ["BBP02"])
    lists = download / "labels/strasbourg/labels_by70_splits/labels"
    (lists / "val/1fps_0.pickle").unlink()
    with pytest.raises(BuildError, match="strasbourg/labels_by70_splits.* of fold 0 is missing"):
        build("multibypass140", data_dir=tmp_path / "d", manual_dir=download, progress=False)
