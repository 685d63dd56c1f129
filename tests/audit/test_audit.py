"""The audit of prepared data sets: shared patients, overlaps, and pretraining on test videos."""

import json
import shutil

import pytest

from data_builders.common.build.build import build
from data_builders.common.commands.cli import main
from data_builders.phantom_surgery.phantom_surgery_dataset_builder import Builder
from data_builders.video_folder.video_folder_dataset_builder import VideoFolderConfig
from surgrec_jax.audit import across
from surgrec_jax.audit.patients import known_overlap, patient_key, population
from surgrec_jax.audit.rules import Audited, Clip
from surgrec_jax.audit.surgrec_v1 import BY_SOURCE
from surgrec_jax.records.schema import RecordSpec
from tests.data_builders.fake_video import write_video


def test_patient_keys():
    assert patient_key("cholec80", "video07") == patient_key("cholect50", "VID07")
    assert patient_key("cholec80", "07") == patient_key("cholec80", "7")
    assert patient_key("cholec80", "66") == patient_key("endoscapes", "121")
    assert patient_key("cholec80", "69") != patient_key("endoscapes", "69")
    assert patient_key("grasp", "CASE041") == patient_key("psi_ava", "CASE041")
    assert patient_key("grasp", "CASE041") != patient_key("cholec80", "video41")
    assert patient_key("aixsuture", "A31H") == patient_key("aixsuture", "H13A")
    assert patient_key("aixsuture", "Student 7", "H13A") == patient_key("aixsuture", "A31H")
    assert patient_key("ldpolypvideo", "images_012") == patient_key("ldpolypvideo", "12")
    assert patient_key("ldpolypvideo", "1_12") != patient_key("ldpolypvideo", "12")
    assert patient_key("lemon", "aB3_-cdefGh") == patient_key("surgenet_youtube", "x/aB3_-cdefGh")
    assert patient_key("gensurgery", "watch?v=-B3_-cdefGh.A title") == "youtube:-B3_-cdefGh"
    assert patient_key("gensurgery", "hernia repair 1") == "gensurgery:hernia repair 1"
    assert patient_key("jigsaws", "surgeon_B") == patient_key("jigsaws", "B")
    train, test = "workflow_video_05", "test_workflow_video_05"
    assert patient_key("m2cai16_workflow", train) != patient_key("m2cai16_workflow", test)
    assert patient_key("multibypass140", "BBP07") != patient_key("multibypass140", "SBP07")
    assert known_overlap("m2cai16_workflow", "cholec80")[1] is False
    assert known_overlap("cholect50", "cholec80") == ("45 videos, same numbers", True)
    assert known_overlap("autolaparo", "cholec80") is None
    assert known_overlap("cholectrack20", "cholecseg8k")[1] is True
    assert patient_key("cholectrack20", "VID07") == patient_key("cholec80", "video07")
    assert patient_key("bernbypass70", "BBP07") == patient_key("multibypass140", "BBP07")
    assert known_overlap("surgenetxl", "multibypass140")[1] is False


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two tiny data sets called like two that share patients: train 1-3, test 4-5; all of 3-6."""
    root = tmp_path_factory.mktemp("prepared")
    for name, videos in (("cholec80", range(1, 6)), ("cholect50", range(3, 7))):
        folder = root / name
        table = ["path,split,kind,start_s,end_s,phase"]
        for number in videos:
            write_video(folder / f"v{number}.mp4", 10, fps=10)
            split = "test" if number >= 4 and name == "cholec80" else "train"
            kind = "odd" if number % 2 else "even"
            table += [f"v{number}.mp4,{split},{kind},,,", f"v{number}.mp4,{split},,0,0.5,first"]
            if number != 5:
                table.append(f"v{number}.mp4,{split},,0.5,0.8,second")
        (root / f"{name}.csv").write_text("\n".join(table))
        config = VideoFolderConfig(
            dataset_name="mine", labels=str(root / f"{name}.csv"), record=RecordSpec(fps=10)
        )
        build(
            "video_folder",
            data_dir=root / "data",
            manual_dir=folder,
            config=config,
            num_workers=1,
            progress=False,
        )
        (root / "data" / "mine").rename(root / "data" / name)
    return root


def test_prepared_data_sets(prepared, tmp_path, capsys):
    out = tmp_path / "audit.json"
    arguments = ["audit", "--data_dir", str(prepared / "data"), "--json", str(out)]
    assert main([*arguments, "--fail_on", "shared_cases"]) == 0
    report = json.loads(out.read_text())
    cholec80, cholect50 = report["data_sets"]
    assert cholec80["rows"] == {"train": 3, "test": 2} and cholect50["rows"] == {"train": 4}
    assert cholec80["cases"] == {"train": 3, "test": 2}
    assert cholec80["val_equals_test"] is None and cholec80["shared"] == {"train/test": []}
    # Train: 15 frames of each phase side by side with 9 of the other; test 10 against 3.
    phase = cholec80["labels"]["phase"]
    assert (phase["train_majority_name"], phase["test_size"]) == ("first", 13)
    assert round(phase["test_rate"], 2) == round(1000 / 13, 2)
    kind = cholec80["labels"]["kind"]  # train: odd, even, odd; test: even, odd
    assert (kind["train_majority_name"], kind["test_rate"]) == ("odd", 50.0)
    overlap = [f for f in report["findings"] if f["rule"] == "overlap"]
    assert [f["count"] for f in overlap] == [3]
    assert overlap[0]["text"] == "3 shared patients, 2 of them in the test split of one only"
    assert "cholec80/default" in capsys.readouterr().out


def test_pretraining_on_test_videos(prepared, tmp_path, capsys):
    run = tmp_path / "environment.json"
    directory = next((prepared / "data" / "cholect50").glob("*/*/dataset_info.json")).parent
    source = {"name": "cholect50", "split": "train", "directory": str(directory)}
    run.write_text(json.dumps([{"sources": [source]}, {"sources": [source]}]))
    arguments = ["audit", "cholec80", "--data_dir", str(prepared / "data")]
    rule = ["--fail_on", "pretraining_on_test"]
    for used in (str(run), str(tmp_path), "cholect50", "cholect50@train"):
        assert main([*arguments, "--pretraining", used, *rule]) == 1
        assert "2 of 2 test patients were pretrained on" in capsys.readouterr().out
    assert main([*arguments, "--pretraining", "cholec80", *rule]) == 0  # its own train split
    assert main([*arguments, "--pretraining", "cholec80@test", *rule]) == 1
    assert main([*arguments, "--pretraining", "gensurgery", *rule]) == 0
    run.write_text('{"sources": 1}')
    assert main([*arguments, "--pretraining", str(run), *rule]) == 1
    assert "is not the environment.json of a run" in capsys.readouterr().err


def test_pretraining_on_several_configurations(prepared, tmp_path, capsys):
    """Two of one source; a moved one; and a checkpoint that says nothing of itself."""
    data, moved = tmp_path / "data", tmp_path / "moved"
    for config in ("default", "other"):
        for name in ("cholec80", "cholect50"):
            folder = next((prepared / "data" / name).glob("*/*/dataset_info.json")).parent
            if (name, config) != ("cholec80", "other"):
                shutil.copytree(folder, data / name / config / folder.name)
    other = data / "cholect50" / "other"
    for path in other.glob("*/*.json"):
        path.write_text(path.read_text().replace('"default"', '"other"'))
    sources = [
        {"name": name, "config": "default", "split": "train", "directory": str(d.parent)}
        for name in ("cholec80", "cholect50")
        for d in (data / name / "default").glob("*/dataset_info.json")
    ]
    beside = dict(sources[1], config="other", directory=str(next(other.glob("1*"))))
    run = tmp_path / "environment.json"
    run.write_text(json.dumps([{"sources": [*sources, beside]}]))
    arguments = ["audit", "cholec80", "--data_dir", str(data), "--pretraining", str(run)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "cholect50/default@train -> cholec80/default" in out
    assert "cholect50/other@train -> cholec80/default" in out
    shutil.move(data, moved)
    arguments[3] = str(moved)
    assert main(arguments) == 0
    assert "cholect50/other@train -> cholec80/default" in capsys.readouterr().out
    run.write_text(json.dumps([{"sources": [sources[0], {"name": "big", "through": "runs/big"}]}]))
    assert main([*arguments, "--fail_on", "pretraining_on_test"]) == 1
    assert "what this checkpoint was trained on is not known" in capsys.readouterr().out
    # Data that are there and cannot be read are no clean bill.
    shutil.move(moved, data)
    run.write_text(json.dumps([{"sources": [beside]}]))
    for damaged in (*other.glob("*/*array_record*"), *other.glob("*/dataset_info.json")):
        damaged.write_text("{")
        assert main(["audit", "cholec80", "--pretraining", str(run)]) == 1
        assert f"{damaged.parent if damaged.suffix else damaged}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "path", "case", "video", "text"),
    [
        (
            "surgical_actions160",
            "SurgicalActions160/01_abdominal_access/01_03.mp4",
            "clip_01_03",
            "01_03",
            "1 of 1 test patients were pretrained on",
        ),
        (
            "colonoscopic",
            "Adenoma/NBI(40).mp4",
            "adenoma_07",
            "adenoma_07_NBI",
            "the same source; its splits could not be compared",
        ),
    ],
)
def test_two_configurations_of_a_source(source, path, case, video, text):
    """The published splits and the builder's own name the same clips otherwise."""
    row = BY_SOURCE[source].case_of(path) or f"unknown/{path}"
    own = Audited(f"{source}/default", source, {"train": [Clip(video, case, video, {})]})
    published = Audited(f"{source}/surgrec_v1", source, {"test": [Clip(path, row, path, {})]})
    (found,) = across.pretraining_on_test([(own, "train")], [published])
    assert found.text == text
    assert len(across.across([own, published])) == 1
    assert not across.pretraining_on_test([(own, "train")], [own])[1:]


