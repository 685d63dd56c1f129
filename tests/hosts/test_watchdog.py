"""Two processes that meet in collectives: one is lost, the other ends in time and names it."""

import re
import signal
import socket
import subprocess
import sys
import time

import pytest

from surgrec_jax.checkpoint import CheckpointError
from surgrec_jax.hosts import watchdog
from tests.faults import processes, runs

TIMEOUT = 8.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victim", "fault", "code"),
    [
        (1, signal.SIGKILL, 76),
        (0, signal.SIGKILL, -signal.SIGABRT),  # JAX is faster; a helper process says who was lost
        (1, signal.SIGSTOP, 76),
        (0, signal.SIGSTOP, 76),
        (1, None, 76),
    ],
)
def test_the_other_ends_in_time_and_says_whom_it_missed(victim, fault, code, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    proxy = processes.Proxy(port) if fault is None else None
    env = runs.environment(tmp_path, **runs.SEVERAL)
    pair = [
        subprocess.Popen(
            [*(sys.executable, "-m", "tests.faults.peer"), f"localhost:{at}", str(k), str(TIMEOUT)],
            cwd=runs.ROOT,
            env=env,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / f"said{k}").open("w"),
            text=True,
        )
        for k, at in ((0, port), (1, proxy.port if proxy else port))
    ]
    try:
        for process in pair:
            while process.stdout.readline() != "ready\n":
                assert process.poll() is None, (tmp_path / "said0").read_text()
        began = time.monotonic()
        if proxy:
            proxy.cut()
        else:
            pair[victim].send_signal(fault)
        for k in (0, 1) if proxy else (1 - victim,):
            assert pair[k].wait(timeout=60) == code
            time.sleep(0.5)  # for the helper's last words
            said = (tmp_path / f"said{k}").read_text()
            assert re.search(rf"surgrec_jax: .*process {1 - k} \(", said), said
        assert time.monotonic() - began < 2.5 * TIMEOUT
    finally:
        for process in pair:
            process.kill()
        if proxy:
            proxy.close()


def test_a_save_that_failed_for_want_of_another_process_is_known_as_such():
    lost = RuntimeError("UNKNOWN: Gloo AllGather failed: Connection reset by peer")
    save = CheckpointError("could not write checkpoint 10")
    assert not watchdog._from_another(save)
    save.__cause__ = lost
    assert watchdog._from_another(lost) and watchdog._from_another(save)
