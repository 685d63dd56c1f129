"""Runs of several processes: the losses of one, shared checkpoints, data that must agree."""

import socket
import subprocess

import pytest

from surgrec_jax import main
from surgrec_jax.bench.synthetic import write_synthetic
from tests.trainer.small_run import ROOT, command, environment, losses, train


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
@pytest.mark.parametrize(("name", "count"), [("jepa", 4), ("frozen", 2), ("levjepa", 2)])
def test_processes_give_the_losses_of_one_and_share_checkpoints(
    name, count, whole, data_dir, tmp_path
):
    """Four devices in two or four processes, then one process or two go on."""
    parts, short = tmp_path / "parts", ["--config.steps=10"]
    if name == "frozen":
        name, teacher = "jepa", tmp_path / "teacher"
        assert train("mae", data_dir, teacher, "--config.steps=3").returncode == 0
        short += ["--config.jepa.target=frozen", f"--config.jepa.teacher={teacher}"]
    split = (*short, "--config.mesh.fsdp=2")
    half = (*split, "--config.stop_after=5")
    for code, error in start_together(name, data_dir, parts, count, 4 // count, *half):
        assert code == main.STOPPED, error
    if count == 2:
        assert train(name, data_dir, parts, *short).returncode == 0
    else:
        for code, error in start_together(name, data_dir, parts, 2, 1, *split):
            assert code == 0, error
    expected, got = whole(name, *short), losses(parts)
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
