"""Runs of two processes: one is killed, stopped or cut off; the other ends and names it."""

import argparse
import contextlib
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from surgrec_jax import checkpoint
from tests.faults import runs
from tests.faults.runs import expect

STEPS = 100_000
LOST, STOPPED = 76, 75


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `faults processes`."""
    parser.add_argument(
        "--lost_after", type=float, default=10, help="time-out of the runs, in seconds"
    )


def inject(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Every fault, of either process; then a run that goes on after one."""
    data = runs.make_data(folder / "data")
    outcome: dict[str, object] = {"time_out_s": args.lost_after}
    for name, fault in (("killed", signal.SIGKILL), ("stopped", signal.SIGSTOP), ("cut off", None)):
        for victim in (0, 1):
            if fault is None and victim == 0:
                continue  # there are two: cutting off one cuts off the other
            outcome[f"process {victim} {name}"] = lose(folder, data, victim, fault, args.lost_after)
    outcome["process 1 gets SIGTERM"] = terminate(folder, data, args.lost_after)
    return outcome


def lose(folder: Path, data: Path, victim: int, fault: int | None, timeout: float) -> str:
    """What the other process does; both workdirs' checkpoints must be usable afterwards."""
    workdir = folder / f"lost-{victim}-{fault}"
    with pair(folder, data, workdir, timeout, through_proxy=fault is None) as (processes, proxy):
        runs.wait_for_step(workdir, 7, processes[0])
        began = time.monotonic()
        if fault is None:
            proxy.cut()
            watched = (0, 1)
        else:
            processes[victim].send_signal(fault)
            watched = (1 - victim,)
        said = []
        for k in watched:
            _, text = processes[k].communicate(timeout=3 * timeout + 30)
            seconds = time.monotonic() - began
            expect(seconds < 2.5 * timeout + 10, f"process {k} took {seconds:.0f} s to end")
            missed = 1 - k
            expect(
                re.search(rf"surgrec_jax: .*process {missed} \(", text),
                f"process {k} did not name process {missed}: {text[-3000:]}",
            )
            said.append(f"process {k} ended with {processes[k].returncode} after {seconds:.1f} s")
    newest = max(checkpoint.steps_in(workdir / "checkpoints"), default=0)
    args = runs.arguments(workdir, data, steps=STEPS, stop_after=newest + 5)
    code, text = runs.finish(folder, args, timeout=300)
    first = runs.first_step(text)
    expect(code == STOPPED, f"the restart ended with {code}: {text}")
    expect(first == newest > 0, f"{newest} was saved, the restart went on from {first}")
    return "; ".join(said) + f"; restarted from step {first}"


def terminate(folder: Path, data: Path, timeout: float) -> str:
    """A preemption notice to one process: all save the same step and end."""
    workdir = folder / "terminated"
    with pair(folder, data, workdir, timeout) as (processes, _):
        runs.wait_for_step(workdir, 7, processes[0])
        processes[1].send_signal(signal.SIGTERM)
        for process in processes:
            _, text = process.communicate(timeout=120)
            expect(process.returncode == STOPPED, f"exit code {process.returncode}: {text}")
    saved = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    expect(max(runs.losses(workdir)) == saved, "the last step was not saved")
    return f"both saved step {saved} and ended with {STOPPED}"


@contextlib.contextmanager
def pair(
    folder: Path, data: Path, workdir: Path, timeout: float, *, through_proxy: bool = False
) -> "Iterator[tuple[list[subprocess.Popen], Proxy | None]]":
    """Two processes of one run; process 1 may reach the coordinator through a proxy only."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    proxy = Proxy(port) if through_proxy else None
    env = runs.environment(folder, **runs.SEVERAL)
    processes = []
    for k in range(2):
        address = proxy.port if proxy and k else port
        more = [f"--coordinator=localhost:{address}", "--num_processes=2", f"--process_id={k}"]
        args = runs.arguments(workdir, data, steps=STEPS)
        processes.append(runs.run(folder, [*args, *more, f"--lost_after={timeout}"], env=env))
    try:
        yield processes, proxy
    finally:
        for process in processes:
            process.kill()
            process.wait()
        if proxy:
            proxy.close()


class Proxy:
    """Carries bytes between local ports until it is cut; then it carries none and closes none."""

    def __init__(self, target: int):
        self._target, self._cut, self._sockets = target, threading.Event(), []
        self._server = socket.create_server(("localhost", 0))
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing arrives, as where a cable is pulled."""
        self._cut.set()

    def close(self) -> None:
        """Closes all sockets."""
        self._server.close()
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("localhost", self._target))
                except OSError:
                    near.close()  # nobody listens yet: the caller tries again
                    continue
                self._sockets += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1)
                for one in ready if not self._cut.is_set() else ():
                    data = one.recv(65536)
                    if not data:
                        near.close()
                        far.close()
                        return
                    (far if one is near else near).sendall(data)
                if self._cut.is_set():
                    time.sleep(1)
