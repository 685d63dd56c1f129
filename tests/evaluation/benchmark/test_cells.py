"""Cells on disk, and the results that are made of them."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest

from surgrec_jax.evaluation.benchmark import cells, report_facts, results, run_cells, summarise
from surgrec_jax.evaluation.benchmark.columns import Column, Group
from surgrec_jax.evaluation.benchmark.run_cells import Failure, Refusal
from surgrec_jax.evaluation.features import baselines
from surgrec_jax.evaluation.heads import run_head
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.report import benchmark
from surgrec_jax.evaluation.tasks.labelled_task import label_task
from surgrec_jax.evaluation.tasks.task import Task
from tests.evaluation.arrays import TASK, TRACKS, made_task

SETTINGS = Settings(heads=("ridge",), seeds=2, init_seeds=1, resamples=200)
COLUMNS = [
    Column("majority", "majority"),
    Column("random", "random"),
    Column("good", "encoder", random="random"),
    Column("<b>bad</b>", "encoder", random="random"),
    Column("talker", "vlm"),
]


def key(column="good", **more):
    return {"source": "made", "task": "phase", "column": column, **more}


def answers(labelled, noise, seed=0):
    """Right answers with a share of others."""
    labels, _ = labelled.units(labelled.test)
    rng = np.random.default_rng([seed])
    wrong = rng.random((2, len(labels))) < noise
    said = np.where(wrong, rng.integers(0, 3, (2, len(labels))), labels)
    return run_head.Answer(np.eye(3)[said], (1.0, 1.0), (0.5, 0.5))


def make(labelled, column, noise, seed=0):
    given = {"ridge": answers(labelled, noise, seed)}
    return cells.make(labelled, column, given, resamples=200, level=0.95)


def talk(labelled):
    """A language model: right in one phrasing, without an answer in the other."""
    labels, _ = labelled.units(labelled.test)
    scores = np.stack([np.eye(4)[labels], np.eye(4)[np.full(len(labels), 3)]])
    facts = {"units": 72, "total": 99, "phrasings": 2, "unparseable": [0.0, 1.0], "missing": 3}
    extra = {"vlm": {**facts, "examples": ["I think <u>so</u>"]}, "row": "ridge"}
    given = {"ridge": run_head.Answer(scores)}
    return cells.make(labelled, "talker", given, resamples=200, level=0.95, extra=extra)


@pytest.fixture(scope="module")
def measured():
    labelled, _ = made_task()
    found = [
        cells.make(
            labelled, "majority", {"ridge": run_head.majority(labelled)}, resamples=200, level=0.95
        ),
        make(labelled, "random", 0.9, 1),
        make(labelled, "good", 0.1, 2),
        make(labelled, "<b>bad</b>", 0.9, 3),
        talk(labelled),
        Refusal("leaky", "x", "shares cases"),
        Failure("made", "tools", "good", "NaN <i>features</i>"),
    ]
    return summarise.summarise(
        found,
        COLUMNS,
        SETTINGS,
        protocol={**vars(SETTINGS), "title": "v2"},
        environment={"jax": "1"},
        notes=["a note"],
        data={},
        missing=[{"source": "cholec80", "reason": "not prepared", "command": "build it"}],
        audit={"made": {"findings": [{"rule": "small_test", "text": "6 clips", "count": 6}]}},
        overlap={"good": {"made": {"status": "found", "text": "2 of 6 test patients"}}},
        seconds=1.0,
    )


def test_a_cell_comes_back_as_it_was_and_only_for_its_key(tmp_path, caplog):
    labelled, _ = made_task()
    cell = make(labelled, "good", 0.2)
    path = cells.save(tmp_path, key(data={"test": "1"}), cell)
    again = cells.load(tmp_path, key(data={"test": "1"}))
    assert again.heads == json.loads(json.dumps(cell.heads))
    np.testing.assert_array_equal(again.arrays["scores/ridge"], cell.arrays["scores/ridge"])
    assert again.samples("ridge").interval() == cell.samples("ridge").interval()
    assert cells.load(tmp_path, key(data={"test": "2"})) is None  # other data
    assert cells.load(tmp_path, key("other")) is None
    assert not caplog.records
    cells.save(tmp_path, key(data={"test": "2"}), cell)  # replaces the older one
    assert not path.exists() and len(list(tmp_path.iterdir())) == 2


def test_baselines_of_another_clip_are_other_cells():
    sources = {split: SimpleNamespace(fingerprint=split) for split in TASK.splits}
    pixels = Column("pixels", "pixels", {"pixels": baselines.pixels})
    short, long = (Group(clip, None, ()) for clip in ((8, 64, 4.0), (16, 64, 4.0)))
    for column in (Column("majority", "majority"), pixels):
        keys = [run_cells.key(TASK, column, group, sources, SETTINGS) for group in (short, long)]
        assert keys[0] != keys[1]
        assert json.loads(json.dumps(keys[0])) == keys[0]


@pytest.mark.parametrize("harm", ["truncate", "version", "arrays", "missing", "refusal"])
def test_a_damaged_cell_is_computed_again_with_a_warning(tmp_path, caplog, harm):
    labelled, _ = made_task()
    path = cells.save(tmp_path, key(), make(labelled, "good", 0.2))
    if harm == "truncate":
        path.write_text(path.read_text()[:-40])
    elif harm == "version":
        now = f'"version": {cells.VERSION}'
        path.write_text(path.read_text().replace(now, '"version": 1', 1))
    elif harm == "refusal":  # as versions before kept them, our own errors among them
        path.write_text(path.read_text().replace("{", '{"refused": "one class only", ', 1))
    elif harm == "arrays":
        path.with_suffix(".npz").write_bytes(b"PK nothing")
    else:
        path.with_suffix(".npz").unlink()
    assert cells.load(tmp_path, key()) is None
    assert "computing it again" in caplog.text


def test_pairs_and_differences_are_those_of_the_same_resamples(measured):
    (task,) = measured["tasks"]
    entries = task["heads"]["ridge"]
    assert entries["good"]["mean"] > 0.8 > 0.5 > entries["random"]["mean"]
    gain = entries["good"]["minus_random"]
    assert gain["value"] == pytest.approx(entries["good"]["mean"] - entries["random"]["mean"])
    assert gain["low"] > 0
    assert "minus_random" not in entries["random"]
    assert entries["talker"]["seeds"] == [1.0, 0.0] and entries["talker"]["mean"] == 0.5
    (pair,) = measured["pairs"]
    assert (pair["first"], pair["second"]) == ("good", "<b>bad</b>")
    assert pair["value"] == pytest.approx(entries["good"]["mean"] - entries["<b>bad</b>"]["mean"])
    domains = {entry["domain"]: entry for entry in measured["domains"]}
    assert domains["all"]["columns"]["good"]["value"] == pytest.approx(entries["good"]["mean"])
    assert set(domains) == {"all", "laparoscopy"}


def test_encoders_scored_on_other_cases_are_not_paired():
    labelled, found = made_task()

    def without(case):  # none of its clips has a label under this encoder's clip
        labels = {
            track: np.where(found["test"].case_id == case, -1, ids)
            for track, ids in found["test"].labels.items()
        }
        test = dataclasses.replace(found["test"], labels=labels)
        return label_task(TASK, TRACKS, {**found, "test": test})

    made = [make(without("test-1"), "good", 0.1), make(without("test-0"), "<b>bad</b>", 0.9)]
    result = summarise.summarise(made, COLUMNS, SETTINGS)
    (pair,) = result["pairs"]
    assert pair["value"] is None and pair["reason"].endswith("labelled clips of test-0, test-1")
    assert "labelled clips of test-0, test-1" in benchmark._pairs(result)
    result = summarise.summarise([make(labelled, "good", 0.1), made[1]], COLUMNS, SETTINGS)
    assert result["pairs"][0]["reason"].endswith("labelled clips of test-0")
    with pytest.raises(ValueError, match="cannot pair other cases: test-0, test-1"):
        made[0].samples("ridge") - made[1].samples("ridge")


def test_a_task_without_a_majority_score_counts_for_its_domain():
    skill = Task("skill", "made", "skill", "spearman", "video", ordered=True, domain="open")
    found = []
    for labelled in (made_task(skill)[0], made_task()[0]):
        constant = {"ridge": run_head.majority(labelled)}
        found.append(cells.make(labelled, "majority", constant, resamples=200, level=0.95))
        found += [make(labelled, "random", 0.5, 1), make(labelled, "good", 0.1, 2)]
    result = summarise.summarise(found, COLUMNS, SETTINGS)
    assert result["tasks"][0]["heads"]["ridge"]["majority"]["mean"] is None
    domains = {entry["domain"]: entry for entry in result["domains"]}
    assert {name: entry["tasks"] for name, entry in domains.items()} == {
        "open": 1, "laparoscopy": 1, "all": 2,
    }  # fmt: skip
    assert list(domains["open"]["columns"]) == list(domains["all"]["columns"]) == ["random", "good"]
    assert list(domains["laparoscopy"]["columns"]) == ["majority", "random", "good"]


def test_what_was_not_scored_is_told_and_never_zero(measured):
    assert [e["source"] for e in measured["missing"]] == ["cholec80"]
    assert measured["refused"] == [{"source": "leaky", "task": "x", "reason": "shares cases"}]
    text = results.markdown(measured)
    assert "cholec80: not prepared" in text and "leaky, x: shares cases" in text
    assert "NaN <i>features</i>" in text  # Markdown is read as text
    plain = results.table(measured)
    assert "cholec80" not in plain and "6 test cases" in plain


def test_details_show_the_leader_its_ribbons_and_its_hardest_cases(measured):
    found = measured["tasks"][0]["details"]
    assert found["leader"] == "good"
    labels = np.array(found["confusion"]["good"])
    assert labels.shape == (3, 3) and labels.sum() == 72
    assert len(found["ribbons"]) == 4
    truth = found["ribbons"][0]["truth"]
    assert [span[0] for span in truth] == [0, 1, 2]
    assert truth[0][1:] == [0.0, 16.0] and truth[-1][2] == 48.0
    errors = [case["error"] for case in found["hardest"]]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0
    example = found["hardest"][0]["examples"][0]
    assert example["truth"] != example["answer"]
    perfect = {"good": make(made_task()[0], "good", 0.0)}
    assert report_facts.of_task(perfect, COLUMNS[2:3], "ridge")["hardest"] == []


def test_the_page_is_whole_and_escaped(measured, tmp_path):
    text = benchmark.build(measured, tmp_path)
    for part in (
        "&lt;b&gt;bad&lt;/b&gt;", "cholec80: not prepared", "leaky, x: shares cases",
        "NaN &lt;i&gt;features&lt;/i&gt;", "small test: 6 clips", "2 of 6 test patients",
        'class="confusion"', 'class="ribbons"', "a note", "Vision-language models",
        "0.0 to 100.0 %", "I think &lt;u&gt;so&lt;/u&gt;", "72 of 99", "3 without answer",
    ):  # fmt: skip
        assert part in text, part
    assert (
        "<b>bad</b>" not in text
        and "<script" not in text
        and "http" not in text.split("</style>")[1]
    )


def test_frames_are_scored_under_the_metric_that_leads():
    labelled, _ = made_task()
    cell = make(labelled, "good", 0.0)
    assert cell.task["metric"] == TASK.metric
    assert cell.heads["ridge"]["mean"] == 1.0
    assert cell.heads["ridge"]["metrics"]["edit_score"] == 1.0
    assert cell.heads["ridge"]["metrics"]["top5"] is None  # three classes only
