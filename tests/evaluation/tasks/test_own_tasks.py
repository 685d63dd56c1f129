"""Tasks of a data set that none is declared for, from its labels, up to a score of own videos."""

import json
import runpy

import cv2
import numpy as np
import pytest

from data_builders.common.commands.cli import main as builders
from surgrec_jax import benchmark, probe
from surgrec_jax.evaluation.tasks.own_tasks import from_labels, own_tasks
from surgrec_jax.evaluation.tasks.task_list import offered_tasks, wanted_sources
from surgrec_jax.online_probes import open_probes
from surgrec_jax.safety.errors import UserError
from tests.evaluation.benchmark.test_benchmark import ROOT, make_config, save_encoder

PRESENCE, PHASES = ("absent", "present"), ("closure", "prep")
COLOURS = {"colon": (40, 40, 220), "liver": (40, 220, 40)}
SPLITS = ("train", "train", "val", "test")  # of the videos of either organ


def test_a_task_per_label():
    tracks = {"phase": PHASES, "tool_hook": PRESENCE, "tool_clip": ("0", "1"), "smoke": ("yes",)}
    tracks |= {"view_left": PRESENCE, "site": ("a", "b"), "triplets": ("a", "b")}
    whole = {"class": ("a", "b"), "view_right": PRESENCE, "site": ("b", "c")}
    whole |= {"seen_polyp": ("No", "Yes"), "seen_blood": ("No", "Yes"), "step_x": ("l", "r")}
    made, left_out = from_labels("mine", tracks, whole, "robotic")
    asked = {t.name: (t.track, t.unit, t.frame, t.metric, t.kind) for t in made}
    assert asked == {
        "class": ("class", "video", "centre", "balanced_accuracy", "other"),
        "phase": ("phase", "frame", "last", "balanced_accuracy", "phase"),
        "seen": ("seen_*", "video", "centre", "mean_average_precision", "other"),
        "step_x": ("step_x", "video", "centre", "balanced_accuracy", "other"),
        "tool": ("tool_*", "clip", "centre", "mean_average_precision", "instruments"),
        "triplets": ("triplets", "frame", "last", "balanced_accuracy", "other"),
        "view_left": ("view_left", "frame", "last", "balanced_accuracy", "other"),
        "view_right": ("view_right", "video", "centre", "balanced_accuracy", "other"),
    }
    assert {task.domain for task in made} == {"robotic"}
    for task in made:  # each finds its labels, and no others
        assert len(task.classes({**whole, **tracks})) == 2
    assert left_out == [
        "site (other classes in rows with times than in rows without)",
        "smoke (one class: yes)",
    ]


@pytest.mark.parametrize("extra", [{"tool": PHASES}, {"tool_use": PHASES}])
def test_presence_beside_other_labels_by_the_same_prefix_is_no_group(extra):
    made, _ = from_labels("mine", {"tool_hook": PRESENCE, "tool_clip": PRESENCE, **extra}, {})
    assert {task.track for task in made} == {"tool_hook", "tool_clip", *extra}


def write_folder(root):
    """Four videos of two organs; colour tells the organ, brightness the phase."""
    rows = ["path,split,start_s,end_s,phase"]
    for organ, colour in COLOURS.items():
        (root / organ).mkdir(parents=True)
        for k, split in enumerate(SPLITS):
            name = f"{organ}/{organ}{k}.mp4"
            writer = cv2.VideoWriter(str(root / name), cv2.VideoWriter_fourcc(*"mp4v"), 8, (64, 48))
            for number in range(32):
                shade = np.array(colour) // (1 if number < 16 else 2)
                picture = np.full((48, 64, 3), shade, np.uint8)
                picture[:2, : 2 * k] = 0  # no two files are the same
                writer.write(picture)
            writer.release()
            rows += [f"{name},{split},0,2,prep", f"{name},{split},2,4,closure"]
    (root / "cases.csv").write_text("\n".join(rows))
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """my_hospital with labels, and unlabelled and unsplit without any."""
    root = tmp_path_factory.mktemp("own")
    videos, data_dir = write_folder(root / "videos"), root / "data"

    def build(name, *options):
        given = ("--manual_dir", videos, "--data_dir", data_dir, "--name", name, *options)
        given = ("build", "video_folder", "--workers", 1, "--fps", 4, "--frames", 8, *given)
        assert builders([str(part) for part in given]) == 0

    labels = ("--labels", videos / "cases.csv", "--class_from", "subfolder")
    build("my_hospital", *labels, "--domain", "laparoscopy")
    build("unlabelled", "--split", "0.4,0.3,0.3")
    build("unsplit", "--split", "none")
    return data_dir


def probe_config(data, **values):
    config = runpy.run_path(str(ROOT / "configs/probe.py"))["get_config"]()
    config.data_dir, config.source, config.checkpoint = str(data), "my_hospital", "none"
    config.update(values)
    return config


def test_own_labels_are_asked_and_named(data):
    made, sentence = own_tasks(data, "my_hospital")
    assert sentence == (
        "tasks of my_hospital from its labels: class (unit video), phase (unit frame)"
    )
    assert {(task.source, task.domain) for task in made} == {("my_hospital", "laparoscopy")}
    offered, said = offered_tasks(["cholec80", "my_hospital/default"], data)
    assert [task.title for task in offered["my_hospital/default"]] == [
        *("my_hospital/default: class", "my_hospital/default: phase")
    ]
    assert len(said) == 1  # declared tasks need no data and no word
    with pytest.raises(ValueError, match="my_hospital has no task 'organ'; choose from: class, ph"):
        probe.run(probe_config(data, task="organ"))


