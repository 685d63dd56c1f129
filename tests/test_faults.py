"""Short versions of `make faults`: every injected fault has the outcome that is guaranteed."""

import argparse
import signal

import numpy as np
import pytest

from tests.faults import damage, kills, processes, runs, storage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("faults")


def arguments(**values):
    return argparse.Namespace(seed=0, **values)


def part(folder, name):
    """A folder of its own for every part, as `python -m tests.faults` gives it."""
    (folder / name).mkdir(exist_ok=True)
    return folder / name


def test_kills_change_no_bit(folder):
    outcome = kills.inject(part(folder, "kills"), arguments(kills=2, fresh=True))
    assert outcome["kills"] == 2


def test_every_damaged_file_is_found(folder):
    outcome = damage.inject(part(folder, "damage"), arguments(files=4, continued=1))
    assert outcome["files"] == 4 and outcome["bit flipped"] == 12


def test_a_killed_process_is_named_by_the_other(folder):
    data = runs.make_data(folder / "data")
    said = processes.lose(folder, data, 1, signal.SIGKILL, 10.0)
    assert "process 0 ended with 76" in said


def test_a_read_only_workdir_is_refused_in_one_sentence(folder):
    said = storage.read_only(folder, runs.make_data(folder / "data"))
    if said.startswith("not tried"):
        pytest.skip(said)


def test_the_suite_can_fail(folder):
    """Losses that differ in one bit, and a step with another array, are told apart."""
    data = runs.make_data(folder / "data")
    for name in ("a", "b"):
        code, said = runs.finish(folder, runs.arguments(folder / name, data, steps=3))
        assert code == 0, said
    runs.expect_same(folder / "a", folder / "b")
    metrics = folder / "b" / "metrics.jsonl"
    loss = runs.losses(folder / "b")[2]
    other = repr(float(np.nextafter(loss, 2)))
    metrics.write_text(metrics.read_text().replace(repr(loss), other))
    with pytest.raises(runs.FaultError, match="losses differ at 1 steps"):
        runs.expect_same(folder / "a", folder / "b")
