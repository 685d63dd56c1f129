"""The audit finds every fault of the published split files."""

import contextlib
import io
import json

import pytest

from data_builders.common.commands.cli import main
from surgrec_jax.audit import published_scores, rules, surgrec_v1
from tests.audit.fake_splits import write_folder, write_release


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def audited(release, tmp_path_factory):
    """What the audit of a whole release writes and prints."""
    path, printed = tmp_path_factory.mktemp("out") / "audit.json", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert main(["audit", "--splits_dir", str(release), "--json", str(path)]) == 0
    return json.loads(path.read_text()), printed.getvalue()


@pytest.fixture(scope="module")
def report(audited):
    return audited[0]


# The table of faults that the audit counts in the real files: rows, cases, val is test, cases of
# train that are in test, percent of the majority class of test.
# fmt: off
COUNTED = {
    "AlxSuture": ((220, 48, 46), (110, 24, 23), False, 0, 41.30),
    "AutoLaparo": ((77, 26, 62), (10, 4, 7), False, 0, 20.97),
    "cat-21": ((213, 51, 51), (17, 4, 4), True, 0, 15.69),
    "cataract-101": ((889, 248, 128), (71, 20, 10), False, 0, 19.53),
    "cataract-1k-phase": ((651, 178, 101), (39, 11, 6), False, 0, 11.88),
    "cholec80": ((270, 273, 273), (40, 40, 40), True, 0, 14.65),
    "Colonoscopic-web": ((106, 31, 15), (73, 31, 15), False, 12, 53.33),
    "hyper-kvasir": ((653, 654, 654), (100, 101, 101), True, 93, 25.23),
    "JIGSAWS": ((1710, 1686, 1686), (8, 8, 8), True, 8, 15.54),
    "kvasir-capsule": ((329, 82, 82), (35, 19, 19), True, 18, 34.15),
    "LapGyn_dataset": ((8659, 2074, 2074), (153, 37, 37), True, 7, 62.68),
    "LDPolyVideo": ((1440, 1440, 1440), (153, 159, 159), True, 104, 90.35),
    "M2CAI16-Workflow": ((241, 113, 113), (27, 14, 14), True, 0, 12.39),
    "MultiBypass140": ((1031, 223, 448), (57, 11, 22), False, 0, 34.60),
    "SAR-RARP50": ((1773, 439, 439), (40, 10, 10), True, 0, 25.97),
    "SurgicalActions160": ((112, 32, 16), None, False, None, 6.25),
}
# fmt: on
# Where the commonest class of train is another one: the percent of test that it is.
TRAIN_SAYS = {"AlxSuture": 39.13, "AutoLaparo": 19.35, "cataract-1k-phase": 10.89}


@pytest.mark.parametrize("folder", sorted(COUNTED))
def test_every_row_of_the_published_files(report, folder):
    rows, cases, same, shared, majority = COUNTED[folder]
    (fact,) = [fact for fact in report["data_sets"] if fact["name"] == folder]
    assert tuple(fact["rows"][s] for s in surgrec_v1.SPLITS) == rows
    assert fact["val_equals_test"] is same
    label = fact["labels"]["label"]
    assert round(label["test_majority_rate"], 2) == majority
    assert round(label["test_rate"], 2) == TRAIN_SAYS.get(folder, majority)
    assert label["test_size"] == rows[2]
    if cases is None:
        assert fact["shared"] == {} and set(fact["cases"].values()) == {None}
    else:
        assert tuple(fact["cases"][s] for s in surgrec_v1.SPLITS) == cases
        assert len(fact["shared"]["train/test"]) == shared


