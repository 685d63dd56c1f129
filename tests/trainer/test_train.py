"""The trainer through its command line: exact resumption, refusals before long work."""

import json
import os
import re
import signal
import subprocess
import time

import pytest

from surgrec_jax import main
from surgrec_jax.hosts.stop_signal import StopSignal
from tests import forked, one_device
from tests.trainer.small_run import ROOT, command, losses, train


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(whole, data_dir, tmp_path):
    parts = tmp_path / "parts"
    first = train("mae", data_dir, parts, "--config.steps=12", "--config.stop_after=5")
    assert first.returncode == main.STOPPED and "the same command continues" in first.stderr
    less = train("mae", data_dir, parts, "--config.steps=12", "--config.stop_after=3")
    assert less.returncode == main.STOPPED and "stopped and saved at step 5" in less.stderr
    second = train("mae", data_dir, parts, "--config.steps=12", "--config.data.num_threads=3")
    assert second.returncode == 0
    assert losses(parts) == whole("mae", "--config.steps=12")
    assert list(losses(parts)) == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jepa", "levjepa"])
def test_killed_at_any_time_the_run_ends_with_the_same_losses(name, whole, data_dir, tmp_path):
    """60 steps straight equal 30 steps, kill -9, and 30 steps with other loader workers."""
    parts = tmp_path / "parts"
    process = subprocess.Popen(
        command(name, data_dir, parts),
        cwd=ROOT,
        env=one_device.environment(),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not (parts / "metrics.jsonl").exists() or len(losses(parts)) < 30:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = train(name, data_dir, parts, "--config.data.num_workers=2")
    assert again.returncode == 0, again.stderr
    assert losses(parts) == whole(name)
    assert list(losses(parts)) == list(range(1, 61))


@pytest.mark.slow
@pytest.mark.parametrize("devices", [(1, 8), (8, 1)])
def test_a_run_goes_on_with_another_number_of_devices(devices, whole, data_dir, tmp_path):
    """Of `jepa`, whose state holds all that the others' do."""
    name, short = "jepa", "--config.steps=12"
    parts = tmp_path / "parts"
    before, after = devices
    mesh = "--config.mesh.fsdp=-1"
    stopped = train(name, data_dir, parts, short, mesh, "--config.stop_after=6", devices=before)
    assert stopped.returncode == main.STOPPED
    assert train(name, data_dir, parts, short, mesh, devices=after).returncode == 0
    expected, got = whole(name, short), losses(parts)
    assert got.keys() == expected.keys()
    for step, loss in expected.items():
        assert got[step] == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_the_documented_code(data_dir, tmp_path):
    process = subprocess.Popen(
        command("mae", data_dir, tmp_path, "--config.steps=100000"),
        cwd=ROOT,
        env=one_device.environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 300
    while not (tmp_path / "metrics.jsonl").exists() or len(losses(tmp_path)) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == main.STOPPED
    saved = max(int(p.name) for p in (tmp_path / "checkpoints").iterdir() if p.name.isdigit())
    assert f"stopped and saved at step {saved} of 100000" in stderr
    assert max(losses(tmp_path)) == saved


def test_a_second_signal_ends_the_process_at_once():
    """The first is only noted; it puts the default action, which ends the process, back."""
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert not stop.reached(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reached(2)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_broken_number_stops_the_run_with_the_batchs_ids(data_dir, tmp_path):
    broken = train("mae", data_dir, tmp_path, "--config.optim.lr=1e30", "--config.steps=9")
    assert broken.returncode == 1
    (report,) = tmp_path.glob("nonfinite-step*-process0.json")
    report = json.loads(report.read_text())
    step = report["step"]
    assert report["batch"]["draw"] == list(range(8 * (step - 1), 8 * step))
    assert len(report["batch"]["record"]) == 8
    assert f"step {step}: loss" in broken.stderr and "lower optim.lr" in broken.stderr
    assert len(broken.stderr.strip().splitlines()[-1]) < 500


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--config.batch_size=7", "--config.accum_steps=2"], 1, "use 8 or 6"),
        (["--config.model.image_size=48"], 1, "48.*40"),
        (["--config.data.sources=cholec80"], 1, "python -m data_builders build cholec80"),
        (["--config.data.sources=synthetic@test"], 1, "no split 'test'"),
        (["--config.objective=simclr"], 1, "'simclr'.*mae"),
    ],
)
def test_what_cannot_work_is_refused_before_training(more, code, message, data_dir, tmp_path):
    done = train("mae", data_dir, tmp_path / "run", *more)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert re.search(message, done.stderr), done.stderr


def test_a_workdir_of_another_config_is_left_alone(data_dir, tmp_path):
    assert train("mae", data_dir, tmp_path, "--config.steps=2").returncode == 0
    before = (tmp_path / "metrics.jsonl").read_bytes()
    other = train("mae", data_dir, tmp_path, "--config.steps=2", "--config.optim.lr=0.5")
    assert other.returncode == 1
    assert "optim.lr: 0.002 -> 0.5" in other.stderr and "another --workdir" in other.stderr
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config=configs/mae.py", "--config.steps=many"], "config.steps"),
        (["--workdir=x"], "--config is missing"),
        (["--config=configs/mae.py"], "--workdir is missing"),
    ],
)
def test_wrong_command_lines_end_in_one_sentence(argv, message):
    done = forked.run(["surgrec_jax.main", *argv], ROOT, timeout=60)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
