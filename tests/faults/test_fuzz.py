"""A few seeded cases of every kind; `make faults` runs them in full."""

import pytest

from tests.faults import fuzz


def check(kind, count, decoded, monkeypatch, seed=11):
    monkeypatch.setenv("SURGREC_FUZZ_PARSERS", "1")
    result = fuzz.run(kind, count, seed)
    assert not result.bad, result.bad[:3]
    assert result.outcomes.total() == count
    # Mutations must not be so coarse that nothing gets past the first check.
    assert result.outcomes[fuzz.DECODED] >= decoded
    assert result.outcomes[fuzz.REPORTED] >= count // 10
    assert result.mebibytes < 2048 and result.seconds < 30


@pytest.mark.parametrize(("kind", "decoded"), [("records", 4), ("annotations", 4)])
def test_cheap_kinds(kind, decoded, monkeypatch):
    check(kind, 40, decoded, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "decoded"), [("videos", 40, 8), ("configs", 12, 1), ("saved", 70, 12)]
)
def test_dear_kinds(kind, count, decoded, monkeypatch):
    check(kind, count, decoded, monkeypatch)


def test_a_crash_a_hang_and_an_escape_are_told(monkeypatch, tmp_path):
    """The harness itself: what it is there to find, it finds, and goes on with the next case."""
    monkeypatch.setattr(fuzz, "WALL_S", 3.0)
    script = tmp_path / "suite.py"
    script.write_text(
        "import os, signal, time\n"
        "def case(n):\n"
        "    if n == 1: os.kill(os.getpid(), signal.SIGSEGV)\n"
        "    if n == 3: time.sleep(60)\n"
        "    if n == 4: raise KeyError('x')\n"
        "    if n == 5: bytearray(3 * 2**30)\n"
        "    if n == 6: raise ValueError\n"
        "    return 'fine'\n"
        "def suite(folder, seed): return case, (ValueError,)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(fuzz.SUITES, "odd", "suite")
    result = fuzz.run("odd", 8, 0)
    assert [entry[:2] for entry in result.bad] == [
        (1, fuzz.CRASHED),
        (3, fuzz.HUNG),
        (4, fuzz.ESCAPED),
        (5, fuzz.ESCAPED),
    ]
    assert "MemoryError" in result.bad[3][2]
    assert result.outcomes[fuzz.DECODED] == 3 and result.outcomes[fuzz.REPORTED] == 1
