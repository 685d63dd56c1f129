"""The benchmark as its command runs it: from prepared data to table and page, resumed, and `v1`."""

import json
import runpy
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from data_builders.common.build.build import build
from data_builders.common.commands.cli import main as builders
from surgrec_jax import benchmark, checkpoint, probe
from surgrec_jax.config.values import flatten
from surgrec_jax.evaluation.benchmark import columns, finetuned
from surgrec_jax.evaluation.tasks.task_list import select_tasks, wanted_sources
from surgrec_jax.frozen import architecture
from surgrec_jax.models.presets import preset
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.records.source import open_source
from tests.small_phantom import small_phantom

ROOT = Path(__file__).resolve().parents[3]
SMALL = small_phantom(minutes=6.0)


def save_encoder(workdir, sources, seed=0, scale=1.0, side=32):
    """A workdir with a random encoder that says it was trained on `sources`."""
    config = preset("Ti", num_frames=4, image_size=(side, side), depth=1)
    params = init_encoder(config, jax.random.key(seed))
    params = jax.tree.map(lambda x: x * scale, params)
    meta = {
        "name": workdir.name,
        "objective": "mae",
        "uses_target": False,
        "sources": sources,
        "config": {},
        **architecture.meta_of(config, fps=4.0),
    }
    saved = checkpoint.Checkpoints(workdir / "checkpoints", keep=1, keep_best=0)
    saved.save(1, {"step": np.zeros((), np.int32), "params": {"encoder": params}}, meta)
    saved.close()
    return workdir


def make_config(tmp_path, **values):
    config = runpy.run_path(str(ROOT / "configs/benchmark.py"))["get_config"]("tiny")
    config.data_dir, config.out = str(tmp_path / "data"), str(tmp_path / "out")
    config.heads, config.seeds, config.init_seeds, config.resamples = "ridge", 2, 1, 100
    config.update(values)
    return config


def test_a_name_and_a_run_with_another_sign_between_them():
    with pytest.raises(ValueError, match="checkpoints=MAE:runs/mae: give NAME=RUN, with ="):
        benchmark.candidates("MAE:runs/mae")


def test_encoders_are_named_before_their_paths_or_by_their_workdirs(tmp_path):
    path = save_encoder(tmp_path / "lr=0.1", [])
    named = benchmark.candidates(f"{path},mine={path}", "checkpoint")
    assert [(one.name, one.checkpoint) for one in named] == [
        ("lr=0.1", str(path)),
        ("mine", str(path)),
    ]
    step = path / "checkpoints" / "1"
    assert benchmark.workdir_name(step) == "lr=0.1 step 1"
    # What is made of a checkpoint lies in its workdir, never in a saved step.
    assert checkpoint.beside(path, "probe") == path / "probe"
    assert checkpoint.beside(path / "checkpoints", "probe") == path / "probe"
    assert checkpoint.beside(step, "probe") == path / "probe-1"
    with pytest.raises(ValueError, match="give --config.checkpoint=NAME=RUN"):
        benchmark.candidates("", "checkpoint")


@pytest.mark.slow
def test_from_prepared_data_to_table_and_page_and_again(tmp_path, capsys):
    data = tmp_path / "data"
    build("phantom_surgery", data_dir=data, config=SMALL, num_workers=2, progress=False)
    splits = {s: open_source(data, "phantom_surgery", split=s) for s in ("train", "test")}
    clean = save_encoder(tmp_path / "clean", [splits["train"].describe()])
    dirty = save_encoder(tmp_path / "dirty", [splits["test"].describe()], seed=1)
    config = make_config(
        tmp_path,
        sources="phantom_surgery,cholec80",
        checkpoints=f"clean={clean},dirty={dirty}",
        tasks="workflow,instruments,domain,skill",
    )
    path = benchmark.run(config)
    found = json.loads(path.read_text())
    assert [m["name"] for m in found["models"]] == [
        "majority",
        "pixels",
        "random",
        "clean",
        "dirty",
    ]
    assert {t["name"]: t["metric"] for t in found["tasks"]} == {
        "workflow": "video_f1",
        "instruments": "mean_average_precision",
        "domain": "balanced_accuracy",
        "skill": "balanced_accuracy",
    }
    # The encoder drawn from seed 0 is the random column itself.
    for task in found["tasks"]:
        difference = task["heads"]["ridge"]["clean"]["minus_random"]
        assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)
    domain = next(t for t in found["tasks"] if t["name"] == "domain")
    assert domain["heads"]["ridge"]["pixels"]["mean"] > 0.4
    assert [e["source"] for e in found["missing"]] == ["cholec80"]
    assert "python -m data_builders build cholec80" in found["missing"][0]["reason"]
    assert found["overlap"]["clean"]["phantom_surgery"]["status"] == "none"
    said = found["overlap"]["dirty"]["phantom_surgery"]
    assert said["status"] == "found" and "8 of 8 test patients were pretrained on" in said["text"]
    html = (tmp_path / "out" / "index.html").read_text()
    assert "8 of 8 test patients" in html and html.count("data:image/jpeg") >= 9
    assert 'class="ribbons"' in html and "cholec80" in html
    assert "cholec80" in (tmp_path / "out" / "results.md").read_text()

    # Again: nothing is computed. Without one cell: only that one.
    cells = sorted((tmp_path / "out" / "cells").glob("*.json"))
    assert len(cells) == 20
    before = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[3].unlink()
    capsys.readouterr()
    second = json.loads(benchmark.run(config).read_text())
    assert capsys.readouterr().err.count(", kept") == 19
    after = {cell: cell.stat().st_mtime_ns for cell in cells}
    assert [cell for cell in cells if before[cell] != after[cell]] == [cells[3]]
    for part in (found, second):
        part.pop("seconds"), part.pop("created")
    assert json.dumps(found, sort_keys=True) == json.dumps(second, sort_keys=True)


