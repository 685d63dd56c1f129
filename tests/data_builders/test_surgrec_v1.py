"""The published clips, labels and splits come out exactly as they stand in the split files."""

import re

import pytest
import tensorflow_datasets as tfds

from data_builders.common.commands.cli import main
from data_builders.common.source.registry import builder_class
from surgrec_jax.audit import surgrec_v1
from surgrec_jax.records.prepared import read_videos
from surgrec_jax.records.schema import DOMAINS
from tests.audit.fake_splits import write_folder, write_release
from tests.data_builders.fake_video import read_number, write_video

# val is test, a case in train and test, a label by position: the file's own faults.
ROWS = {
    "train": [("cholec80_01_1.mp4", 0), ("cholec80_01_2.mp4", 1), ("cholec80_41_3.mp4", 2)],
    "test": [("cholec80_41_1.mp4", 0), ("cholec80_41_2.mp4", 1)],
}
ROWS["val"] = ROWS["test"]


def build_it(root, *more, name="cholec80", command="build"):
    paths = ["--splits_dir", root / "splits", "--manual_dir", root / "clips"]
    if command == "build":
        paths += ["--data_dir", root / "data", "--workers", "1"]
    arguments = [command, name, "--config", "surgrec_v1", *more, *paths]
    return main([str(argument) for argument in arguments])


def stored(root, name="cholec80"):
    directory = root / "data" / name / "surgrec_v1" / "1.0.0"
    return {
        split: [
            (video.video_id, video.case_id, dict(video.labels["label"]))
            for video in videos.values()
        ]
        for split, videos in read_videos(directory).items()
    }


def test_clips_labels_and_splits_as_published(tmp_path, capsys):
    write_folder(tmp_path / "splits", "cholec80", ROWS)
    for start, (name, _) in enumerate(ROWS["train"] + ROWS["test"]):
        frames = 12 + start
        write_video(tmp_path / "clips" / "cholec80" / name, frames, fps=8)
    assert build_it(tmp_path) == 0
    out = capsys.readouterr().out
    assert "kept as published:" in out
    assert "val_equals_test: val and test are the same 2 clips" in out
    assert "shared_cases: 1 of 1 cases of test are also in train" in out
    found = stored(tmp_path)
    for split, rows in ROWS.items():
        assert found[split] == [
            (f"cholec80/{name}", name[9:11], {label: 1}) for name, label in rows
        ]
    directory = tmp_path / "data" / "cholec80" / "surgrec_v1" / "1.0.0"
    builder = tfds.builder_from_directory(directory)
    assert builder.info.features["video_labels"]["label"].names == [
        f"position_{k}" for k in range(1, 8)
    ]
    record = builder.as_data_source("test")[1]
    assert DOMAINS[record["domain"]] == "laparoscopy" and record["source"] == b"cholec80"
    assert [read_number(picture) for picture in record["frames"]] == list(range(16))
    # The data set that was built is audited like the files it was built from.
    capsys.readouterr()
    arguments = ["audit", "--data_dir", str(tmp_path / "data")]
    assert main([*arguments, "--fail_on", "val_equals_test,shared_cases"]) == 1
    out = capsys.readouterr().out
    assert "2 of the owner's 80 cases are there" in out
    assert "! cholec80/surgrec_v1" in out
    assert build_it(tmp_path) == 0  # the stored summary says it too
    assert "kept as published:" in capsys.readouterr().out


