"""`python -m surgrec_jax.report`: the page of a run, while it trains and after."""

import json

import pytest

from surgrec_jax import report
from surgrec_jax.evaluation.report.run_logs import read_run


def workdir(tmp_path, steps, total=4):
    folder = tmp_path / "mine"
    folder.mkdir(exist_ok=True)
    each = range(1, steps + 1)
    lines = [{"step": k, "loss": 1 / k, "probe/own/phase/knn": 0.1 * k} for k in each]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "config.json").write_text(json.dumps({"objective": "mae", "steps": total}))
    return folder


def test_the_page_says_how_far_a_run_is(tmp_path, capsys):
    run = workdir(tmp_path, 2)
    sentence = "mine: step 2 of 4, loss 1 to 0.5; own phase knn 10.0 % to 20.0 %."
    assert report.verdict(read_run(run)) == sentence
    assert report.main([str(run)]) == 0
    page = run / "index.html"
    assert capsys.readouterr().out == f"page {page}\nnext: open {page} in a browser\n"
    text = (run / "index.html").read_text()
    assert sentence in text and 'http-equiv="refresh"' not in text


def test_the_page_is_written_again_until_the_run_is_complete(tmp_path, monkeypatch):
    run, waited = workdir(tmp_path, 2), []

    def sleep(seconds):  # meanwhile the run goes on
        waited.append(seconds)
        assert 'http-equiv="refresh" content="7"' in (run / "index.html").read_text()
        workdir(tmp_path, 3 if len(waited) == 1 else 4)

    monkeypatch.setattr(report.time, "sleep", sleep)
    assert report.main([str(run), "--watch=7"]) == 0
    text = (run / "index.html").read_text()
    assert waited == [7, 7] and "step 4 of 4" in text and "refresh" not in text


def test_a_run_without_steps_and_one_that_is_not_there(tmp_path, capsys):
    assert report.verdict(read_run(workdir(tmp_path, 0))) == "mine has logged no step yet."
    for arguments, said in (
        (["nowhere"], "no run at nowhere: give the --workdir of a training run"),
        ([str(tmp_path / "mine"), "--watch=-1"], "--watch=-1: give seconds"),
        (["gs://b/run"], "mount the storage"),
        ([str(tmp_path)], f"no run at {tmp_path}"),  # of films, say: nothing is written there
        ([str(tmp_path / "mine"), "--out", str(tmp_path)], "is a folder: name the page in it"),
    ):
        assert report.main(arguments) == 1
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(SystemExit):
        report.main([str(tmp_path / "mine"), "--watc=3"])
    assert "unrecognized arguments: --watc=3" in capsys.readouterr().err
