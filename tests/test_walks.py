"""The commands of README and tutorial, in their order, on a user's own folder of videos.

Only sizes are changed: fewer steps, and in place of a card's model one that a core trains.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PHASES = {"preparation": (60, 70, 180), "dissection": (50, 60, 120), "closure": (80, 110, 160)}
# What is appended to a command that has these words.
SMALLER = {
    "configs/mae.py:tiny": "steps=90 probe.every=45 images.every=45 checkpoint.every=45",
    "configs/finetune.py:tiny": "steps=40 probe.every=20 images.every=20 checkpoint.every=20",
    "configs/mae.py ": "steps=4 batch_size=4 optim.warmup_steps=1 model.preset=Ti model.depth=1 "
    "model.num_frames=4 model.image_size=32 mae.decoder_depth=1 mae.decoder_width=24 "
    "mae.decoder_heads=3 probe.clips=16 data.num_threads=1",
    "configs/probe.py": "seeds=1 init_seeds=1 heads=ridge resamples=100",
    "configs/benchmark.py": "seeds=1 init_seeds=1 heads=ridge resamples=100",
}


def write_videos(folder):
    """Twelve films of a moving disc, three phases each by colour and pace, and their table."""
    folder.mkdir()
    rng, rows = np.random.default_rng(0), ["path,start_s,end_s,phase"]
    for number in range(12):
        path, start = folder / f"op{number + 1:02d}.mp4", 0
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 8, (96, 64))
        for pace, (phase, colour) in enumerate(PHASES.items(), 1):
            seconds = int(rng.integers(10, 18))
            rows.append(f"{path.name},{start},{start + seconds},{phase}")
            start += seconds
            for k in range(8 * seconds):
                image = np.full((64, 96, 3), colour, np.uint8)
                place = (int(48 + 30 * np.sin(k * pace / 9)), int(32 + 20 * np.cos(k / 7)))
                cv2.circle(image, place, 6 + 2 * pace, (220, 220, 220), -1)
                writer.write(image)
        writer.release()
    (folder / "cases.csv").write_text("\n".join(rows) + "\n")
    shutil.copy(folder / "op01.mp4", folder.parent / "NEW.mp4")


def write_videomae(folder):
    """A folder as transformers saves an encoder, with random weights."""
    from transformers import VideoMAEConfig, VideoMAEModel

    sizes = {"hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 3}
    clip = {"image_size": 32, "patch_size": 8, "num_frames": 4}
    config = VideoMAEConfig(**sizes, **clip, intermediate_size=96, layer_norm_eps=1e-6)
    VideoMAEModel(config).save_pretrained(folder)


def commands(page):
    """The command lines of a page that start a module, in order."""
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / page).read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("python -m"):
                yield line


def walk(page, folder):
    """Runs the commands of a page in a folder; returns command -> what it said."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TQDM_DISABLE": "1"}
    environment.pop("XLA_FLAGS", None)  # one device, as a user's machine has
    said = {}
    for line in commands(page):
        if "compile_report" in line:
            continue  # it needs libtpu; tests/compile_report runs it
        more = next((m for words, m in SMALLER.items() if words in line), "")
        words = shlex.split(line, comments=True) + [f"--config.{value}" for value in more.split()]
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=folder, env=environment, capture_output=True, text=True, timeout=1500,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        said[line] = done.stdout + done.stderr
        assert "phantom_surgery" not in said[line], line
    return said


@pytest.mark.slow
def test_the_tutorial_from_videos_to_a_page(tmp_path):
    write_videos(tmp_path / "MYVIDEOS")
    said = walk("docs/tutorial.md", tmp_path)
    text = "\n".join(said.values())
    assert "data: my_hospital, as runs/mine has them" in text
    assert re.search(r"learns phase \(3 classes: .*\) at the last frame of a clip, of my_hos", text)
    assert re.search(r"step 40: my_hospital/phase/balanced_accuracy \d", text)
    for line, words in said.items():
        if not {"check", "report", "predict"} & set(re.split(r"[ .]", line)):
            assert "next: " in words, line  # every command says what comes next
    measured = json.loads((tmp_path / "runs/mine/probe/results.json").read_text())
    assert measured["tasks"][0]["counts"]["test"]["cases"] >= 3
    assert {"mine", "random", "pixels"} <= {model["name"] for model in measured["models"]}
    assert (tmp_path / "runs/benchmark/index.html").exists()
    assert (tmp_path / "runs/mine/index.html").exists()
    assert not (tmp_path / "data/phantom_surgery").exists()


@pytest.mark.slow
def test_the_three_routes_of_the_readme(tmp_path):
    write_videos(tmp_path / "MYVIDEOS")
    write_videomae(tmp_path / "VIDEOMAE")
    said = walk("README.md", tmp_path)
    table = said[next(line for line in said if "surgrec_jax.benchmark" in line)]
    assert "VideoMAE" in table and "mine" in table and "majority" in table
    assert not (tmp_path / "data/phantom_surgery").exists()


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < 700