def test_what_cannot_be_asked_is_told_with_the_remedy(data):
    with pytest.raises(ValueError, match="unlabelled has no label.*--labels TABLE.csv or --class_"):
        own_tasks(data, "unlabelled")
    with pytest.raises(ValueError, match="unsplit has no video in split val, test.*--split 0.8"):
        own_tasks(data, "unsplit")
    (data / "lemon").symlink_to(data / "unlabelled")
    with pytest.raises(ValueError, match="lemon has no label.*; its builder gives none"):
        own_tasks(data, "lemon")
    with pytest.raises(ValueError, match="no tasks .* 'my_hospitl', and .* not prepared.*did you"):
        own_tasks(data, "my_hospitl")
    with pytest.raises(ValueError, match="'my_hospital/surgrec_v1': this protocol asks published"):
        wanted_sources(("my_hospital",), published=True)


@pytest.mark.slow
def test_own_videos_get_a_score_from_probe_and_benchmark(data, tmp_path, capsys):
    workdir = save_encoder(tmp_path / "one", [])
    small = {"heads": "ridge", "seeds": 1, "init_seeds": 1, "resamples": 50}
    out = str(tmp_path / "probe")
    path = probe.run(probe_config(data, checkpoint=str(workdir), out=out, **small))
    assert "tasks of my_hospital from its labels: class (unit video)" in capsys.readouterr().out
    found = json.loads(path.read_text())
    assert [task["name"] for task in found["tasks"]] == ["class", "phase"]
    for task in found["tasks"]:
        assert task["heads"]["ridge"]["pixels"]["mean"] > 0.6  # the picture tells both
    config = make_config(tmp_path, sources="my_hospital", checkpoints=f"mine={workdir}", **small)
    config.data_dir = str(data)
    found = json.loads(benchmark.run(config).read_text())
    assert {task["domain"] for task in found["tasks"]} == {"laparoscopy"}
    assert found["notes"][0].startswith("tasks of my_hospital from its labels")
    assert "mine" in found["tasks"][0]["heads"]["ridge"] and not found["failed"]


def write_one_unusable_label(root):
    """Six videos that tell a tool by their colour; all training cases are of one skill."""
    rows = ["path,case_id,split,start_s,end_s,skill,tool_hook,tool_clip"]
    for k, split in enumerate(("train", "train", "val", "val", "test", "test")):
        name, colour = f"op{k}.mp4", list(COLOURS.values())[k % 2]
        writer = cv2.VideoWriter(str(root / name), cv2.VideoWriter_fourcc(*"mp4v"), 8, (64, 48))
        for _ in range(32):
            writer.write(np.full((48, 64, 3), colour, np.uint8))
        writer.release()
        skill = "expert" if split == "train" or k % 2 else "novice"
        hook, clip = ("present", "absent")[k % 2], ("absent", "present")[k % 2]
        rows += [f"{name},p{k},{split},,,{skill},,", f"{name},p{k},{split},0,4,,{hook},{clip}"]
    (root / "ev.csv").write_text("\n".join(rows))


@pytest.mark.slow
def test_a_label_that_cannot_be_scored_is_listed_and_the_others_are_scored(tmp_path, capsys):
    write_one_unusable_label(tmp_path)
    command = ["build", "video_folder", "--manual_dir", tmp_path, "--data_dir", tmp_path / "data"]
    command += ["--name", "ev", "--labels", tmp_path / "ev.csv", "--workers", 1, "--fps", 4]
    assert builders([str(part) for part in (*command, "--frames", 8)]) == 0
    workdir = save_encoder(tmp_path / "one", [])
    small = {"heads": "ridge", "seeds": 1, "init_seeds": 1, "resamples": 50}
    config = probe_config(tmp_path / "data", source="ev", checkpoint=f"mine={workdir}", **small)
    found = json.loads(probe.run(config).read_text())
    (task,) = found["tasks"]
    assert task["name"] == "tool" and set(task["heads"]["ridge"]) >= {"majority", "random", "mine"}
    reason = "task skill refused: the training split has one class only"
    assert found["refused"] == [{"source": "ev", "task": "skill", "reason": reason}]
    assert f"refused: ev: {reason}" in capsys.readouterr().out
    with np.load(workdir / "probe" / "predictions.npz") as arrays:
        assert "tool/ridge/mine" in arrays and not any(key.startswith("skill") for key in arrays)

    # Where nothing can be scored the command fails, with the reason.
    config.task = "skill"
    with pytest.raises(UserError, match=f"no encoder has a score: {reason}"):
        probe.run(config)


def test_a_run_on_own_data_is_scored_on_them(data, capsys):
    config = runpy.run_path(str(ROOT / "configs/mae.py"))["get_config"]("tiny")
    values = {"data.data_dir": str(data), "data.sources": "my_hospital,unlabelled,unsplit"}
    config.update_from_flattened_dict(values)
    (one,) = open_probes(config)
    assert (one.source, one.num_classes) == ("my_hospital", {"phase": 2})
    said = capsys.readouterr().out
    assert "scores every 250 steps: phase of my_hospital, by a frozen probe" in said
    assert "not scored while it trains: unlabelled: it has no label in time; unsplit: " in said