def test_findings_of_the_published_files(report):
    assert len(report["data_sets"]) == 16
    found = {(f["name"], f["rule"], f["text"]): f["count"] for f in report["findings"]}
    by_rule = {}
    for (name, rule, _), count in found.items():
        by_rule.setdefault(rule, {}).setdefault(name, []).append(count)
    assert set(by_rule["val_equals_test"]) == {n for n, row in COUNTED.items() if row[2]}
    assert set(by_rule["shared_cases"]) == {n for n, row in COUNTED.items() if row[3]}
    lesions = ("Colonoscopic-web", "shared_cases", "43 of 76 cases stand in more than one split")
    assert found[lesions] == 43
    text = "93 of 101 cases of test are also in train"
    assert found["hyper-kvasir", "shared_cases", text] == 93
    assert found["kvasir-capsule", "shared_cases", "18 of 19 cases of test are also in train"] == 18
    assert found["LapGyn_dataset", "shared_cases", "7 of 37 cases of test are also in train"] == 7
    # Of JIGSAWS the trials are apart and the surgeons are not.
    assert "JIGSAWS" not in by_rule.get("shared_recordings", {})
    assert found["JIGSAWS", "shared_cases", "8 of 8 cases of test are also in train"] == 8
    assert by_rule["two_views"] == {"JIGSAWS": [843]}
    text = "labels are positions in the video: 16 of 80 cases lack the last ones"
    assert found["cholec80", "ordinal_labels", text] == 16
    assert by_rule["negative_clips"] == {"LapGyn_dataset": [4330 + 1037]}
    assert by_rule["no_class"]["M2CAI16-Workflow"] == [41]
    assert len(by_rule["no_class"]["MultiBypass140"]) == 2  # two overlays
    assert set(by_rule["no_class"]) == {"M2CAI16-Workflow", "MultiBypass140", "cat-21"}
    text = "90 of the owner's 140 cases are there (68 BBP, 22 SBP)"
    assert found["MultiBypass140", "missing_cases", text] == 50
    assert set(by_rule["misnamed"]) == {"LapGyn_dataset"}
    text = "41 of 354 clips have the label 'Phase': the header word of the annotation files"
    assert found["M2CAI16-Workflow", "no_class", text] == 41
    assert set(by_rule["unknown_cases"]) == {"SurgicalActions160"}
    eyes = {"cataract-101", "cataract-1k-phase", "cat-21"}
    bowels = {"hyper-kvasir", "LDPolyVideo", "Colonoscopic-web"}
    assert set(by_rule["unknown_patients"]) == eyes | bowels
    small = {name: [row[0][2]] for name, row in COUNTED.items() if row[0][2] < 100}
    assert by_rule["small_test"] == small and small["Colonoscopic-web"] == [15]
    assert "duplicate_rows" not in by_rule and "missing_splits" not in by_rule
    text = "may share patients: Cholec80 extends its Strasbourg part; no map is published"
    assert ("cholec80 + M2CAI16-Workflow", "overlap", text) in found


def test_published_scores_that_a_constant_answer_reaches(report):
    trivial = {
        f["name"]: (f["text"].partition(":")[0], f["count"])
        for f in report["findings"]
        if f["rule"] == "trivial_scores"
    }
    assert trivial["AutoLaparo"] == ("DINOv3-SurgeNetXL, VideoMAE", 2)  # train's class, not test's
    assert trivial["cholec80"] == ("VideoMAE", 1)
    counts = {name: count for name, (_, count) in trivial.items()}
    assert counts == {
        "AlxSuture": 5,
        "AutoLaparo": 2,
        "cat-21": 7,
        "cataract-101": 2,
        "cholec80": 1,
        "Colonoscopic-web": 6,
        "LapGyn_dataset": 2,
        "LDPolyVideo": 5,
        "M2CAI16-Workflow": 1,
        "SAR-RARP50": 1,
        "SurgicalActions160": 4,
    }
    assert set(published_scores.SCORES) == set(COUNTED)


