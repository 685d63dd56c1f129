"""The trainer through its command line: exact resumption, refusals before long work."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from surgrec_jax import main
from surgrec_jax.bench.synthetic import write_synthetic
from surgrec_jax.hosts.stop_signal import StopSignal

ROOT = Path(__file__).resolve().parents[1]
# A run of seconds: two layers on 8 frames of 32 pixels.
SMALL = [
    "--config.steps=60",
    "--config.batch_size=8",
    "--config.model.width=48",
    "--config.model.depth=2",
    "--config.model.heads=3",
    "--config.model.mlp_dim=96",
    "--config.model.num_frames=8",
    "--config.model.image_size=32",
    "--config.model.patch=8",
    "--config.data.sources=synthetic",
    "--config.optim.warmup_steps=2",
    "--config.probe.every=0",
    "--config.images.every=0",
    "--config.checkpoint.every=10",
    "--config.log_every=1",
]
EXTRA = {
    "mae": ["--config.mae.decoder_width=24", "--config.mae.decoder_heads=3"],
    "jepa": [
        "--config.jepa.masks=({'blocks': 2, 'scale': 0.2, 'context': 5, 'target': 4},)",
        "--config.jepa.predictor_width=24",
    ],
    "levjepa": [
        *("--config.levjepa.local_side=16", "--config.levjepa.hidden=32"),
        *("--config.levjepa.outputs=16", "--config.levjepa.lines=32"),
    ],
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_synthetic(folder, records=8, short_side=40)
    return folder


def command(name, data_dir, workdir, *more):
    config = f"--config={ROOT}/configs/{name}.py:tiny"
    run = [sys.executable, "-m", "surgrec_jax.main", config, f"--workdir={workdir}"]
    return [*run, *SMALL, *EXTRA[name], f"--config.data.data_dir={data_dir}", *more]


def environment(devices=1):
    flags = f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0"
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}


def train(name, data_dir, workdir, *more, devices=1):
    return subprocess.run(
        command(name, data_dir, workdir, *more),
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=400,
    )


def losses(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if "loss" in line}


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(data_dir, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train("mae", data_dir, whole, "--config.steps=12").returncode == 0
    first = train("mae", data_dir, parts, "--config.steps=12", "--config.stop_after=5")
    assert first.returncode == main.STOPPED and "the same command continues" in first.stderr
    less = train("mae", data_dir, parts, "--config.steps=12", "--config.stop_after=3")
    assert less.returncode == main.STOPPED and "stopped and saved at step 5" in less.stderr
    second = train("mae", data_dir, parts, "--config.steps=12", "--config.data.num_threads=3")
    assert second.returncode == 0
    assert losses(parts) == losses(whole)
    assert list(losses(whole)) == list(range(1, 13))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "jepa", "levjepa"])
def test_killed_at_any_time_the_run_ends_with_the_same_losses(name, data_dir, tmp_path):
    """60 steps straight equal 30 steps, kill -9, and 30 steps with other loader workers."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(name, data_dir, whole).returncode == 0
    process = subprocess.Popen(
        command(name, data_dir, parts),
        cwd=ROOT,
        env=environment(),
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
    assert losses(parts) == losses(whole)
    assert list(losses(whole)) == list(range(1, 61))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mae", "jepa"])
@pytest.mark.parametrize("devices", [(1, 8), (8, 1)])
def test_a_run_goes_on_with_another_number_of_devices(name, devices, data_dir, tmp_path):
    short = "--config.steps=12"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train(name, data_dir, whole, short).returncode == 0
    before, after = devices
    mesh = "--config.mesh.fsdp=-1"
    stopped = train(name, data_dir, parts, short, mesh, "--config.stop_after=6", devices=before)
    assert stopped.returncode == main.STOPPED
    assert train(name, data_dir, parts, short, mesh, devices=after).returncode == 0
    expected, got = losses(whole), losses(parts)
    assert got.keys() == expected.keys()
    for step, loss in expected.items():
        assert got[step] == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_sigterm_saves_and_exits_with_the_documented_code(data_dir, tmp_path):
    process = subprocess.Popen(
        command("mae", data_dir, tmp_path, "--config.steps=100000"),
        cwd=ROOT,
        env=environment(),
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
    done = subprocess.run(
        [sys.executable, "-m", "surgrec_jax.main", *argv],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def start_together(name, data_dir, workdir, count, devices, *more):
    """`count` processes of one run over jax.distributed, to their ends: [(exit code, stderr)]."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    gloo = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    together = (*more, f"--coordinator={address}", f"--num_processes={count}")
    processes = [
        subprocess.Popen(
            command(name, data_dir, workdir, *together, f"--process_id={i}"),
            cwd=ROOT,
            env=environment(devices) | gloo,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]
    errors = [process.communicate(timeout=600)[1] for process in processes]
    return [(p.returncode, error) for p, error in zip(processes, errors, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "count"), [("jepa", 2), ("jepa", 4), ("frozen", 2), ("levjepa", 2)]
)
def test_processes_give_the_losses_of_one_and_share_checkpoints(name, count, data_dir, tmp_path):
    """Four devices in two or four processes, then one process or two go on."""
    whole, parts, short = tmp_path / "whole", tmp_path / "parts", ["--config.steps=10"]
    if name == "frozen":
        name, teacher = "jepa", tmp_path / "teacher"
        assert train("mae", data_dir, teacher, "--config.steps=3").returncode == 0
        short += ["--config.jepa.target=frozen", f"--config.jepa.teacher={teacher}"]
    assert train(name, data_dir, whole, *short).returncode == 0
    split = (*short, "--config.mesh.fsdp=2")
    half = (*split, "--config.stop_after=5")
    for code, error in start_together(name, data_dir, parts, count, 4 // count, *half):
        assert code == main.STOPPED, error
    if count == 2:
        assert train(name, data_dir, parts, *short).returncode == 0
    else:
        for code, error in start_together(name, data_dir, parts, 2, 1, *split):
            assert code == 0, error
    expected, got = losses(whole), losses(parts)
    assert got.keys() == expected.keys()
    for step, loss in expected.items():
        assert got[step] == pytest.approx(loss, rel=1e-5)


@pytest.mark.slow
def test_processes_with_different_data_are_refused(data_dir, tmp_path):
    """Each process has its own data_dir; what lies there must be the same."""
    other = tmp_path / "other"
    write_synthetic(other, records=9, short_side=40)
    with socket.socket() as free:
        free.bind(("localhost", 0))
        together = f"--coordinator=localhost:{free.getsockname()[1]}", "--num_processes=2"
    processes = [
        subprocess.Popen(
            command("mae", folder, tmp_path / "run", *together, f"--process_id={i}"),
            cwd=ROOT,
            env=environment(1) | {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for i, folder in enumerate((data_dir, other))
    ]
    for process in processes:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 1, error
        assert "process(es) 1 and process 0 have different data" in error