def test_quoted_paths_repeated_rows_and_missing_clips(tmp_path, capsys):
    name = "videos/Ileocecal valve/04a78ef00c5245e0_100-180.mp4"
    lost = "videos/pylorus/14a78ef00c5245e0_0-80.mp4"
    rows = {"train": [(name, 0), (name, 0), (lost, 5)], "test": [(name, 0)]}
    write_folder(tmp_path / "splits", "kvasir-capsule", rows)
    assert (
        '"__DATA_ROOT__/kvasir-capsule/videos/Ileocecal valve/'
        in (tmp_path / "splits" / "kvasir-capsule" / "train.csv").read_text()
    )
    write_video(tmp_path / "clips" / "kvasir-capsule" / name, 4, fps=8)
    assert build_it(tmp_path, name="kvasir_capsule") == 0
    out = capsys.readouterr().out
    assert "skipped: 1" in out and "14a78ef00c5245e0_0-80.mp4: cannot be read" in out
    assert "duplicate_rows: 1 rows of train stand there more than once" in out
    case = "04a78ef00c5245e0"
    path = f"kvasir-capsule/{name}"
    assert stored(tmp_path, "kvasir_capsule") == {
        "train": [(path, case, {0: 1}), (f"{path}#2", case, {0: 1})],
        "test": [(path, case, {0: 1})],
    }


def test_paths_without_the_folder_and_unknown_cases(tmp_path):
    folder = tmp_path / "splits" / "SurgicalActions160"
    folder.mkdir(parents=True)
    name = "04_blunt_dissection/04_07.mp4"
    for split in ("train", "test"):
        (folder / f"{split}.txt").write_text(f"__DATA_ROOT__/{name} 3\n")
    write_video(tmp_path / "clips" / "SurgicalActions160" / name, 4, fps=8)
    assert build_it(tmp_path, name="surgical_actions160") == 0
    assert stored(tmp_path, "surgical_actions160")["test"] == [(name, f"unknown/{name}", {3: 1})]


def test_clips_outside_are_refused(tmp_path, capsys):
    write_folder(tmp_path / "splits", "cholec80", {"train": [("../../cholec80_01_1.mp4", 0)]})
    (tmp_path / "clips" / "cholec80").mkdir(parents=True)
    assert build_it(tmp_path) == 1
    assert re.search(r"train\.csv:1: names .* leaves the clips folder", capsys.readouterr().err)
    # A link is followed only inside the clips folder.
    secret = write_video(tmp_path / "secret.mp4", 4, fps=8)
    write_folder(tmp_path / "more", "cholec80", {"train": ROWS["train"][:2]})
    write_video(tmp_path / "clips" / "cholec80" / "cholec80_01_1.mp4", 4, fps=8)
    (tmp_path / "clips" / "cholec80" / "cholec80_01_2.mp4").symlink_to(secret)
    (tmp_path / "splits").rename(tmp_path / "bad")
    (tmp_path / "more").rename(tmp_path / "splits")
    assert build_it(tmp_path) == 0
    out = capsys.readouterr().out
    assert "skipped: 1" in out and "leads out of the folder" in out
    assert [video for video, _, _ in stored(tmp_path)["train"]] == ["cholec80/cholec80_01_1.mp4"]


def test_what_is_missing_is_named(tmp_path, capsys):
    write_folder(tmp_path / "splits", "cholec80", {"train": [("cholec80_01_1.mp4", 7)]})
    assert build_it(tmp_path) == 1
    assert re.search(r"--manual_dir .* is not a folder", capsys.readouterr().err)
    (tmp_path / "clips").mkdir()
    assert build_it(tmp_path) == 1
    assert "train.csv:1: label 7 is no class of cholec80; it has 0 to 6" in capsys.readouterr().err
    assert build_it(tmp_path, name="autolaparo") == 1
    assert "holds no folder 'AutoLaparo'; there: cholec80" in capsys.readouterr().err
    paths = ["--data_dir", str(tmp_path / "data"), "--manual_dir", str(tmp_path / "clips")]
    assert main(["build", "cholec80", "--config", "surgrec_v1", *paths]) == 1
    assert "cholec80/surgrec_v1 needs --splits_dir" in capsys.readouterr().err
    assert main(["build", "cholec80", "--splits_dir", str(tmp_path), *paths]) == 1
    assert "--splits_dir is given without --config surgrec_v1" in capsys.readouterr().err
    assert main(["build", "grasp", "--config", "surgrec_v1", *paths]) == 1  # not in the release
    assert "has no configuration 'surgrec_v1'; there are default." in capsys.readouterr().err


