"""The commands of README, tutorial and the page on scale, in their order, on a user's own folder.

Only sizes are changed: fewer steps, and in place of a card's model one that a core trains. What
README and tutorial begin with alike is run once.
"""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

from surgrec_jax.commands import load_config
from surgrec_jax.compile_report import __main__ as compile_report
from surgrec_jax.compile_report import targets
from tests import walk

ROOT = Path(__file__).resolve().parents[1]
PHASES = {"preparation": (60, 70, 180), "dissection": (50, 60, 120), "closure": (80, 110, 160)}
# What is appended to a command that has these words.
SMALLER = {
    "configs/mae.py:tiny": "steps=60 optim.warmup_steps=5 probe.every=30 images.every=30 "
    "checkpoint.every=30",
    "configs/finetune.py:tiny": "steps=40 probe.every=20 images.every=20 checkpoint.every=20",
    "configs/mae.py ": "steps=4 batch_size=4 optim.warmup_steps=1 model.preset=Ti model.depth=1 "
    "model.num_frames=4 model.image_size=32 mae.decoder_depth=1 mae.decoder_width=24 "
    "mae.decoder_heads=3 probe.clips=16 data.num_threads=1",
    "configs/probe.py": "seeds=1 init_seeds=1 heads=ridge resamples=100",
    "configs/benchmark.py": "seeds=1 init_seeds=1 heads=ridge resamples=100",
}
# The same for `bench step`, whose values stand behind --set.
SMALL_STEP = (
    "model.preset=Ti model.depth=1 model.num_frames=4 model.image_size=32 batch_size=1 "
    "mae.decoder_depth=1 mae.decoder_width=24 mae.decoder_heads=3"
)
TUTORIAL = "docs/tutorial.md"


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


def arguments(line):
    """A command's words, with what makes it small."""
    more = next((m for words, m in SMALLER.items() if words in line), "")
    return shlex.split(line, comments=True) + [f"--config.{value}" for value in more.split()]


def go(shell, lines):
    """Runs command lines that the shell has not run; every one says what comes next."""
    for line in lines:
        if "compile_report" in line or line in shell.said:
            continue  # the walk of the page on scale has the former
        text = shell.run(line, arguments(line))
        assert "phantom_surgery" not in text, line
        assert text.splitlines()[-1].startswith("next: "), line


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A folder in which all was run that README and tutorial have in common, before they part."""
    folder = tmp_path_factory.mktemp("walk")
    write_videos(folder / "MYVIDEOS")
    shell = walk.Shell(folder)
    both = [line for line in walk.commands("README.md") if line in walk.commands(TUTORIAL)]
    assert len(both) > 2
    go(shell, [line for line in both if "runs/phase" not in line])
    return shell


@pytest.fixture
def shell(begun, tmp_path):
    """A copy of that folder to go on in."""
    folder = tmp_path / "copy"
    shutil.copytree(begun.folder, folder)
    copy = walk.Shell(folder)
    copy.said |= begun.said
    return copy


@pytest.mark.slow
def test_the_tutorial_from_videos_to_a_page(shell):
    go(shell, walk.commands(TUTORIAL))
    text = "\n".join(shell.said.values())
    assert "data: my_hospital, as runs/mine has them" in text
    assert re.search(r"learns phase \(3 classes: .*\) at the last frame of a clip, of my_hos", text)
    assert re.search(r"step 40: my_hospital/phase/balanced_accuracy \d", text)
    runs = shell.folder / "runs"
    measured = json.loads((runs / "mine/probe/results.json").read_text())
    assert measured["tasks"][0]["counts"]["test"]["cases"] >= 3
    assert {"mine", "random", "pixels"} <= {model["name"] for model in measured["models"]}
    assert (runs / "benchmark/index.html").exists() and (runs / "mine/index.html").exists()
    assert (shell.folder / "predictions/NEW/index.html").exists()
    assert not (shell.folder / "data/phantom_surgery").exists()


@pytest.mark.slow
def test_the_three_routes_of_the_readme(shell):
    write_videomae(shell.folder / "VIDEOMAE")
    go(shell, walk.commands("README.md"))
    (table,) = [text for line, text in shell.said.items() if "surgrec_jax.benchmark" in line]
    assert "VideoMAE" in table and "mine" in table and "majority" in table
    assert not (shell.folder / "data/phantom_surgery").exists()


def launched(printed):
    """The config of a run that a launch script says it would start."""
    words = [word for line in printed.splitlines() for word in shlex.split(line)]
    words = [part for word in words for part in (word.split() if " -m " in word else [word])]
    (config,) = [w.removeprefix("--config=") for w in words if w.startswith("--config=")]
    changes = [w.removeprefix("--config.") for w in words if w.startswith("--config.")]
    return load_config(str(ROOT / config), changes)


def compiled_for(line, capfd):
    """Asks for a report as far as it goes without the other machine's compiler; the config."""
    args, changes = compile_report.parse(shlex.split(line, comments=True)[3:])
    if args.table:
        return None
    target = targets.parse(args.topology)
    if not importlib.util.find_spec("jax_cuda13_plugin" if target.gpu else "libtpu"):
        assert compile_report.main(shlex.split(line, comments=True)[3:]) == 1
        assert f"pip install '.[{target.chip.package}]'" in capfd.readouterr().err
    config = load_config(str(ROOT / args.config), changes)
    assert target.chips % config.mesh.fsdp == 0
    assert config.batch_size % (target.chips * config.accum_steps) == 0
    return config


@pytest.mark.slow
def test_a_pod_by_dry_runs(tmp_path, capfd):
    """Scripts say what they would do, values are those of configs, what needs no pod runs."""
    shell, runs, asked = walk.Shell(tmp_path), [], []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for line in walk.lines("docs/scaling.md"):
        words = shlex.split(line, comments=True)
        if "launch/" in line:
            done = subprocess.run(
                ["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            runs += [launched(done.stdout)] if "surgrec_jax.main" in done.stdout else []
        elif "compile_report" in line:
            asked.append(compiled_for(line, capfd))
        elif words[:3] == ["python", "-m", "surgrec_jax.bench"]:
            text = shell.run(line, [*words, *SMALL_STEP.split(), "--steps", "1"])
            assert "temporary_mib" in text
        elif words[:2] == ["pip", "install"]:
            assert words[2].strip(".[]") in project["optional-dependencies"]
        else:
            assert words[:4] == ["gcloud", "storage", "buckets", "create"], line
    assert len(runs) == 2 and {run.objective for run in runs} == {"jepa"}
    assert len(asked) == 6


def test_the_readme_is_short():
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < 700
