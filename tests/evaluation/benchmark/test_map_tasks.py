"""Tasks about label maps, from a built source to the report: cells, baselines, overlays."""

import base64

import cv2
import jax
import pytest

from data_builders.common.build.build import build
from surgrec_jax.evaluation.benchmark.columns import Candidate
from surgrec_jax.evaluation.benchmark.compare import compare
from surgrec_jax.evaluation.heads import dense
from surgrec_jax.evaluation.heads.grid import Grid
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.report import benchmark as page
from surgrec_jax.evaluation.report import frames
from surgrec_jax.evaluation.report.overlays import HEIGHT
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.models.vit import init_encoder
from surgrec_jax.records.source import open_source
from tests.data_builders.source.test_maps import MiniScene, write_scene

TASKS = (
    Task("blocks", "mini_scene", "blocks", "dice", "pixel", kind="segmentation"),
    Task("depth", "mini_scene", "depth", "delta_125", "pixel", kind="depth"),
    Task("nothing", "mini_scene", "nothing", "dice", "pixel", kind="segmentation"),
)
SETTINGS = Settings(
    seeds=1, init_seeds=1, resamples=50, map_heads=("dense_linear", "dense_levels"), map_side=48,
    maps_per_record=3, train_resample="none",
)  # fmt: skip


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    root = tmp_path_factory.mktemp("scenes")
    for k in range(4):
        write_scene(root / f"v{k}")
    data = tmp_path_factory.mktemp("data")
    options = {"manual_dir": root, "config": "default", "num_workers": 1, "progress": False}
    build(MiniScene, data_dir=data, **options)
    return {s: open_source(data, "mini_scene", "default", s) for s in ("train", "val", "test")}


def test_from_records_to_the_report(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "GRID", Grid(lr=(3e-2,), weight_decay=(0.01,), batch_size=4))
    monkeypatch.setattr(dense, "STEPS", 80)
    config = ViTConfig(16, depth=4, heads=2, mlp_dim=16, num_frames=2, image_size=(48, 48), patch=8)
    encoder = Encoder(config, init_encoder(config, jax.random.key(1)), fps=25.0, name="small")
    compared = [Candidate("small", encoder, "nowhere")], {"mini_scene": TASKS}
    measured, _ = compare(*compared, {"mini_scene": sources}, SETTINGS, tmp_path)
    assert [entry["task"] for entry in measured["refused"]] == ["nothing"]
    assert not measured["failed"], measured["failed"]
    assert [task["name"] for task in measured["tasks"]] == ["blocks", "depth"]
    for task in measured["tasks"]:
        for columns in (task["heads"][head] for head in SETTINGS.map_heads):
            assert set(columns) == {"majority", "pixels", "random", "small"}
            assert columns["pixels"]["mean"] > columns["majority"]["mean"] + 0.1
            assert 0 < columns["small"]["mean"] <= 1
    blocks, depth = measured["tasks"]
    assert set(blocks["heads"]["dense_linear"]["small"]["per_class"]) == {"block"}
    assert depth["heads"]["dense_linear"]["small"]["metrics"]["rmse_mm"] > 1
    examples = blocks["details"]["hardest"][0]["examples"]
    assert base64.b64decode(examples[0]["map"]).startswith(b"\x89PNG")
    frames.add_frames(measured, {"mini_scene": sources}, tmp_path / "frames")
    for task in measured["tasks"]:
        for example in task["details"]["hardest"][0]["examples"]:
            sheet = cv2.imread(str(tmp_path / "frames" / example["frame"]))
            assert sheet.shape[0] == HEIGHT and sheet.shape[1] > 3.9 * HEIGHT
    text = page.build({**measured, "audit": {}, "overlap": {}}, tmp_path / "frames")
    assert all(f"<th>{name}</th>" in text for name in ("dice", "iou", "nsd"))
    again, _ = compare(*compared, {"mini_scene": sources}, SETTINGS, tmp_path)
    assert again["tasks"][0]["heads"] == blocks["heads"]
