"""What the command lines share: answers to wrong ones, and --help."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from surgrec_jax import benchmark, main, probe
from surgrec_jax.commands import parse_flags
from surgrec_jax.curation import __main__ as curation

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
        ([f"{MAE}:huge"], "configs/mae.py:huge does not exist: choose from ('base', 'unbalanced',"),
    ],
)
def test_a_wrong_config_is_one_sentence_and_exit_code_2(argv, message, capsys):
    with pytest.raises(SystemExit) as end:
        parse_flags("probe", ["probe", *argv], config="configs/probe.py")
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.startswith(f"probe: {message}") and error.count("\n") == 1


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


def test_help_is_no_error():
    command = [sys.executable, "-m", "surgrec_jax.main", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--coordinator" in done.stdout
