"""The HTML report: hostile text, missing parts, no outside resources, numbers in place."""

import html.parser
import json
import re

import cv2
import numpy as np
import pytest

from surgrec_jax.evaluation.benchmark import results
from surgrec_jax.evaluation.metrics import bootstrap
from surgrec_jax.evaluation.report import benchmark as report_benchmark
from surgrec_jax.evaluation.report import results as results_page
from surgrec_jax.evaluation.report import run_logs, summary
from surgrec_jax.safety import files

HOSTILE = "<script>alert('x')</script>\"'&"


def entry(mean, difference=None):
    found = {
        "mean": mean,
        "std": 0.01,
        "seeds": [mean, mean + 0.01],
        "interval": {"value": mean, "low": mean - 0.05, "high": mean + 0.05, "cases": 8},
        "metrics": {"top1": mean, "balanced_accuracy": mean, "macro_f1": None},
        "per_class": {
            label: {"support": 3, "precision": None, "recall": 0.5, "jaccard": 0.2, "f1": 0.3}
            for label in ("one", HOSTILE)
        },
        "chosen": [0.1, 0.1],
        "validation": [0.5, 0.5],
    }
    if difference is not None:
        low, high = difference - 0.02, difference + 0.02
        found["minus_random"] = {"value": difference, "low": low, "high": high, "cases": 8}
    return found


def measured(name=HOSTILE):
    task = {
        "name": "phase", "source": "phantom_surgery", "track": "phase",
        "metric": "balanced_accuracy", "unit": "clip", "classes": ["one", HOSTILE],
        "counts": dict.fromkeys(  # noqa: RUF024
            ("train", "validation", "test"), {"cases": 8, "videos": 9, "clips": 70}
        ),
        "unseen_test_classes": [HOSTILE],
        "heads": {"linear": {
            "majority": entry(0.2), "random": entry(0.4), name: entry(0.6, 0.2),
            "weak": entry(0.41, 0.01),
        }},
    }  # fmt: skip
    return {
        "version": results.VERSION,
        "created": "2026-01-01T00:00:00+00:00", "seconds": 61.0,
        "source": "phantom_surgery", "data": {}, "environment": {"jax": HOSTILE},
        "protocol": {
            "protocol": "v2", "seeds": 3, "init_seeds": 2, "train_resample": "cases",
            "level": 0.95,
        },
        "notes": ["Phantom data, not clinical"],
        "models": [
            {"name": "majority", "kind": "majority"}, {"name": "random", "kind": "random"},
            {"name": name, "kind": "encoder"}, {"name": "weak", "kind": "encoder"},
        ],
        "tasks": [task],
    }  # fmt: skip


def workdir(tmp_path, name="mae"):
    folder = tmp_path / name
    (folder / "images").mkdir(parents=True)
    lines = [
        json.dumps({"step": 1, "loss": 1.0, "lr": 0.1}),
        json.dumps(
            {"step": 2, "loss": 0.5, "probe/phantom_surgery/phase/knn": 0.3, "note": HOSTILE}
        ),
        "not json",
        '{"step": 3, "loss": NaN}',
        json.dumps({"step": 2, "loss": 0.4}),  # written again after a restart
        json.dumps({"step": 4, f"probe/{HOSTILE}/knn": 0.3}),
    ]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 5, "lo')
    (folder / "config.json").write_text(json.dumps({"objective": "mae", "name": HOSTILE}))
    (folder / "environment.json").write_text(json.dumps({"not": "a list"}))
    image = np.full((4, 6, 3), 200, np.uint8)
    for step in (10, 200, 30):
        cv2.imwrite(str(folder / "images" / f"{step:08d}.png"), image)
    (folder / "images" / "fake.png").write_text(HOSTILE)
    return folder


