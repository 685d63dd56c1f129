"""The ahead-of-time report: names, refusals, the table; compiling itself needs the extras."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec_jax.compile_report import __main__ as command
from surgrec_jax.compile_report import report, table, targets

ROOT = Path(__file__).resolve().parents[2]
HAS_LIBTPU = importlib.util.find_spec("libtpu") is not None


def test_targets():
    for name, chips in (("v5e:8x8", 64), ("v4:4x8x8", 256), ("h200:8", 8), ("v6e:16x16", 256)):
        assert targets.parse(name).chips == chips
    assert targets.parse("h100:1").gpu and not targets.parse("v5p:2x2x1").gpu


@pytest.mark.parametrize("name", ["v9:2x2", "v5e", "v5e:4", "h200:2x2", "", "v5e:4x4;ls"])
def test_unknown_topologies_are_answered_with_the_known_ones(name, capsys):
    code = command.main(["--config=configs/mae.py", f"--topology={name}"])
    error = capsys.readouterr().err
    assert code == 1 and f"--topology={name} is not known" in error
    assert "v5e:{2x2" in error and "h200:{1,2,4,8}" in error


@pytest.mark.skipif(HAS_LIBTPU, reason="libtpu is installed here")
def test_a_missing_compiler_is_named_with_the_command_that_installs_it(capsys):
    code = command.main(["--config=configs/mae.py", "--topology=v5e:4x4"])
    assert code == 1 and "pip install '.[tpu]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--config=configs/mae.py"], "--topology is missing"),
        (["--topology=v5e:4x4"], "--config is missing"),
        (["--topology=v5e:4x4", "--config=x", "--batch=4"], "unknown argument --batch=4"),
    ],
)
def test_wrong_command_lines(argv, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        command.main(argv)
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def fake_report(fixed, per_clip, limit, calls):
    def one(config, target):
        calls.append(config.batch_size // target.chips)
        needed = fixed + per_clip * calls[-1]
        return {
            "batch_size": config.batch_size,
            "batch_per_chip": calls[-1],
            "fits": needed <= limit,
            "memory_gib_per_chip": {"total": needed},
            "limit_gib_per_chip": limit,
            "state_gib_per_chip": {"params": fixed},
        }

    return one


@pytest.mark.parametrize("guess", [1, 8, 32, 512])
@pytest.mark.parametrize(
    ("fixed", "per_clip", "largest"), [(0.2, 0.6, 16), (1.0, 0.02, 512), (0.2, 14.0, 1)]
)
def test_the_search_ends_at_the_largest_power_of_two(guess, fixed, per_clip, largest, monkeypatch):
    """The search itself, on programs of known size: few compilations, and the right end."""
    from surgrec_jax.commands import load_config

    calls, kept = [], []
    monkeypatch.setattr(report, "report", fake_report(fixed, per_clip, 15.75, calls))
    config = load_config(str(ROOT / "configs/mae.py"), [])
    found = report.largest_batch(config, targets.parse("v5e:4x4"), guess, kept.append)
    assert kept[-1] == found and all(k["fits"] for k in kept)
    assert found["fits"] and found["batch_per_chip"] == largest
    assert len(calls) <= 5


def test_a_model_that_fits_nowhere(monkeypatch):
    from surgrec_jax.commands import load_config

    monkeypatch.setattr(report, "report", fake_report(20.0, 1.0, 15.75, []))
    config = load_config(str(ROOT / "configs/mae.py"), [])
    found = report.largest_batch(config, targets.parse("v5e:4x4"), 4)
    assert not found["fits"] and found["batch_per_chip"] == 1


def test_the_table_has_a_place_for_every_cell(tmp_path):
    cells = list(table.cells())
    assert len(cells) == len(set(cells)) == 4 * 2 * 10 + 2
    figures = {
        "fits": True,
        "searched": True,
        "batch_per_chip": 16.0,
        "memory_gib_per_chip": {"total": 10.4},
        "state_gib_per_chip": {"params": 0.4},
    }
    (tmp_path / "jepa-L-v5e-4x4.json").write_text(json.dumps(figures))
    rows = table.markdown(table.load(tmp_path)).splitlines()
    assert rows[0].count("|") == rows[2].count("|") == 10
    assert rows[2].startswith("| v5e:4x4 (15.8) |") and "| 16 (10.4) |" in rows[2]
    assert "-" not in rows[2].split(" | ") and len(rows) == 3
    (tmp_path / "jepa-L-v5e-8x8.json").write_text(json.dumps(figures))
    beside = table.markdown(table.load(tmp_path)).splitlines()[3].strip("| ").split(" | ")
    assert (beside.count("-"), beside.count("open"), beside.count("16 (10.4)")) == (6, 1, 1)
    # The same model on a chip of six times the memory: 2^k below (95.74 - 0.4) / (10 / 16).
    assert table._guess(tmp_path, table.Cell("jepa", "L", "v5p:2x2x4")) == 128


@pytest.mark.slow
@pytest.mark.skipif(not HAS_LIBTPU, reason="needs the extra tpu: pip install '.[tpu]'")
def test_a_tiny_step_compiles_for_a_tpu(tmp_path):
    out = tmp_path / "report.json"
    words = ["-m", "surgrec_jax.compile_report", "--config=configs/jepa.py:tiny"]
    words += ["--topology=v5e:2x2", "--config.mesh.fsdp=4", f"--json={out}"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["fits"] and figures["dtype"] == "bfloat16" and figures["chips"] == 4
    assert figures["collectives"]["all-gather"]["runs_per_step"] == 48
