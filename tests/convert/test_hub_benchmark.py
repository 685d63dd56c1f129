"""From names of the hub to a table in two commands: every family, with random weights."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import save

from convert.test_levjepa import folder as levjepa_folder
from surgrec_jax import benchmark
from surgrec_jax.convert.__main__ import main
from surgrec_jax.convert.families import FAMILIES
from tests.convert import cases
from tests.convert.cases import read_golden, save_folder
from tests.convert.test_hub import hub, put  # noqa: F401 (a fixture)
from tests.data.small_corpus import example, write_source

ROOT = Path(__file__).resolve().parents[2]
# Folders, which say all that an import needs, and files, whose sizes are options of the first
# command: the golden tensors of each, by its family.
FOLDERS = ("hf_videomae", "hf_vjepa2", "hf_dinov3", "hf_dinov2", "levjepa")
SQUARE = "--resize_to=8x32x32"
SIZES = ["--heads=3", "--head_heads=2"]
FILES = {
    "videomae": ("videomae_finetuned", ["--num_frames=16", "--image_size=32", "--heads=3"]),
    "vjepa1": ("vjepa1", ["--num_frames=8", "--image_size=32", *SIZES]),
    "vjepa2": ("vjepa2", ["--num_frames=8", "--image_size=48", *SIZES]),
    "vjepa21": (
        "vjepa21",
        ["--num_frames=8", "--image_size=32x48", "--resize_to=8x32x32", "--heads=2"],
    ),
    "dinov2": ("dinov2", ["--num_frames=2", "--resize_to=2x42x42", "--heads=3"]),
    "dinov3": ("dinov3", ["--num_frames=2", "--image_size=32", "--heads=3"]),
}


@pytest.fixture
def there(hub, tmp_path, monkeypatch):  # noqa: F811
    """An environment with the local hub and its caches, and a labelled data set, "lab"."""
    made = {
        split: [example(f"lab-{split}", k, r, frames=20, fps=4.0, start=20.0 * r) for r in range(8)]
        for k, split in enumerate(("train", "val", "test"))
    }
    write_source(tmp_path / "data", "lab", made)
    change = {"SURGREC_CACHE": tmp_path / "imported", "HF_HUB_CACHE": tmp_path / "cache"}
    return os.environ | {name: str(path) for name, path in change.items()}


def on_hub(hub, tmp_path, family):  # noqa: F811
    """Puts a family's checkpoint on the hub; returns its name there."""
    if family in FILES:
        golden, _ = FILES[family]
        hub.repositories[f"lab/{family}"] = {"weights.safetensors": save(read_golden(golden)[0])}
        return f"hf://lab/{family}:weights.safetensors"
    if family == "levjepa":
        folder = levjepa_folder(tmp_path / family)
    else:
        folder = save_folder(tmp_path / family, read_golden(family)[0], cases.CONFIGS[family])
    put(hub, f"lab/{family}", folder)
    return f"hf://lab/{family}"


def values(tmp_path, columns):
    """Of the config of the second command."""
    return {
        "data_dir": str(tmp_path / "data"),
        "out": str(tmp_path / "out"),
        "sources": "lab",
        "checkpoints": ",".join(columns),
        "tasks": "phase",
        "heads": "knn",
        "seeds": 1,
        "init_seeds": 1,
        "resamples": 20,
        "clips_per_record": 1,
        "frames_in_report": False,
    }


def check(out, names):
    """Every name is a column with a score; returns the results."""
    found = json.loads((out / "results.json").read_text())
    assert not found["failed"] and not found["refused"] and not found["missing"]
    (task,) = found["tasks"]
    assert set(names) <= {
        name for name, entry in task["heads"]["knn"].items() if entry["mean"] is not None
    }
    return found


def test_a_name_becomes_a_column_of_a_table(hub, there, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("SURGREC_CACHE", there["SURGREC_CACHE"])
    config = runpy.run_path(str(ROOT / "configs/benchmark.py"))["get_config"]("zoo")
    config.update(values(tmp_path, [f"public={on_hub(hub, tmp_path, 'levjepa')}"]))
    benchmark.run(config)
    (model,) = [m for m in check(tmp_path / "out", ["public"])["models"] if m["name"] == "public"]
    assert model["clip"]["frames"] == 3


@pytest.mark.slow
def test_checkpoints_of_every_family_become_columns_of_one_table(hub, there, tmp_path):  # noqa: F811
    assert {*FOLDERS, *FILES} == set(FAMILIES)
    columns = [f"{family}={on_hub(hub, tmp_path, family)}" for family in FOLDERS]
    for family, (_, options) in FILES.items():
        run = tmp_path / "runs" / family
        assert main(["import", on_hub(hub, tmp_path, family), f"--out={run}", *options]) == 0
        columns.append(f"{family}={run}")
    command = [sys.executable, "-m", "surgrec_jax.benchmark", "--config=configs/benchmark.py:zoo"]
    command += [f"--config.{name}={value}" for name, value in values(tmp_path, columns).items()]
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = check(tmp_path / "out", FAMILIES)
    clips = {m["name"]: m["clip"] for m in found["models"] if m["name"] in FAMILIES}
    assert len(clips) == len(FAMILIES) and clips["vjepa1"]["frames"] == 8