@pytest.mark.slow
def test_few_cases_and_a_demanded_clip(tmp_path):
    data = tmp_path / "data"
    build("phantom_surgery", data_dir=data, config=SMALL, num_workers=2, progress=False)
    workdir = save_encoder(tmp_path / "one", [])
    broken = save_encoder(tmp_path / "broken", [], scale=np.nan)
    large = save_encoder(tmp_path / "large", [], side=64)
    config = make_config(
        tmp_path,
        sources="phantom_surgery",
        checkpoints=f"{workdir},broken={broken},large={large}",
        tasks="domain",
        protocol="few-shot",
    )
    found = json.loads(benchmark.run(config).read_text())
    (task,) = found["tasks"]
    # What cannot be used is told, and spoils nothing else.
    failed = {entry["column"]: entry["reason"] for entry in found["failed"]}
    assert set(failed) == {"broken"}
    assert "encoder broken gives NaN or infinite features" in failed["broken"]
    (small,) = [note for note in found["notes"] if "are enlarged" in note]
    assert small.startswith("100% of the records of phantom_surgery") and "64" in small
    rows = task["heads"]
    assert list(rows) == [
        *("ridge", "ridge, 10% of cases", "ridge, 5% of cases", "ridge, 1% of cases")
    ]
    name = "one"
    assert {name, "broken", "large"} <= {m["name"] for m in found["models"]}
    config.checkpoints = str(workdir)
    assert rows["ridge, 1% of cases"][name]["train_cases"] == [2, 2]  # one case has one domain
    assert rows["ridge, 1% of cases"][name]["missing_classes"] == [2, 2]
    assert rows["ridge"][name]["mean"] > rows["ridge, 1% of cases"][name]["mean"]
    assert found["overlap"][name]["phantom_surgery"]["status"] == "unknown"
    config.clip = "16x224@4"
    with pytest.raises(ValueError, match="takes clips of 4x32@4, asked for are 16x224@4"):
        benchmark.run(config)
    config.clip, config.resize = "4x64@4", "interpolate"
    found = json.loads(benchmark.run(config).read_text())
    (model,) = [model for model in found["models"] if model["name"] == name]
    assert model["clip"]["size"] == 64 and model["resized"]["from"] == [4, 32, 32]


COLOURS = ((40, 40, 220), (40, 220, 40), (220, 40, 40))  # of the first three classes


def write_release(root):
    """Cholec80 in the published format, with its faults: val is test, cases in train and test."""
    rows = {
        "train": [(f"cholec80_{c:02d}_{k + 1}.mp4", k) for c in (1, 2, 3) for k in range(3)],
        "test": [(f"cholec80_{c:02d}_{k + 1}.mp4", k) for c in (3, 4) for k in (0, 1)]
        + [("cholec80_04_4.mp4", 3)],  # a class that train lacks
    }
    rows["val"] = rows["test"]
    (root / "splits" / "cholec80").mkdir(parents=True)
    (root / "clips" / "cholec80").mkdir(parents=True)
    for split, clips in rows.items():
        lines = [f"__DATA_ROOT__/cholec80/{name} {label}\n" for name, label in clips]
        (root / "splits" / "cholec80" / f"{split}.csv").write_text("".join(lines))
        for name, label in clips:
            path = root / "clips" / "cholec80" / name
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 8, (64, 48))
            for _ in range(200 if name == "cholec80_04_1.mp4" else 20):  # one of four records
                writer.write(np.full((48, 64, 3), COLOURS[label % 3], np.uint8))
            writer.release()
    return rows