def test_means_of_a_whole_release(audited, tmp_path, capsys):
    out = audited[1]
    (line,) = [line for line in out.splitlines() if line.startswith("mean of the 16")]
    assert line.split()[-2:] == ["29.98", "30.28"]
    assert "36 of the 112 published scores equal the majority of train, to the last digit" in out
    (line,) = [line for line in out.splitlines() if line.startswith("the paper's means")]
    # As the paper's own last row has them.
    assert line.partition(": ")[2] == (
        "DINOv3 32.56, DINOv3-SurgeNetXL 33.87, VideoMAE 28.25, SurgRec-MAE without balancing "
        "35.92, V-JEPA 34.02, SurgRec-MAE 45.28, SurgRec-JEPA 39.11"
    )
    write_folder(tmp_path, "AutoLaparo", {"train": [("label_01_1.mp4", 0)]})
    assert main(["audit", "--splits_dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "mean of" not in out and "published scores" not in out


def test_majority_is_that_of_train(tmp_path):
    """Train says class 1 (3 of 5), test has it twice in 8; the commonest of test is class 2."""
    labels = {"train": [0, 1, 1, 1, 2], "val": [0], "test": [1, 1, 2, 2, 2, 2, 0, 5]}
    splits = {
        split: [(f"label_{10 * k + j:02d}_1.mp4", y) for j, y in enumerate(ids)]
        for k, (split, ids) in enumerate(labels.items())
    }
    write_folder(tmp_path, "AutoLaparo", splits)
    data = rules.from_split_files("AutoLaparo", surgrec_v1.find_folders(tmp_path)["AutoLaparo"])
    label = rules.majority(data, "label")
    assert (label["train_majority"], label["test_rate"]) == (1, 25.0)
    assert (label["test_majority"], label["test_majority_rate"]) == (2, 50.0)
    assert label["train_majority_name"] == "Dividing Ligament and Peritoneum"
    assert label["train_tied"] == 1 and label["unseen"] == [5]
    found = {f.rule: f for f in rules.findings(data, rules.facts(data))}
    assert found["unseen_classes"].text == "label: test has classes 5"
    assert found["missing_cases"].count == 21 - 14


def test_duplicates_missing_splits_and_unknown_folders(tmp_path, capsys):
    write_folder(tmp_path, "SAR-RARP50", {"train": [("a.mp4", 0), ("a.mp4", 0), ("b.mp4", 1)]})
    write_folder(tmp_path, "elsewhere", {"train": [("a.mp4", 0)], "test": [("b.mp4", 0)]})
    arguments = ["audit", "--splits_dir", str(tmp_path)]
    assert main([*arguments, "--fail_on", "val_equals_test"]) == 0
    assert main([*arguments, "--fail_on", "duplicate_rows,missing_splits"]) == 1
    out = capsys.readouterr().out
    assert "broken: duplicate_rows, missing_splits" in out
    assert "1 rows of train stand there more than once" in out
    assert "the test split is missing or empty" in out
    assert "the cases of 3 clips are unknown" in out
    assert main(["audit", "elsewhere", "--splits_dir", str(tmp_path), "--fail_on", "all"]) == 1
    assert main([*arguments, "--fail_on", "shared_case"]) == 1
    assert "'shared_case' is no rule; choose from shared_cases" in capsys.readouterr().err
    assert main(["audit", "nowhere", "--splits_dir", str(tmp_path)]) == 1
    assert "there is no folder 'nowhere'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("__DATA_ROOT__/a.mp4", "is not `__DATA_ROOT__/PATH LABEL`"),
        ("/data/a.mp4 1", "is not `__DATA_ROOT__/PATH LABEL`"),
        ("__DATA_ROOT__/a.mp4 -1", "is not `__DATA_ROOT__/PATH LABEL`"),
        ("__DATA_ROOT__/../a.mp4 1", "leaves the clips folder"),
        ("__DATA_ROOT__//etc/passwd 1", "leaves the clips folder"),
    ],
)
def test_bad_rows_are_named(tmp_path, capsys, line, reason):
    folder = tmp_path / "AutoLaparo"
    folder.mkdir()
    (folder / "train.csv").write_text(f"__DATA_ROOT__/label_01_1.mp4 0\n{line}\n")
    assert main(["audit", "--splits_dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "train.csv:2: " in error and reason in error
