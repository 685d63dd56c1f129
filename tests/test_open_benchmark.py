"""launch/open_benchmark.sh: what it prints, and all of it on small files of the owners' layouts."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data_builders.surgical_actions160.surgical_actions160_dataset_builder import ACTIONS
from tests import one_device
from tests.data_builders.fake_video import write_video

ROOT = Path(__file__).resolve().parents[1]
SIZE = {"size": (80, 64)}


def command(*words):
    return ["bash", str(ROOT / "launch" / "open_benchmark.sh"), *map(str, words)]


def test_a_dry_run_prints_the_steps_and_runs_none(tmp_path):
    words = command(tmp_path / "in", tmp_path / "out", "--dry_run")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    steps = [line.split(" -m ")[1].split()[:2] for line in done.stdout.splitlines()[:-1]]
    names = [name for _, name in steps[:14:2]]
    assert steps[:14] == [["data_builders", w] for _ in names for w in ("check", "build")]
    assert steps[14] == ["data_builders", "audit"]
    assert [name for name, _ in steps[15:]] == [
        *("surgrec_jax.main", "surgrec_jax.curation", "surgrec_jax.main", "surgrec_jax.benchmark")
    ]
    assert not list(tmp_path.iterdir())


def test_no_download_is_an_error(tmp_path):
    done = subprocess.run(command(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and "none of the sources" in done.stderr


def downloads(root):
    for k in range(10):
        write_video(root / f"cataract101/videos/case_{k}.mp4", 60, **SIZE)
    rows = "".join(f"{k};60;25;1;{1 + k % 2}\n" for k in range(10))
    (root / "cataract101/videos.csv").write_text("VideoID;Frames;FPS;Surgeon;Experience\n" + rows)
    rows = "".join(f"{k};{start};{p}\n" for k in range(10) for start, p in ((0, 1), (25, 2)))
    (root / "cataract101/annotations.csv").write_text("VideoID;FrameNo;Phase\n" + rows)
    for number, name in enumerate(ACTIONS, start=1):
        for clip in range(1, 4):
            path = root / f"surgical_actions160/{number:02d}_{name}/{number:02d}_{clip:02d}.mp4"
            write_video(path, 30, **SIZE)
    for name in ("Adenoma", "Hyperplasic", "Serrated"):
        for k in range(1, 5):
            folder = root / f"colonoscopic/{name}/{name.lower()}_{k:02d}/videos"
            for light in ("NBI", "WL"):
                write_video(folder / f"{light}.mp4", 30, **SIZE)


@pytest.mark.slow
def test_small_files_go_all_the_way_and_on_after_a_stop(tmp_path):
    """It is stopped while the second model trains; the same command ends it."""
    downloads(tmp_path / "in")
    repository = tmp_path / "copy"  # with the environment that runs this test
    repository.mkdir()
    for name in ("launch", "configs", "data_builders", "surgrec_jax"):
        os.symlink(ROOT / name, repository / name)
    (repository / ".venv" / "bin").mkdir(parents=True)
    (repository / ".venv" / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (repository / ".venv" / "bin" / "python").chmod(0o755)
    os.unlink(repository / "launch")
    shutil.copytree(ROOT / "launch", repository / "launch")
    words = ["bash", "launch/open_benchmark.sh", str(tmp_path / "in"), str(tmp_path / "out")]
    small = one_device.environment(MODEL="tiny", STEPS="20", LEVELS="4,2")
    options = {"cwd": repository, "env": small, "text": True}
    with open(tmp_path / "log", "w") as log:
        first = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, **options)
        try:
            until = time.monotonic() + 600
            while not (tmp_path / "out/balanced/config.json").exists():
                assert first.poll() is None and time.monotonic() < until, log.name
                time.sleep(0.2)
        finally:
            os.killpg(first.pid, signal.SIGTERM)
            first.wait()
    assert not (tmp_path / "out/benchmark").exists()
    done = subprocess.run(words, capture_output=True, timeout=900, **options)
    assert done.returncode == 0, done.stderr
    assert "left out: grasp (no folder" in done.stdout
    results = json.loads((tmp_path / "out/benchmark/results.json").read_text())
    assert {task["source"] for task in results["tasks"]} == {
        *("cataract101", "surgical_actions160", "colonoscopic")
    }
    names = {model["name"] for model in results["models"] if model["kind"] == "encoder"}
    assert names == {"as it comes", "balanced"}
    for run in ("as_it_comes", "balanced"):
        assert (tmp_path / "out" / run / "checkpoints" / "20").is_dir()
    assert (tmp_path / "out/balanced/manifest.json").is_file()
    assert (tmp_path / "out/benchmark/index.html").is_file()
