"""Processes meet before JAX's do: who is missing, and whose config differs, on every process."""

import socket
import threading
import time

import pytest

from surgrec_jax.hosts import config_agreement
from surgrec_jax.hosts.config_agreement import Place, RendezvousError


def free_address():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return f"localhost:{free.getsockname()[1]}"


def gather(configs, count=None, timeout_s=20, numbers=None, address=None):
    """What each of several processes (threads here) is told: "" or its error."""
    address, count = address or free_address(), count or len(configs)
    told = {}

    def one(index, number, config):
        try:
            config_agreement.meet(Place(address, count, number), config, timeout_s=timeout_s)
            told[index] = ""
        except RendezvousError as error:
            told[index] = str(error)

    numbers = numbers or range(len(configs))
    threads = [
        threading.Thread(target=one, args=(i, number, config))
        for i, (number, config) in enumerate(zip(numbers, configs, strict=True))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == len(configs), "a process hangs"
    return [told[i] for i in sorted(told)]


def test_all_come_and_agree_and_the_port_is_free_again():
    address = free_address()
    for _ in range(2):
        assert gather([{"seed": 1}] * 4, address=address) == [""] * 4


def test_a_different_config_is_told_to_everyone():
    told = gather([{"seed": 1, "optim.lr": 0.1}, {"seed": 1, "optim.lr": 0.2}, {"seed": 1}])
    assert len(set(told)) == 1
    assert "process 1" in told[0] or "process 2" in told[0]
    assert "optim.lr" in told[0] and "0.1" in told[0] and "same command" in told[0]


def test_a_process_that_does_not_come_is_named():
    began = time.monotonic()
    told = gather([{}, {}], count=4, timeout_s=1, numbers=[0, 2])
    assert time.monotonic() - began < 15
    assert told[0] == told[1]
    assert "process(es) 1, 3 of 4 did not reach process 0 at localhost:" in told[0]


def test_a_coordinator_that_cannot_be_reached_is_named():
    address = free_address()
    with pytest.raises(RendezvousError, match=f"process 1 .* {address}, within 1 s"):
        config_agreement.meet(Place(address, 2, 1), {}, timeout_s=1)


def test_two_processes_of_one_number():
    told = gather([{}, {}, {}], numbers=[0, 1, 1], timeout_s=3)
    assert "two processes say that they are process 1" in told[0]


def test_a_different_number_of_processes():
    address, told = free_address(), []

    def second():
        try:
            config_agreement.meet(Place(address, 3, 1), {}, timeout_s=10)
        except RendezvousError as error:
            told.append(str(error))

    thread = threading.Thread(target=second)
    thread.start()
    with pytest.raises(RendezvousError, match="started for 3 processes, process 0 .* for 2"):
        config_agreement.meet(Place(address, 2, 0), {}, timeout_s=10)
    thread.join(30)
    assert told and "started for 3 processes" in told[0]


def test_strangers_are_passed_over():
    address = free_address()
    host, port = address.split(":")
    stop = threading.Event()

    def stranger():
        while not stop.is_set():
            try:
                with socket.create_connection((host, int(port)), timeout=1) as there:
                    there.sendall(b"GET / HTTP/1.1\n")
            except OSError:
                time.sleep(0.01)

    thread = threading.Thread(target=stranger)
    thread.start()
    try:
        assert gather([{}, {}], address=address) == ["", ""]
    finally:
        stop.set()
        thread.join(10)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (("localhost:1", 2, 2), "--process_id=2 is not among --num_processes=2"),
        (("localhost", 2, 0), "not of the form host:port"),
        ((None, None, None), "give --coordinator, --num_processes, --process_id"),
        (("localhost:1", None, None), "give --num_processes, --process_id"),
    ],
)
def test_places_that_are_not_known(place, message, monkeypatch):
    for name in ("SLURM_JOB_ID", "OMPI_MCA_orte_hnp_uri", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RendezvousError, match=message):
        config_agreement.find_place(*place)


def test_slurm_is_found(monkeypatch):
    values = {
        "SLURM_JOB_ID": "4711",
        "SLURM_NTASKS": "4",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_NODELIST": "node[07-08]",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    place = config_agreement.find_place(None, None, None)
    assert (place.processes, place.process) == (4, 3)
    assert place.coordinator.startswith("node07:")


def test_one_process_meets_nobody():
    config_agreement.meet(Place("nowhere:1", 1, 0), {}, timeout_s=0)
    config_agreement.check_same("data", ["a"])