def test_check_tells_of_both_kinds_of_faults(tmp_path, capsys):
    """Those of the published rows are noted, those of the clips are to be mended."""
    write_folder(tmp_path / "splits", "cholec80", ROWS)
    for name, _ in ROWS["train"][1:] + ROWS["test"]:
        write_video(tmp_path / "clips" / "cholec80" / name, 4, fps=8)
    assert build_it(tmp_path, command="check") == 1
    out = capsys.readouterr().out
    assert "cholec80_01_1.mp4: needed for cholec80/cholec80_01_1.mp4" in out
    assert "val_equals_test: val and test are the same 2 clips" in out and "1 to mend." in out


def test_the_source_itself_stays_what_it_is(tmp_path):
    """`default` is the first configuration, and keeps its classes and its rule on cases."""
    cls = builder_class("cholec80")
    assert [config.name for config in cls.BUILDER_CONFIGS] == ["default", "surgrec_v1"]
    builders = {name: cls(data_dir=tmp_path, config=name) for name in (None, "surgrec_v1")}
    assert builders[None].builder_config_name == "default"
    assert next(iter(builders[None].info.features["labels"])) == "phase"
    assert "labels" not in builders["surgrec_v1"].info.features
    assert not builders[None].hooks.ALLOW_SHARED_CASES


def test_every_source_of_the_release_has_the_configuration(tmp_path):
    """All clips of a whole release have a case and a class name."""
    release = write_release(tmp_path / "splits")
    folders = surgrec_v1.find_folders(release)
    assert len(folders) == 16
    for folder, files in folders.items():
        entry = surgrec_v1.BY_FOLDER[folder]
        config = builder_class(entry.source).builder_configs["surgrec_v1"]
        assert config.folder == folder and config.name == "surgrec_v1"
        for rows in surgrec_v1.read_folder(files).values():
            for row in rows:
                assert re.search(entry.pattern, row.path), row.path
                assert entry.case_of(row.path) or folder == "SurgicalActions160"
                assert 0 <= row.label < len(entry.classes)


@pytest.mark.parametrize(
    ("folder", "path", "case", "recording"),
    [
        ("AlxSuture", "video_faststart/H13A.mp4", "A31H", "A31H"),
        ("AlxSuture", "video_faststart/A31H.mp4", "A31H", "A31H"),
        ("JIGSAWS", "videos/Knot_Tying_C002_capture2_0.5_5.63_G11.mp4", "C", "Knot_Tying_C_002"),
        ("LDPolyVideo", "1_12_0_10_polyps.mp4", "1_12", "1_12"),
        ("LDPolyVideo", "12_0_10_polyps.mp4", "12", "12"),
        ("Colonoscopic-web", "Adenoma/NBI.mp4", "Adenoma", "Adenoma"),
        ("Colonoscopic-web", "Adenoma/WL(40).mp4", "Adenoma_40", "Adenoma_40"),
        ("M2CAI16-Workflow", "m2cai16w_test_dataset_test_workflow_video_05_Phase.mp4",
         "test_workflow_video_05", "test_workflow_video_05"),
        ("SAR-RARP50", "split_video/00_other/video_11_2_label00_other_seg0003_000000-000649.mp4",
         "11", "11"),
        ("LapGyn_dataset", "Coag-Transection/Train/Rest/case_100_clip100.mp4_0.mp4", "100", "100"),
        ("PitVis", "split_clip/01_x/video_12_label01_x_seg003_00010-00020.mp4", "12", "12"),
        ("cholec80", "elsewhere.mp4", None, None),
    ],
)  # fmt: skip
def test_cases_from_names(folder, path, case, recording):
    entry = surgrec_v1.BY_FOLDER[folder]
    assert (entry.case_of(path), entry.recording_of(path)) == (case, recording)