class Checker(html.parser.HTMLParser):
    """Collects tags and attributes, and checks that tags nest."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links = [], set(), []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.links += [v for k, v in attrs if k in ("src", "href", "action", "data")]
        assert not any(k.startswith("on") for k, _ in attrs)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report_escapes_hostile_text_and_loads_nothing(tmp_path):
    folder = workdir(tmp_path, "<img src=x onerror=alert(1)>")
    text = summary.build_report(
        [run_logs.read_run(folder)],
        measured(),
        title=HOSTILE,
        lead=HOSTILE,
        facts={HOSTILE: HOSTILE},
    )
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert not checker.tags & {"script", "link", "iframe", "object", "form"}
    assert len(checker.links) == 3 and all(
        v.startswith("data:image/jpeg;base64,") for v in checker.links
    )
    assert "<script" not in text and "<img src=x" not in text
    assert "&lt;script&gt;alert" in text
    assert not re.findall(r"https?://|url\(|@import", text)


def test_report_says_what_was_measured(tmp_path):
    text = summary.build_report([], measured("MAE"), title="t")
    assert "Phantom data, not clinical" in text
    assert "MAE: better than random initialisation on phase (+20.0 [+18.0, +22.0])." in text
    assert (
        "weak: no difference shown on phase (+1.0 [-1.0, +3.0], within the seeds&#x27; spread)."
        in text
    )
    assert "<b>60.0 %</b> ± 1.0" in text and "[55.0, 65.0]" in text
    assert '<b style="width:60.0%"></b><i style="left:' in text  # with chance as a line
    assert "8 test cases" in text


def test_a_test_that_is_too_small_says_what_it_needs():
    """An interval wider than 5 points to each side that holds 0 shows neither way."""
    found = measured("MAE")
    entry_of = found["tasks"][0]["heads"]["linear"]["weak"]
    entry_of["minus_random"] |= {"low": -0.19, "high": 0.21}
    needed = bootstrap.cases_needed(bootstrap.Interval(0.01, -0.19, 0.21, 8), 0.05)
    assert 70 < needed < 110  # a quarter of the width: sixteen times the cases, and a smaller t
    text = summary.build_report([], found, title="t")
    said = f"8 test cases, ±5.0 needs about {needed})."
    assert "weak: the test is too small to tell on phase (+1.0 [-19.0, +21.0]" in text
    assert said in text
    assert "no difference shown" not in text


def test_the_words_are_true_of_the_table():
    found = measured("MAE")
    better = "MAE tells phase better than the same network before training"
    assert results_page.in_words(found) == (
        f"On 8 test cases {better}; "
        "weak cannot be told from the same network before training on phase."
    )
    second = json.loads(json.dumps(found["tasks"][0])) | {"name": "action"}
    second["heads"]["linear"]["MAE"]["minus_random"] |= {"low": -0.3, "high": -0.1}
    del second["heads"]["linear"]["weak"]["minus_random"]
    found["tasks"].append(second)
    assert f"{better} and tells action worse than it; weak cannot" in results_page.in_words(found)
    for task in found["tasks"]:
        task["heads"] = {"linear": {"majority": entry(0.2)}}
    assert results_page.in_words(found) == ""


def test_a_probe_of_fine_tuned_encoders_has_no_other_baseline_than_the_majority():
    found = measured("MAE")
    found["protocol"]["protocol"] = "fine-tune"
    entries = found["tasks"][0]["heads"].pop("linear")
    row = {name: entries[name] for name in ("majority", "MAE")}
    found["tasks"][0]["heads"] = {"fine-tuned": row}
    text = summary.build_report([], found, title="t")
    assert "What the fine-tuned encoders know" in text and "random-initialised" not in text
    assert text.count('<rect class="bar"') == 1 and 'class="reference"' in text
    assert text.count('<rect class="band"') == 1 and "Band: majority " in text
    assert "random-initialised" not in results.table(found)
    benchmark = report_benchmark._tables(found, list(row), results_page.colours(found["models"]))
    assert "one training run each" in benchmark
    assert "random-initialised" not in benchmark and "Hyper-parameters" not in benchmark


def test_report_command_line(tmp_path, capsys):
    folder = workdir(tmp_path)
    probe = tmp_path / "results.json"
    files.write_json(probe, measured())
    out = tmp_path / "page" / "report.html"
    summary.main(["--runs", str(folder), "--probe", str(probe), "--out", str(out), "--fact", "a=b"])
    assert str(out) in capsys.readouterr().out
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert summary.main(["--runs", str(tmp_path / "absent"), "--out", str(out)]) == 2
    assert "no run at" in capsys.readouterr().err
    probe.write_text('{"version": 0}')
    assert summary.main(["--probe", str(probe), "--out", str(out)]) == 2
    assert "not a results file of version" in capsys.readouterr().err


def test_run_log_is_tolerant_and_counts_what_it_left_out(tmp_path):
    run = run_logs.read_run(workdir(tmp_path))
    assert run.curves["loss"] == ([1.0, 2.0], [1.0, 0.4])
    assert run.curves["probe/phantom_surgery/phase/knn"] == ([2.0], [0.3])
    assert "note" not in run.curves
    assert [picture.step for picture in run.pictures] == [10, 30, 200]
    assert set(run.notes) == {
        "2 unreadable lines in metrics.jsonl left out",
        "1 non-finite values in metrics.jsonl left out",
        "environment.json holds no list",
        "image fake.png left out: neither PNG nor JPEG inside",
    }
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun/config.json").write_text("{}")
    shown = summary.pictures_section([run])
    assert "<b>mae</b>: the clip, what the encoder" in shown and "<b>step 200</b>" in shown
    bare = run_logs.read_run(tmp_path / "begun")
    assert "<html" in summary.build_report([bare], None, title="t") and not bare.curves


def test_results_refuse_nan_and_the_table_shows_every_number(tmp_path):
    with pytest.raises(ValueError):
        files.write_json(tmp_path / "r.json", {"mean": float("nan")})
    text = results.table(measured("MAE"))
    assert "60.0 ± 1.0" in text and "+20.0 [+18.0, +22.0]" in text and "8 test cases" in text
    assert "Phantom data, not clinical" in text


def leaves(value, path=()):
    """Paths of all values and keys in a tree of JSON."""
    for key in value if isinstance(value, dict) else range(len(value)):
        if isinstance(value[key], dict | list):
            yield from leaves(value[key], (*path, key))
        else:
            yield (*path, key)


def test_a_text_where_a_number_was_is_refused_or_escaped():
    """Results are read from files: whatever stands in place of a value never becomes HTML."""
    sound = json.dumps(measured("good"))
    refused = 0
    for path in leaves(json.loads(sound)):
        results_read = json.loads(sound)
        node = results_read
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = HOSTILE
        try:
            text = summary.build_report([], results_read, title="t", lead="", facts={})
        except (ValueError, TypeError, KeyError):  # a sentence: see report.main
            refused += 1
            continue
        assert "<script" not in text, path
    assert refused > 20


def test_the_table_of_many_models_fits_a_terminal():
    found = measured("MAE")
    entry = found["tasks"][0]["heads"]["linear"]["MAE"]
    found["tasks"][0]["name"] = "phase " * 20
    found["notes"] = ["A sentence of many words. " * 12]
    for k in range(9):
        for name in (f"model {k}", f"{'long ' * 20}{k}"):
            found["models"].append({"name": name, "kind": "encoder"})
            found["tasks"][0]["heads"]["linear"][name] = entry
    rows = results.table(found).splitlines()
    blocks = [row for row in rows if row.startswith("task")]
    assert len(blocks) > 1 and max(map(len, rows)) <= 100
    assert all(any(f"model {k}" in row for row in blocks) for k in range(9))


def test_the_benchmark_page_begins_with_a_verdict():
    assert report_benchmark.verdicts(measured("MAE")).startswith(
        "MAE is better than a random encoder on the only task; weak is not shown to be better than "
    )
    assert report_benchmark.verdicts({**measured("MAE"), "tasks": []}) == ""