def test_drawn_corpora_are_of_other_patients_whose_names_are_alike():
    """Those of one seed share patients; a configuration that nothing is known of may do so."""
    for config in Builder.BUILDER_CONFIGS:
        drawn = population("phantom_surgery", f"phantom_surgery/{config.name}")
        assert drawn == f"phantom_surgery of seed {config.corpus.seed}"

    def of(config, case="robotic_003"):
        name = "phantom_surgery" + config
        clips = [Clip("v", case, "v", {})]
        return Audited(name, "phantom_surgery", {"train": clips, "test": clips} if case else {})

    def told(config, case="robotic_003"):
        pair = [(of(config, case), "train")], [of("/dense")]
        return [found.text for found in across.pretraining_on_test(*pair)]

    assert not told("/trial") and not told("/trial", None)
    assert told("/dense") == ["1 of 1 test patients were pretrained on"]
    for unknown in (told("/dense", None), told("", None), told(""), told("/mine")):
        assert unknown == ["the same source; its splits could not be compared"]
    assert not across.across([of("/trial"), of("/dense")])
    assert len(across.across([of("/tiny"), of("/default")])) == 1


def test_videos_of_youtube_are_told_apart_by_their_ids():
    def of(source, split, *names):
        return Audited(source, source, {split: [Clip(name, name, name, {}) for name in names]})

    lemon, gs = of("lemon", "train", "aB3_-cdefGh"), of("gensurgery", "test", "aB3_-cdefGh")
    (found,) = across.pretraining_on_test([(lemon, "train")], [gs])
    assert found.text == "1 of 1 test patients were pretrained on" and found.cases == (
        "aB3_-cdefGh",
    )
    others = of("gensurgery", "test", "ab3_-cdefGh")  # ids differ by case
    assert not across.pretraining_on_test([(lemon, "train")], [others])
    assert not across.across([lemon, others])
    folders = of("gensurgery", "test", "hernia repair 1")
    (found,) = across.pretraining_on_test([(lemon, "train")], [folders])
    assert "470 of GenSurgery's 3,180 video ids are in LEMON's" in found.text and not found.sure


