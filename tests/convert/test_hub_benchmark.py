"""From names of the hub to a table: checkpoints of the families, with random weights."""

import json
import runpy
from pathlib import Path

import pytest
from safetensors.numpy import save

from data_builders.common.build.build import build
from surgrec_jax import benchmark
from surgrec_jax.convert import ImportOptions, import_file
from tests.convert import cases
from tests.convert.cases import read_golden, save_folder
from tests.convert.test_hub import hub, put  # noqa: F401 (a fixture)
from tests.small_phantom import small_phantom

ROOT = Path(__file__).resolve().parents[2]
# Those that say all that an import needs, and those whose sizes are options of it.
FOLDERS = ("hf_videomae", "hf_vjepa2", "hf_dinov3", "hf_dinov2")
FILES = {"videomae_finetuned": (16, 32), "vjepa1": (8, 32), "vjepa2": (8, 48)}


@pytest.mark.slow
def test_names_of_the_hub_become_a_table(hub, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setenv("SURGREC_CACHE", str(tmp_path / "imported"))
    columns = []
    for name in FOLDERS:
        folder = save_folder(tmp_path / name, read_golden(name)[0], cases.CONFIGS[name])
        put(hub, f"lab/{name}", folder)
        columns.append(f"{name}=hf://lab/{name}")
    for name, (frames, side) in FILES.items():
        hub.repositories[f"lab/{name}"] = {"weights.safetensors": save(read_golden(name)[0])}
        size = {"num_frames": frames, "image_size": (side, side), "heads": 3, "head_heads": 2}
        if name == "videomae_finetuned":
            del size["head_heads"]
        run = tmp_path / "runs" / name
        meta = import_file(f"hf://lab/{name}:weights.safetensors", run, ImportOptions(**size))
        assert meta["import"]["family"] == name.split("_")[0]
        columns.append(f"{name}={run}")
    build("phantom_surgery", data_dir=tmp_path / "data", config=small_phantom(0.2), progress=False)
    config = runpy.run_path(str(ROOT / "configs/benchmark.py"))["get_config"]("tiny")
    config.update(data_dir=str(tmp_path / "data"), out=str(tmp_path / "out"), tasks="workflow")
    config.update(sources="phantom_surgery/small", checkpoints=",".join(columns), heads="knn")
    config.update(seeds=1, init_seeds=1, resamples=20)
    found = json.loads(benchmark.run(config).read_text())
    assert not found["failed"] and not found["refused"]
    (task,) = found["tasks"]
    scored = {name for name, entry in task["heads"]["knn"].items() if entry["mean"] is not None}
    assert {*FOLDERS, *FILES} <= scored
