"""CholecT50: pictures by the second, vectors of 15 numbers, several to a frame."""

import json

from data_builders.cholect50.classes import (
    CHALLENGE,
    FOLDS,
    INSTRUMENTS,
    PHASES,
    RDV,
    TARGETS,
    VERBS,
)
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    write_lines,
)
from tests.data_builders.fake_video import write_images

SECONDS = 9
NONE = [-1] * 14


def vector(triplet, instrument, verb, target, phase):
    box = [0.1, 0.2, 0.3, 0.4]
    return [triplet, instrument, 1, *box, verb, target, -1, -1, -1, -1, -1, phase]


FRAMES = {
    0: [[*NONE, 0]],
    1: [vector(17, 0, 1, 0, 1)],
    2: [vector(17, 0, 1, 0, 1), vector(60, 2, 2, 0, 1)],
    3: [vector(94, 0, 9, 14, 3)],
    # Nothing is known of second 4.
    5: [[*NONE, 6]],
    6: [vector(99, 5, 6, 6, 6)],
    7: [[*NONE, -1]],
    8: [[*NONE, 6]],
}


def shown(place, number, second):
    if second not in FRAMES:
        return None
    return "present" if any(row[place] == number for row in FRAMES[second]) else "absent"


def phase_of(second):
    phase = FRAMES[second][0][14] if second in FRAMES else -1
    return None if phase < 0 else PHASES[phase]


def make(root, number, frames=FRAMES, **change):
    write_images(root / f"videos/VID{number:02d}", range(SECONDS), name="{:06d}.png")
    data = {"video": number, "fps": 1, "num_frames": SECONDS, "categories": {}}
    data |= {"annotations": {str(k): rows for k, rows in frames.items()}, **change}
    write_lines(root / f"labels/VID{number:02d}.json", [json.dumps(data)])


def test_labels_and_splits(tmp_path):
    root = tmp_path / "CholecT50"
    for number in (1, 5, 8, 111):
        make(root, number)
    write_lines(root / "label_mapping.txt", ["# IVT, I, V, T, IV, IT", "0,0,2,1,2,1"])
    summary, splits = built("cholect50", tmp_path, tmp_path / "data")
    assert cases(splits) == {
        "train": {"VID01": "VID01", "VID05": "VID05"},
        "val": {"VID08": "VID08"},
        "test": {"VID111": "VID111"},
    }
    assert not summary.skipped and not summary.partial
    videos = {name: video for split in splits.values() for name, video in split.items()}
    for video in videos.values():
        assert_frames(video, SECONDS, 1)
        assert_labels(video, "phase", phase_of)
        for part, place, names in (("instrument", 1, INSTRUMENTS), ("verb", 7, VERBS)):
            for k, name in enumerate(names):
                assert_labels(video, f"{part}_{name}", lambda s, p=place, k=k: shown(p, k, s))
        for k, name in enumerate(TARGETS):
            assert_labels(video, f"target_{name}", lambda s, k=k: shown(8, k, s))
        for k in range(100):
            assert_labels(video, f"triplet_{k:03d}", lambda s, k=k: shown(0, k, s))
    labels = {name: tuple(video.video_labels.values()) for name, video in videos.items()}
    assert labels == {
        "VID01": ("train", "5"),
        "VID05": ("val", "2"),
        "VID08": ("train", "3"),
        "VID111": ("test", "1"),
    }


def test_the_split_lists_are_whole():
    videos = frozenset().union(*RDV.values())
    assert [len(RDV[name]) for name in ("train", "val", "test")] == [35, 5, 10]
    assert len(videos) == 50 and CHALLENGE["val"] | CHALLENGE["test"] <= videos
    assert {case for fold in FOLDS for case in fold} == videos and set(map(len, FOLDS)) == {10}


def test_faults(tmp_path):
    root = tmp_path / "in"
    make(root, 2, frames={k: rows for k, rows in FRAMES.items() if k < 5})  # ends 5 s early
    make(root, 4, frames={0: [vector(100, 0, 0, 0, 0)]})
    make(root, 13, frames={0: [[*NONE, 0], [*NONE, 1]]})
    make(root, 15, frames={0: [[0] * 14]})
    make(root, 18, fps=25)
    make(root, 22, frames={})
    make(root, 23)
    make(root, 3)
    (root / "labels/VID23.json").unlink()
    summary, splits = built("cholect50", root, tmp_path / "data")
    assert list(splits["train"]) == ["VID02"]
    assert_labels(splits["train"]["VID02"], "phase", lambda s: phase_of(s) if s < 5 else None)
    assert_reported(
        summary.partial, [("VID02", "VID02.json: the labels end at 4.0 s, the video at 9.0 s")]
    )
    assert_reported(
        summary.skipped,
        [
            ("VID04.json", "triplet 100 is no class"),
            ("VID13.json", "several phases"),
            ("VID15.json", "needs 15 numbers"),
            ("VID18.json", '"fps": 1'),
            ("VID22.json", "has no"),
            ("VID23", "expected labels/VID23.json"),
            ("VID03", "in no split"),
        ],
    )
