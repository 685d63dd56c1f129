"""Replay: the same numbers as the run had; broken steps break again, or are skipped if allowed."""

import json

import pytest

from surgrec_jax import replay
from tests.faults import runs

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay")
    runs.make_data(folder / "data")
    return folder


def train(folder, name, **changes):
    args = runs.arguments(folder / name, folder / "data", batch_size=8, **changes)
    return runs.finish(folder, args)


def test_a_step_replayed_has_the_numbers_it_had(folder, capsys):
    code, said = train(folder, "whole", steps=9, checkpoint__every=4, checkpoint__keep=9)
    assert code == 0, said
    expected = runs.losses(folder / "whole")
    result = replay.replay(folder / "whole", 7)
    assert result["from_step"] == 4 and result["finite"]
    assert result["metrics"]["loss"] == pytest.approx(expected[7], rel=1e-5)
    assert [clip["draw"] for clip in result["clips"]] == list(range(48, 56))
    # The loss of a batch is the mean of its clips' own.
    mean = sum(clip["loss"] for clip in result["clips"]) / 8
    assert mean == pytest.approx(expected[7], rel=1e-5)
    norms = [module["gradients"]["norm"] for module in result["modules"].values()]
    whole = sum(norm**2 for norm in norms) ** 0.5
    assert whole == pytest.approx(result["metrics"]["grad_norm"], rel=1e-4)
    assert replay.main([str(folder / "whole")]) == 1
    assert "no step of" in capsys.readouterr().err


def test_a_broken_step_breaks_again_and_goes_on_when_allowed(folder, capsys):
    code, said = train(folder, "broken", steps=6, optim__lr=1e30)
    assert code == 1 and "surgrec_jax.replay" in said and "Traceback" not in said
    assert replay.main([str(folder / "broken"), "--json", str(folder / "out.json")]) == 3
    assert "the step BREAKS" in capsys.readouterr().out
    result = json.loads((folder / "out.json").read_text())
    report = json.loads(
        (folder / "broken" / f"nonfinite-step{result['step']}-process0.json").read_text()
    )
    assert [clip["record"] for clip in result["clips"]] == report["batch"]["record"]
    assert any(module["gradients"]["not_finite"] for module in result["modules"].values())
    code, said = train(folder, "broken", steps=6, optim__lr=1e30, max_nonfinite=9)
    assert code == 0, said
    lines = [json.loads(x) for x in (folder / "broken" / "metrics.jsonl").read_text().splitlines()]
    skipped = [line["step"] for line in lines if "nonfinite" in line]
    assert skipped and skipped[-1] == 6
