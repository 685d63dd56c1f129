"""HeiChole: labels at the native rate of 25 or 50 fps, names in both cases, HD copies."""

from data_builders.common.source.splits import split_by_case
from data_builders.heichole.heichole_dataset_builder import (
    ACTIONS,
    INSTRUMENTS,
    PHASES,
    SHARES,
    SKILL,
    SKILL_FILES,
)
from tests.data_builders.fake_download import (
    assert_frames,
    assert_labels,
    assert_reported,
    built,
    cases,
    small_video,
    write_lines,
)

SECONDS = 3


def phase_of(k):
    return PHASES[0] if k < 31 else PHASES[6]


def slot_of(slot, k):
    return int((k // 10 + slot) % 3 == 0)


def score_of(number, part, k):
    return 1 + (number + 2 * list(SKILL_FILES).index(part) + k) % 5


def make(root, number, fps, lower=False, folder="Videos/Full", rows=None):
    name = f"Hei-Chole{number}"
    stems = {kind: f"{name}_Annotation_{kind}" for kind in ("Phase", "Instrument", "Action")}
    if lower:
        name, stems = name.lower(), {kind: stem.lower() for kind, stem in stems.items()}
    small_video(root / folder / f"{name}.mp4", SECONDS * fps, fps)
    count = range(SECONDS * fps if rows is None else rows)
    tables = {
        "Phase": [f"{k},{PHASES.index(phase_of(k))}" for k in count],
        "Instrument": [",".join(map(str, [k, *(slot_of(s, k) for s in range(21))])) for k in count],
        "Action": [",".join(map(str, [k, *(slot_of(s, k) for s in range(4))])) for k in count],
    }
    for kind, lines in tables.items():
        write_lines(root / f"Annotations/{kind}/{stems[kind]}.csv", lines)
    for part, word in SKILL_FILES.items():
        scores = ",".join(str(score_of(number, part, k)) for k in range(5))
        file = f"{name}{word}_Skill.csv"
        write_lines(root / "Annotations/Skill" / (file.lower() if lower else file), [scores])


def test_labels_and_splits(tmp_path):
    root = tmp_path / "HeiChole"
    make(root, 1, 25)
    make(root, 2, 25, lower=True, folder="Videos/Full_SD")
    make(root, 16, 50)
    make(root, 24, 50, folder="Videos/Full/HD")
    small_video(root / "Videos/Full/HD/Hei-Chole1.mp4", 5, 25)  # a copy: the first one is taken
    small_video(root / "Videos/Skill/Hei-Chole1_Calot.mp4", 5, 25)
    detailed = root / "Annotations/Instrument/Hei-Chole1_Annotation_Instrument_Detailed.csv"
    write_lines(detailed, ["0,0"])
    summary, splits = built("heichole", tmp_path, tmp_path / "data")
    assert not summary.skipped and not summary.partial
    split_of = split_by_case((f"HeiChole{k}" for k in range(1, 25)), SHARES)
    counts = list(split_of.values())
    assert [counts.count(name) for name in ("train", "val", "test")] == [16, 2, 6]
    expected = {}
    for number in (1, 2, 16, 24):
        name = f"HeiChole{number}"
        expected.setdefault(split_of[name], {})[name] = name
    assert cases(splits) == expected
    for name, video in ((n, v) for split in splits.values() for n, v in split.items()):
        fps = 50 if int(name[8:]) >= 16 else 25
        assert_frames(video, SECONDS * fps, fps)
        assert_labels(video, "phase", phase_of)
        assert video.video_labels == {
            f"{part}_{score}": str(score_of(int(name[8:]), part, k))
            for part in SKILL_FILES
            for k, score in enumerate(SKILL)
        }
        tracks = {f"instrument_{k.lower()}": slot for k, slot in INSTRUMENTS.items()}
        tracks |= {f"action_{k}": slot for slot, k in enumerate(ACTIONS)}
        for track, slot in tracks.items():
            track = track.replace(" ", "_").replace("-", "_")
            expected = lambda k, slot=slot: ("absent", "present")[slot_of(slot, k)]  # noqa: E731
            assert_labels(video, track, expected)


def test_faults(tmp_path):
    root = tmp_path / "in"
    make(root, 3, 25, rows=200)
    make(root, 4, 25)
    make(root, 5, 25)
    make(root, 25, 25)
    make(root, 17, 25)
    (root / "Annotations/Action/Hei-Chole4_Annotation_Action.csv").unlink()
    write_lines(root / "Annotations/Phase/Hei-Chole5_Annotation_Phase.csv", ["0,0", "1,7"])
    summary, splits = built("heichole", root, tmp_path / "data")
    ((name, video),) = ((n, v) for split in splits.values() for n, v in split.items())
    assert name == "HeiChole3"
    assert_labels(video, "phase", phase_of)
    ((_, reason),) = summary.partial
    assert reason.count("the labels end at 8.0 s, the video at 3.0 s") == 3
    assert_reported(
        summary.skipped,
        [
            ("Hei-Chole4.mp4", "expected Hei-Chole4_Annotation_Action.csv"),
            ("Hei-Chole5_Annotation_Phase.csv:2", "unknown class '7'"),
            ("Hei-Chole25.mp4", "not one of the public 1 to 24"),
            ("Hei-Chole17.mp4", "runs at 25 frames a second, but its labels count frames at 50"),
        ],
    )


def test_faulty_ratings_cost_only_themselves(tmp_path):
    root = tmp_path / "in"
    make(root, 3, 25)
    skill = root / "Annotations/Skill"
    (skill / "Hei-Chole3_Skill.csv").unlink()
    write_lines(skill / "Hei-Chole3_Calot_Skill.csv", ["4,3,0,1,2"])
    write_lines(skill / "Hei-Chole3_Dissection_Skill.csv", ["4,3,3,1,2", "4,3,3,1,2"])
    summary, splits = built("heichole", root, tmp_path / "data")
    assert set(splits["val"]["HeiChole3"].video_labels.values()) == {None}
    ((where, reason),) = summary.partial
    assert where.endswith("Hei-Chole3.mp4") and reason.count("not labelled") == 3
    assert "has no skill annotation (expected Hei-Chole3_Skill.csv)" in reason
    assert "Hei-Chole3_Calot_Skill.csv:1: unknown class '0'" in reason
    assert "Hei-Chole3_Dissection_Skill.csv:2: is a second line of ratings" in reason
