"""Declared tasks fit the builders; problems on few cases, leaking splits and missing labels."""

import numpy as np
import pytest

from data_builders.common.source.registry import builder_class, sources
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.heads.rules import RULES, Settings, parse_clip
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.evaluation.tasks import labelled_task
from surgrec_jax.evaluation.tasks.labelled_maps import classes_of
from surgrec_jax.evaluation.tasks.task import LeakedSplitError, Task
from surgrec_jax.evaluation.tasks.task_list import PUBLISHED, SIXTEEN, TASKS, select_tasks, tasks_of

DECLARED = [task for tasks in TASKS.values() for task in tasks]


@pytest.mark.parametrize("task", DECLARED, ids=lambda task: task.title.replace(" ", ""))
def test_declared_tasks_name_labels_that_the_builders_write(task, tmp_path):
    name, _, config = task.source.partition("/")
    assert name in sources()
    if config == PUBLISHED:
        return  # every published clip has "label"; its builder's test holds that
    builder = builder_class(name)
    available = {**builder.TRACKS, **builder.VIDEO_LABELS}
    if (name, task.track) == ("hyper_kvasir", "finding"):
        return  # classes are the download's
    if task.unit == "pixel":
        made = builder(data_dir=tmp_path, config=config or "default")
        assert classes_of(task, made.hooks.maps())
        return
    tracks = task.tracks(available)
    assert len(task.classes(available)) >= 2
    if task.unit == "frame":
        assert set(tracks) <= set(builder.TRACKS)
    if task.unit == "video":
        assert set(tracks) <= set(builder.VIDEO_LABELS)
    if task.kind == "triplets":
        assert len(tracks) == 100


def test_the_sixteen_sets_have_tasks_of_both_kinds():
    assert len(set(SIXTEEN)) == 16
    for source in SIXTEEN:
        assert tasks_of(source), source
        (published,) = tasks_of(f"{source}/{PUBLISHED}")
        assert (published.metric, published.track) == ("top1", "label")
    assert {task.kind for task in DECLARED} >= {
        *("phase", "step", "gesture", "action", "instruments"),
        *("triplets", "finding", "polyp", "skill"),
    }
    assert not tasks_of(f"phantom_surgery/{PUBLISHED}")
    tiny = select_tasks("phantom_surgery/tiny", ("phase",))
    assert [t.title for t in tiny] == ["phantom_surgery/tiny: phase"]


def test_tasks_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="does not fit"):
        Task("x", "s", "phase", metric="video_f1")  # unit clip
    with pytest.raises(ValueError, match="does not fit"):
        Task("x", "s", "skill", metric="spearman")  # no scale
    assert "spearman" in Task("x", "s", "skill", ordered=True).metrics
    assert "edit_score" in Task("x", "s", "phase", unit="frame").metrics
    with pytest.raises(ValueError, match="kind 'fase'"):
        Task("x", "s", "phase", kind="fase")
    with pytest.raises(ValueError, match="no label 'skill@last'.*label per frame"):
        Task("x", "s", "skill", unit="frame").columns({"skill": np.zeros(2)}, ["skill"])


TRACKS = {"phase": ("a", "b", "c")}


def features(split, labels, videos, cases, last=None):
    count = len(labels)
    given = {
        "phase": np.asarray(labels),
        "phase@last": np.asarray(labels if last is None else last),
    }
    text = {"case_id": cases, "video_id": videos}
    columns = {key: np.array([f"{split}{v}" for v in values]) for key, values in text.items()}
    return Features(
        features=np.zeros((count, 2), np.float32),
        labels=given,
        **columns,
        source=np.full(count, "s"),
        record=np.arange(count),
        view=np.zeros(count, int),
        time=np.arange(count, dtype=np.float32),
    )


def test_frames_are_scored_by_the_clips_last_frame_and_gaps_are_counted():
    videos = [0, 0, 0, 1, 1, 2]
    one = {
        split: features(split, [0, 1, 2, 0, 1, 2], videos, videos, last=[1, 1, -1, 0, 2, -1])
        for split in ("train", "val", "test")
    }
    built = labelled_task.label_task(Task("p", "s", "phase", "video_f1", "frame"), TRACKS, one)
    np.testing.assert_array_equal(built.test.labels, [1, 1, 0, 2])
    assert (built.test.unlabelled_clips, built.test.unlabelled_videos) == (2, 1)
    scores = np.eye(3)[[1, 0, 0, 2]]
    expected = ((2 / 3 + 0) / 2 + 1) / 2  # video 0: class 1 by half, class 0 wrongly; video 1 right
    assert built.score("video_f1", built.test, scores) == pytest.approx(expected)


def test_leaks_are_refused_or_told():
    cases = [0, 1, 2, 3]
    made = {split: features("", [0, 1, 2, 0], cases, cases) for split in ("train", "val", "test")}
    task = Task("p", "s", "phase")
    with pytest.raises(LeakedSplitError, match=r"val and test hold the same cases.*protocol v1"):
        labelled_task.label_task(task, TRACKS, made)
    dirty = labelled_task.label_task(task, TRACKS, made, clean=False)
    assert len(dirty.leaks) == 3
    assert "4 of the 4 cases of test are also in train (0, 1, 2, 3)" in dirty.leaks[1]


def test_few_cases_are_whole_cases_with_two_classes():
    cases = np.repeat(np.arange(20), 4)
    labels = np.where(cases < 18, cases % 2, 2)  # class 2 only in two cases
    made = {split: features(split, labels, cases, cases) for split in ("train", "val", "test")}
    built = labelled_task.label_task(Task("p", "s", "phase"), TRACKS, made)
    missing = 0
    for seed in range(10):
        weights = labelled_task.few_cases(built, seed, 0.1)
        chosen = np.unique(cases[weights > 0])
        assert len(chosen) == 2 and set(weights) == {0.0, 1.0}
        assert (weights == np.isin(cases, chosen)).all()  # whole cases
        assert len(np.unique(labels[weights > 0])) == 2
        missing += labelled_task.missing_classes(built, weights)
    assert missing == 10  # of three test classes one is always untaught
    # One of 20 cases has one class, so one more is drawn.
    one_class_each = labelled_task.few_cases(built, 0, 0.01)
    assert len(np.unique(cases[one_class_each > 0])) == 2
    with pytest.raises(ValueError, match="share of cases 1.5"):
        labelled_task.few_cases(built, 0, 1.5)


def test_protocols_fix_what_they_fix():
    one = Settings(heads=("linear",)).under("v1")
    assert (one.heads, one.clips_per_video, one.crops) == (("published",), 5, 3)
    assert one.rules.metric == "top1" and not one.rules.clean
    few = Settings(heads=("linear",)).under("few-shot")
    assert [row for row, _, _ in few.rows()] == [
        *("linear", "linear, 10% of cases", "linear, 5% of cases", "linear, 1% of cases")
    ]
    assert set(RULES) == {"v1", "v2", "few-shot", "fine-tune"}
    with pytest.raises(ValueError, match="protocol='v3'"):
        Settings().under("v3")
    assert parse_clip("16x224@4") == (16, 224, 4.0) and parse_clip("") is None
    with pytest.raises(ValueError, match="16x224@4"):
        parse_clip("16,224,4")


def test_every_metric_has_a_task_that_reports_it():
    assert set(registry.METRICS) == {name for task in DECLARED for name in task.metrics}
