"""The list of commands, the keys that --help shows, and an installed copy outside the checkout."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec_jax import __main__ as table
from surgrec_jax.config.files import load_file
from surgrec_jax.config.help import comments, config_help
from surgrec_jax.config.values import keys_of

ROOT = Path(__file__).resolve().parents[1]


def test_every_command_stands_in_the_list(capsys):
    assert table.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    for name, (module, what) in table.COMMANDS.items():
        assert f"{name:<16}{module:<28}{what}" in lines
        found = importlib.util.find_spec(module)
        if found.submodule_search_locations:  # a package that runs has a __main__
            assert importlib.util.find_spec(f"{module}.__main__")
    assert table.main(["tarin"]) == 2 and "no command 'tarin'" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["mae", "jepa", "finetune", "probe", "benchmark", "curation"])
def test_help_shows_every_key_with_its_default_and_most_comments(name):
    path = f"{ROOT}/configs/{name}.py"
    config, said = load_file(f"{path}:tiny"), comments(Path(path))
    text = config_help(f"{path}:tiny")
    for key in keys_of(config):
        assert f"\n  {key} = " in text
    explained = keys_of(config).keys() & said.keys()
    assert len(explained) > 0.4 * len(keys_of(config))


def test_help_tells_the_variants_defaults_and_comments_of_shared_files():
    text = config_help(f"{ROOT}/configs/mae.py:tiny")
    assert "  batch_size = 16  # clips per step over all devices\n" in text
    assert (
        "  stop_after = not set  # stop at this step, as if the run were interrupted there" in text
    )
    assert "  data.max_bad_share = 0.01  # Records that cannot be used are replaced" in text


def test_configs_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_file("configs/mae.py:tiny").batch_size == 16
    (tmp_path / "configs").mkdir()
    own = "from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({'a': 1})\n"
    (tmp_path / "configs/mae.py").write_text(own)
    assert load_file("configs/mae.py").to_dict() == {"a": 1}  # one's own comes first


@pytest.mark.slow
def test_an_installed_copy_runs_from_any_folder(tmp_path):
    copy, target, elsewhere = tmp_path / "copy", tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("surgrec_jax", "data_builders", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ("pyproject.toml", "requirements.txt", "README.md"):
        shutil.copy(ROOT / name, copy)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*install, target, copy], check=True, timeout=600)

    def run(*command):
        environment = {**os.environ, "PYTHONPATH": str(target)}
        done = subprocess.run(
            [sys.executable, *map(str, command)],
            cwd=elsewhere, env=environment, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    surgrec = target / "bin" / "surgrec"
    assert "benchmark" in run(surgrec)[1]
    code, said = run(surgrec, "train", "--help", "--config=configs/mae.py:tiny")
    assert code == 0 and "  batch_size = 16  # clips per step" in said
    code, said = run(
        surgrec, "probe", "--config=configs/probe.py:tiny", "--config.checkpoint=runs/no"
    )
    assert code == 1 and "no checkpoint in runs/no, which does not exist" in said
    code, said = run("-m", "data_builders", "list")
    assert code == 0 and "video_folder" in said
