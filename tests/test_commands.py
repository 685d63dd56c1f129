"""What the command lines share: answers to wrong ones, and --help."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from surgrec_jax import benchmark, main, probe
from surgrec_jax.commands import load_config, parse_flags
from surgrec_jax.config.files import load_file
from surgrec_jax.config.values import SYNONYMS, keys_of
from surgrec_jax.curation import __main__ as curation
from surgrec_jax.safety.errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]
MAE = f"--config={ROOT}/configs/mae.py"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config=configs/prob.py"], "--config=configs/prob.py: there is no such file"),
        (["--config", "configs/prob.py:tiny"], "--config=configs/prob.py: there is no such file"),
        ([f"--config={__file__}"], f"--config={__file__} has no function get_config; see configs/"),
        (["--config.seeds=4"], "--config is missing; e.g. --config=configs/probe.py"),
        ([MAE, "--config.modle.depth=3"], "--config.modle.depth does not exist; the nearest are m"),
        ([MAE, "--config.optim.lrr=3"], "--config.optim.lrr does not exist; the nearest are optim"),
        (
            [MAE, "--config.optim.learning_rate=1"],
            "--config.optim.learning_rate does not exist; the nearest are optim.lr, ",
        ),
        ([MAE, "--config.bs=1"], "--config.bs does not exist; the nearest are batch_size"),
        (
            [MAE, "--config.batch_size=big"],
            "--config.batch_size=big is not a whole number; the con",
        ),
        ([MAE, "--config.batch_size", "16.5"], "--config.batch_size=16.5 is not a whole number"),
        (
            [MAE, "--config.mesh.fsdp=x"],
            "--config.mesh.fsdp=x is not a whole number; the config has",
        ),
        (
            [MAE, "--config.optim.lr=fast"],
            "--config.optim.lr=fast is not a number; the config has 0",
        ),
        ([MAE, "--config.data.flip=maybe"], "--config.data.flip=maybe is not true or false"),
        (
            [MAE, "--config.optim=3"],
            "--config.optim is a section: give one of its values, e.g. --c",
        ),
        (
            [MAE, "--optim.lr=3"],
            "there is no flag --optim.lr; values of the config begin with --con",
        ),
        (
            [MAE, "--epochs=3"],
            "there is no flag --epochs; values of the config begin with --config., "
            "e.g. --config.steps",
        ),
        ([MAE, "--config.data.data_dir=gs://b/d"], "--config.data.data_dir=gs://b/d: gs:// is not"),
        (
            [MAE, "--config.init_from=s3://b/run"],
            "--config.init_from=s3://b/run: s3:// is not a fo",
        ),
        (
            ["--config=gs://b/mae.py"],
            "--config=gs://b/mae.py: gs:// is not a folder of this machine",
        ),
        ([f"{MAE}:huge"], f"{ROOT}/configs/mae.py:huge does not exist: choose fr"),
    ],
)
def test_a_wrong_config_is_one_sentence_and_exit_code_2(argv, message, capsys, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["surgrec_jax", *argv]
    )  # where ml_collections looks for overrides
    with pytest.raises(SystemExit) as end:
        parse_flags("surgrec_jax", ["surgrec_jax", *argv], config="configs/probe.py")
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith(f"surgrec_jax: {message}") and error.count("\n") == 1


def test_a_config_of_another_command_is_named(capsys):
    for program, config, said in (
        (
            "probe",
            "mae",
            "configs/mae.py is made for surgrec_jax, not for probe: it has no value",
        ),
        ("surgrec_jax", "probe", "configs/probe.py is made for probe, not for surgrec_jax"),
        ("benchmark", "probe", "configs/probe.py is made for probe, not for benchmark"),
        ("curation", "finetune", "configs/finetune.py is made for surgrec_jax, not for curation"),
    ):
        argv = [program, f"--config={ROOT}/configs/{config}.py"]
        with pytest.raises(SystemExit) as end:
            parse_flags(program, argv, config="configs/mae.py")
        assert end.value.code == 2 and said in capsys.readouterr().err
    with pytest.raises(ConfigError, match="made for probe, not for surgrec_jax"):
        load_config(f"{ROOT}/configs/probe.py", [], "surgrec_jax")


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (main, {"config", "workdir", "distributed", "coordinator", "lost_after"}),
        (curation, {"config", "distributed", "coordinator", "lost_after"}),
        (probe, {"config"}),
        (benchmark, {"config"}),
    ],
)
def test_help_lists_the_flags(program, names):
    listed = flags.FLAGS.get_key_flags_for_module(program.__name__)
    assert names <= {flag.name for flag in listed}


def test_a_switch_needs_no_value(monkeypatch):
    argv = ["probe", MAE, "--config.data.flip", "--config.steps", "5", "--noconfig.data.flip"]
    argv += ["--config.jepa.masks[0].blocks=3"]
    argv[1] = MAE.replace("mae", "jepa")
    monkeypatch.setattr(sys, "argv", argv)
    assert parse_flags("surgrec_jax", argv, config="configs/mae.py") == ["probe"]
    config = flags.FLAGS["config"].value
    assert (config.data.flip, config.steps, config.jepa.masks[0]["blocks"]) == (False, 5, 3)


def test_a_mistake_in_a_config_file_is_no_wrong_command_line(tmp_path):
    broken = tmp_path / "broken.py"
    broken.write_text("def get_config(variant=None):\n    return {}['colour']\n")
    with pytest.raises(KeyError, match="colour"):
        parse_flags("probe", ["probe", f"--config={broken}"], config="configs/probe.py")


def test_changes_of_a_config_are_checked_as_flags_are():
    path = f"{ROOT}/configs/mae.py"
    config = load_config(path, ["steps=5", "model.width=48", "optim.lr=1"])
    assert (config.steps, config.model.width, config.optim.lr) == (5, 48, 1.0)
    for change, message in (
        ("batch_size=big", "batch_size=big is not a whole number"),
        ("mesh.fsdp=x", "mesh.fsdp=x is not a whole number"),
        ("learning_rate=1", "nearest are optim.lr"),
        ("data.data_dir=gs://b", "mount the storage"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config(path, [change])


def test_every_synonym_is_of_a_key_that_exists():
    known = set()
    for name in ("mae", "jepa", "finetune", "probe", "benchmark"):
        known |= keys_of(load_file(f"{ROOT}/configs/{name}.py")).keys()
    for end in SYNONYMS:
        assert any(key == end or key.endswith("." + end) for key in known), end


def test_help_is_no_error():
    command = [sys.executable, "-m", "surgrec_jax.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--coordinator" in done.stdout
