"""Before JAX's processes join: all are there, and all were started with the same command.

JAX's own start-up aborts with a stack trace where a process stays away, and one with another config
would train on with it, or hang. So the processes first meet over plain TCP on the coordinator's
port, before JAX opens it: each says who it is and what its config is, and process 0 answers all of
them alike, with one sentence where something is wrong.
"""

import dataclasses
import hashlib
import json
import socket
import time
from typing import Any

import numpy as np

from surgrec_jax.safety.errors import UserError

# One message; a config has about 5 kB.
_MAX_BYTES = 2**20
_RETRY_S = 0.2


class RendezvousError(UserError, ConnectionError):
    """Processes that did not come, or that do not belong together."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where this process stands among the others."""

    coordinator: str
    processes: int
    process: int


def find_place(coordinator: str | None, processes: int | None, process: int | None) -> Place:
    """This process's place: as given, or as a TPU pod, Slurm, Open MPI or Kubernetes says.

    Raises:
        RendezvousError: not all is known, or it does not fit together.
    """
    if None in (coordinator, processes, process):
        from jax._src.clusters import ClusterEnv  # has no public name

        detect = ClusterEnv.auto_detect_unset_distributed_params
        found = detect(coordinator, processes, process, None, None, 300)
        coordinator, processes, process = found[:3]
    values = {"coordinator": coordinator, "num_processes": processes, "process_id": process}
    missing = [f"--{name}" for name, value in values.items() if value is None]
    if missing:
        raise RendezvousError(
            "--distributed found no TPU pod, Slurm, Open MPI or Kubernetes job around this "
            f"process: give {', '.join(missing)}"
        )
    if not 0 <= process < processes:
        raise RendezvousError(f"--process_id={process} is not among --num_processes={processes}")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdigit():
        raise RendezvousError(f"--coordinator={coordinator} is not of the form host:port")
    return Place(coordinator, processes, process)


def meet(place: Place, config: dict[str, Any], *, timeout_s: float) -> None:
    """Returns when all processes have come and agree on the config.

    Args:
        config: flat JSON values that must be the same everywhere.
        timeout_s: how long all have to arrive.

    Raises:
        RendezvousError: on every process that came: who is missing, whose config differs and
            where, or that the coordinator cannot be reached.
    """
    if place.processes == 1:
        return
    me = {"process": place.process, "host": socket.gethostname(), "config": config}
    me["processes"] = place.processes
    deadline = time.monotonic() + timeout_s
    if place.process == 0:
        error = _receive_all(place, me, deadline, timeout_s)
    else:
        error = _report(place, me, deadline, timeout_s)
    if error:
        raise RendezvousError(error)


def check_same(what: str, value: Any) -> None:
    """Compares a JSON value over the processes of a run that has joined (a collective).

    Raises:
        RendezvousError: on every process: whose value differs from that of process 0.
    """
    import jax
    from jax.experimental import multihost_utils

    if jax.process_count() == 1:
        return
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
    everyones = multihost_utils.process_allgather(np.frombuffer(digest, np.uint8))  # [P, 32]
    differing = [k for k, other in enumerate(everyones) if (other != everyones[0]).any()]
    if differing:
        raise RendezvousError(
            f"process(es) {', '.join(map(str, differing))} and process 0 have different {what}: "
            f"this one, process {jax.process_index()}, has {json.dumps(value)[:500]}"
        )


def _receive_all(place: Place, me: dict, deadline: float, timeout_s: float) -> str:
    """Process 0: waits for the others and answers them; what is wrong, or ""."""
    port = int(place.coordinator.rpartition(":")[2])
    waiting: dict[int, tuple[socket.socket, dict]] = {}
    try:
        server = socket.create_server(("", port), backlog=place.processes)
    except OSError as error:
        raise RendezvousError(f"process 0 cannot listen on port {port}: {error}") from error
    with server:
        problem = ""
        while len(waiting) < place.processes - 1 and not problem:
            server.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                connection, address = server.accept()
                connection.settimeout(5)
                other = _read(connection)
                number = int(other["process"])
                _ = other["config"].items(), other["host"]
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue
                missing = [k for k in range(1, place.processes) if k not in waiting]
                problem = (
                    f"process(es) {', '.join(map(str, missing))} of {place.processes} did not "
                    f"reach process 0 at {place.coordinator} within {timeout_s:.0f} s"
                )
                break
            except (OSError, ValueError, KeyError, AttributeError, TypeError):
                connection.close()  # a stranger, or one that went away: it may come again
                continue
            if number in waiting or number == 0:
                problem = (
                    f"two processes say that they are process {number}: one on {other['host']} "
                    f"({address[0]}); give each its own --process_id"
                )
            waiting.setdefault(number, (connection, other))
        problem = problem or next(filter(None, (_compare(me, o) for _, o in waiting.values())), "")
        for connection, _ in waiting.values():
            try:
                connection.sendall(json.dumps({"error": problem}).encode() + b"\n")
                connection.recv(1)  # the other end closes first: the port is free at once
            except OSError:
                pass  # it will be missed by JAX
            connection.close()
    return problem


def _compare(me: dict, other: dict) -> str:
    """What differs between two processes, or ""."""
    who = f"process {other['process']} ({other['host']})"
    if other.get("processes") != me["processes"]:
        return (
            f"{who} was started for {other.get('processes')} processes, process 0 "
            f"({me['host']}) for {me['processes']}"
        )
    mine, theirs = me["config"], other["config"]
    differing = [
        f"{key}: {theirs.get(key)!r} and {mine.get(key)!r}"
        for key in sorted(mine.keys() | theirs.keys())
        if mine.get(key) != theirs.get(key)
    ]
    if not differing:
        return ""
    return (
        f"{who} and process 0 ({me['host']}) have different configs ({'; '.join(differing[:8])}); "
        "start all processes with the same command"
    )


def _report(place: Place, me: dict, deadline: float, timeout_s: float) -> str:
    """Another process: tells process 0 about itself; what is wrong, or ""."""
    host, _, port = place.coordinator.rpartition(":")
    reason: object = "no answer"
    while time.monotonic() < deadline:
        left = max(deadline - time.monotonic(), 0.01)
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=left) as there:
                # Process 0 answers at its own deadline, which may lie a little after this one.
                there.settimeout(left + 10)
                there.sendall(json.dumps(me).encode() + b"\n")
                return str(_read(there)["error"])
        except (OSError, ValueError, KeyError) as error:
            reason = error or reason
            time.sleep(_RETRY_S)
    return (
        f"process {place.process} ({me['host']}) cannot reach the coordinator, process 0 at "
        f"{place.coordinator}, within {timeout_s:.0f} s ({reason}): is it running, and is the "
        "address right?"
    )


def _read(connection: socket.socket) -> dict[str, Any]:
    """One line of JSON. Raises ValueError for anything else."""
    received = b""
    while not received.endswith(b"\n"):
        part = connection.recv(65536)
        received += part
        if not part or len(received) > _MAX_BYTES:
            raise ValueError("no message")
    message = json.loads(received)
    if not isinstance(message, dict):
        raise ValueError("no message")
    return message