def test_names_alone(tmp_path, capsys):
    assert main(["audit", "cholec80", "grasp", "cholect50"]) == 0
    assert "may share patients: 45 videos, same numbers" in capsys.readouterr().out
    arguments = ["audit", "cholec80", "--pretraining", "cholect50=2,lemon"]
    assert main([*arguments, "--fail_on", "pretraining_on_test"]) == 1
    assert "may hold test patients: 45 videos" in capsys.readouterr().out
    arguments = ["audit", "cholec80", "lapgyn4", "pitvis", "--pretraining", "surgenetxl"]
    assert main([*arguments, "--fail_on", "pretraining_on_test"]) == 1
    out = capsys.readouterr().out
    assert out.count("may hold test patients: SurgeNetXL holds pictures of it") == 2
    # A name that nothing is known of is no clean bill.
    for arguments in (["cholec81"], ["cholec80", "--pretraining", "my_hospital"]):
        assert main(["audit", *arguments]) == 1
        assert "nothing is known of" in capsys.readouterr().err
    run = tmp_path / "environment.json"
    gone = {"name": "my_hospital", "split": "train", "directory": str(tmp_path / "gone")}
    run.write_text(json.dumps([{"sources": [gone]}]))
    assert main(["audit", "cholec80", "--pretraining", str(run)]) == 0
    assert "my_hospital: its data are gone; it is compared with nothing" in capsys.readouterr().out