@pytest.mark.slow
def test_v1_from_published_split_files_to_table(tmp_path, capsys):
    write_release(tmp_path)
    arguments = ["build", "cholec80", "--config", "surgrec_v1", "--workers", "1"]
    for option, folder in (("splits", "splits"), ("manual", "clips"), ("data", "data")):
        arguments += [f"--{option}_dir", str(tmp_path / folder)]
    assert builders(arguments) == 0
    workdir = save_encoder(tmp_path / "one", [])
    config = make_config(
        tmp_path,
        sources="cholec80",
        checkpoints=f"mine={workdir}",
        protocol="v1",
        init_seeds=1,
        seeds=1,
    )
    found = json.loads(benchmark.run(config).read_text())
    out = capsys.readouterr().out
    (task,) = found["tasks"]
    assert (task["source"], task["metric"]) == ("cholec80/surgrec_v1", "top1")
    assert found["protocol"]["clips_per_video"] == 5 and found["protocol"]["crops"] == 3
    for path in (tmp_path / "out" / "features").glob("*/*.npz"):  # 5 x 3 views of every clip
        _, views = np.unique(np.load(path)["video_id"], return_counts=True)
        assert (views == 15).all()
    assert list(task["heads"]) == ["published"]
    entry = task["heads"]["published"]["mine"]
    assert entry["mean"] == pytest.approx(4 / 5)  # colours tell all classes but the unseen one
    assert task["heads"]["published"]["majority"]["mean"] == pytest.approx(2 / 5)
    assert 1 <= entry["chosen"][0] <= 50 and entry["validation"] == [pytest.approx(4 / 5)]
    assert task["unseen_test_classes"] == ["position_4"] and entry["missing_classes"] == [1]
    assert any("val and test hold the same cases" in leak for leak in task["leaks"])
    rules = {finding["rule"] for finding in found["audit"]["cholec80/surgrec_v1"]["findings"]}
    assert {"val_equals_test", "shared_cases"} <= rules
    assert "published SurgRec protocol, faults included" in out
    assert "faults included" in (tmp_path / "out" / "results.md").read_text()

    # Under v2 the same splits are refused, and the reason is printed.
    config.update({"protocol": "v2", "sources": "cholec80/surgrec_v1", "clips_per_record": 1})
    refused = json.loads(benchmark.run(config).read_text())
    assert not refused["tasks"]
    (entry,) = refused["refused"]
    assert "val and test hold the same cases" in entry["reason"]
    assert "refused: cholec80/surgrec_v1" in capsys.readouterr().out


def test_wrong_commands_are_answered(tmp_path):
    config = make_config(tmp_path)
    with pytest.raises(ValueError, match="nothing to compare"):
        benchmark.run(config)
    config.checkpoints, config.sources = "x=y", "cholec81"
    with pytest.raises(ValueError, match="no tasks are declared for 'cholec81'"):
        benchmark.run(config)
    config.sources, config.tasks = "cholec80", "fase"
    with pytest.raises(ValueError, match="no source has a task 'fase'; there are: instruments"):
        benchmark.run(config)
    config.protocol = "v9"
    with pytest.raises(ValueError, match="protocol='v9'"):
        benchmark.run(config)


def test_a_probe_under_v1_asks_the_published_clips_or_nothing(tmp_path):
    config = runpy.run_path(str(ROOT / "configs/probe.py"))["get_config"]("tiny")
    config.checkpoint, config.data_dir, config.protocol = "none", str(tmp_path), "v1"
    config.source = "phantom_surgery"
    with pytest.raises(ValueError, match="no tasks are declared for 'phantom_surgery/surgrec_v1'"):
        probe.run(config)
    assert wanted_sources(("cholec80",), published=True) == ["cholec80/surgrec_v1"]
    config.source = "sixteen"
    with pytest.raises(ValueError, match="16 data sets and a probe is of one"):
        probe.run(config)


def test_fine_tuning_is_the_command_that_a_user_would_give(tmp_path):
    config = make_config(tmp_path)
    (task,) = select_tasks("phantom_surgery/tiny", ("instruments",))
    one = columns.Candidate("mine", None, "runs/mine")
    words = finetuned.command(one, task, config, tmp_path / "work")
    options = dict(word.split("=", 1) for word in words[3:])
    path, _, variant = options.pop("--config").partition(":")
    known = flatten(runpy.run_path(str(ROOT / path))["get_config"](variant).to_dict())
    options.pop("--workdir")
    assert {name.removeprefix("--config.") for name in options} <= set(known)
    assert options["--config.classify.track"] == "instrument_*"
    assert options["--config.classify.frame"] == "centre"
    (online,) = select_tasks("phantom_surgery/tiny", ("workflow",))
    words = finetuned.command(one, online, config, tmp_path / "work")
    assert "--config.classify.frame=last" in words  # the frame that unit "frame" is scored by
    assert options["--config.data.sources"] == "phantom_surgery/tiny@train"
    assert options["--config.probe.sources"] == "phantom_surgery/tiny"
