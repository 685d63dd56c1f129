"""The whole procedure on arrays: planted signal, shuffled labels, leaks, seeds."""

import dataclasses

import numpy as np
import pytest
from scipy import integrate, stats

from surgrec_jax.evaluation.benchmark import results
from surgrec_jax.evaluation.features.extraction import Features
from surgrec_jax.evaluation.heads import run_head
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks import labelled_task
from surgrec_jax.evaluation.tasks.task import LeakedSplitError, Task
from surgrec_jax.evaluation.tasks.task_list import select_tasks

CLASSES = ("a", "b", "c", "d")
TRACKS = {
    "phase": CLASSES,
    "skill": ("novice", "expert"),
    "instrument_hook": ("absent", "present"),
    "instrument_clip": ("absent", "present"),
}


def clips(features, split, cases, **labels):
    """Features of clips, 10 clips a record, 20 a video, cases in equal stretches."""
    count = len(features)
    case = np.arange(count) * cases // count
    return Features(
        features=features.astype(np.float32),
        labels={track: np.asarray(values, np.int64) for track, values in labels.items()},
        case_id=np.char.add(f"{split}-", case.astype(str)),
        video_id=np.char.add(f"{split}-v", (np.arange(count) // 20).astype(str)),
        source=np.full(count, "s"),
        record=np.arange(count) // 10,
        view=np.arange(count) % 10,
        time=np.zeros(count, np.float32),
    )


def splits(make, seed=0, sizes=(1600, 600, 1600)):
    """Three splits from make(rng, count) -> (features, labels dict)."""
    made = {}
    for i, (split, count) in enumerate(zip(("train", "val", "test"), sizes, strict=True)):
        features, labels = make(np.random.default_rng([seed, i]), count)
        made[split] = clips(features, split, 20, **labels)
    return made


def ask(task, made, head, **options):
    labelled = labelled_task.label_task(task, TRACKS, made)
    features = {split: found.features for split, found in made.items()}
    options = {"seeds": range(2), **options}
    return labelled, run_head.run_head(head, labelled, features, **options)


def summary(labelled, answer, reference=None):
    samples = results.resample(labelled, answer, 300)
    summary = results.summarise(labelled, answer, samples)
    if reference is not None:
        difference = samples - results.resample(labelled, reference, 300)
        summary["minus_random"] = difference.interval().as_dict()
    return summary


def top1(labelled, answer):
    labels, _ = labelled.units(labelled.test)
    return [(scores.argmax(1) == labels).mean() for scores in answer.scores]


def within(values, expected, count):
    low, high = stats.binom.interval(0.9999, count, expected)
    return all(low <= value * count <= high for value in values)


WITH_GRID = pytest.param("linear_adamw", marks=pytest.mark.slow)  # test_trained_heads is quicker


@pytest.mark.parametrize("head", ("linear", WITH_GRID, "ridge", "knn"))
def test_label_noise_gives_the_accuracy_computed_by_hand(head):
    noise = 0.3  # this share of labels is replaced by one of the three other classes

    def make(rng, count):
        clean = rng.integers(0, 4, count)
        features = 4 * np.eye(6)[clean] + 0.5 * rng.standard_normal((count, 6))
        other = (clean + rng.integers(1, 4, count)) % 4
        return features, {"phase": np.where(rng.random(count) < noise, other, clean)}

    labelled, answer = ask(Task("phase", "s", "phase", metric="top1"), splits(make), head)
    assert within(top1(labelled, answer), 1 - noise, 1600), top1(labelled, answer)


@pytest.mark.parametrize("head", ["linear", "ridge"])
def test_feature_noise_gives_the_bayes_accuracy(head):
    distance = 1.5

    def make(rng, count):
        labels = rng.integers(0, 4, count)
        return distance * np.eye(4)[labels] + rng.standard_normal((count, 4)), {"phase": labels}

    # The right one of four unit normals is the largest: integral of phi(z - d) Phi(z)^3.
    bayes, _ = integrate.quad(
        lambda z: stats.norm.pdf(z - distance) * stats.norm.cdf(z) ** 3, -8, 10
    )
    labelled, answer = ask(Task("phase", "s", "phase", metric="top1"), splits(make), head)
    assert within(top1(labelled, answer), bayes, 1600), (top1(labelled, answer), bayes)


@pytest.mark.parametrize("head", ("linear", WITH_GRID, "ridge", "knn"))
def test_shuffled_labels_give_chance(head):
    def make(rng, count):
        return rng.standard_normal((count, 16)), {"phase": rng.integers(0, 4, count)}

    labelled, answer = ask(Task("phase", "s", "phase", metric="top1"), splits(make, seed=1), head)
    assert within(top1(labelled, answer), 0.25, 1600), top1(labelled, answer)
    entry = summary(labelled, answer, run_head.majority(labelled))
    assert entry["interval"]["low"] < 0.25 < entry["interval"]["high"]
    assert entry["minus_random"]["low"] < 0 < entry["minus_random"]["high"]


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_multi_label_signal_and_chance(head):
    def make(rng, count):
        hook, clip = rng.random(count) < 0.3, rng.random(count) < 0.2
        features = np.stack([4.0 * hook, rng.standard_normal(count)], 1)
        features = features + 0.3 * rng.standard_normal((count, 2))
        return features, {"instrument_hook": hook, "instrument_clip": clip}

    task = Task("tools", "s", "instrument_*", metric="mean_average_precision")
    labelled, answer = ask(task, splits(make, seed=2), head)
    assert labelled.classes == ("clip", "hook")
    entry = summary(labelled, answer)
    found = {k: v["average_precision"] for k, v in entry["per_class"].items()}
    assert found["hook"] > 0.99 and abs(found["clip"] - 0.2) < 0.06, found
    floor = summary(labelled, run_head.majority(labelled))
    assert floor["per_class"]["hook"]["average_precision"] == pytest.approx(
        (labelled.test.labels[:, 1] == 1).mean()
    )


def test_video_unit_averages_clips_and_refuses_labels_that_change():
    def make(rng, count):
        skill = np.repeat(rng.integers(0, 2, count // 20), 20)
        return 1.4 * skill[:, None] + rng.standard_normal((count, 1)), {"skill": skill}

    made = splits(make, seed=3)
    one, clip = ask(Task("skill", "s", "skill", metric="top1"), made, "linear")
    labelled, video = ask(Task("skill", "s", "skill", metric="top1", unit="video"), made, "linear")
    assert video.scores.shape == (2, 80, 2) and clip.scores.shape == (2, 1600, 2)
    # A clip: Phi(0.7) = 0.758. The mean of 20 clips: Phi(0.7 sqrt(20)) = 0.999 at best.
    assert all(abs(value - stats.norm.cdf(0.7)) < 0.04 for value in top1(one, clip))
    assert min(top1(labelled, video)) > 0.95
    made["test"].labels["skill"][0] ^= 1
    with pytest.raises(ValueError, match="'skill' changes within a video"):
        ask(Task("skill", "s", "skill", unit="video"), made, "linear")


def plain(seed=4):
    def make(rng, count):
        labels = rng.integers(0, 4, count)
        return np.eye(4)[labels] + 0.6 * rng.standard_normal((count, 4)), {"phase": labels}

    return splits(make, seed, sizes=(200, 200, 200))


def test_leaked_split_is_refused_with_the_cases():
    made = plain()
    made["test"].case_id[:3] = "train-4"
    with pytest.raises(
        LeakedSplitError, match=r"1 of the 21 cases of test are also in train \(train-4\)"
    ):
        labelled_task.label_task(Task("phase", "s", "phase"), TRACKS, made)
    with pytest.raises(LeakedSplitError, match="val"):
        labelled_task.label_task(
            Task("phase", "s", "phase"), TRACKS, {**plain(), "test": plain()["val"]}
        )


def test_hyper_parameter_is_chosen_on_validation_and_never_on_test():
    made = plain()
    task = Task("phase", "s", "phase")
    _, first = ask(task, made, "linear")
    shuffled = np.random.default_rng([0]).permutation(made["test"].labels["phase"])
    other = dataclasses.replace(made["test"], labels={"phase": shuffled})
    _, second = ask(task, {**made, "test": other}, "linear")
    assert first.chosen == second.chosen
    np.testing.assert_array_equal(first.scores, second.scores)


@pytest.mark.parametrize("resample", labelled_task.RESAMPLE)
def test_seeds_change_training_only_and_are_repeatable(resample):
    labelled, answer = ask(
        Task("phase", "s", "phase"), plain(), "knn", seeds=(0, 1, 0), resample=resample
    )
    np.testing.assert_array_equal(answer.scores[0], answer.scores[2])
    assert (answer.scores[0] != answer.scores[1]).any() == (resample != "none")
    weights = labelled_task.train_weights(labelled, 1, resample)
    if resample == "cases":
        per_case = weights.reshape(20, 10)
        assert (per_case == per_case[:, :1]).all() and per_case[:, 0].sum() == 20
        assert per_case.max() > 1
    elif resample == "clips":
        assert (weights.reshape(20, 10).sum(1) == 1).all()


def test_resampling_keeps_every_training_class():
    made = plain()
    made["train"].labels["phase"][:] %= 3
    made["train"].labels["phase"][:10] = 3  # class d in one case of 20 only
    labelled = labelled_task.label_task(Task("phase", "s", "phase"), TRACKS, made)
    assert all(labelled_task.train_weights(labelled, s, "cases")[0] > 0 for s in range(20))


@pytest.mark.parametrize("head", ["linear", "knn"])
def test_many_labels_of_one_case_each_do_not_make_a_draw_impossible(head):
    rare = {f"rare_{k:02d}": np.zeros(40, int) for k in range(19)}
    for k, values in enumerate(rare.values()):
        values[[2 * k, 2 * k + 1]] = 1  # case k of 20 alone
    rare["rare_often"] = np.arange(40) % 2
    features = np.random.default_rng(0).standard_normal((40, 3))
    made = {split: clips(features, split, 20, **rare) for split in ("train", "val", "test")}
    tracks = dict.fromkeys(rare, ("absent", "present"))
    task = Task("rare", "s", "rare_*", metric="mean_average_precision")
    labelled = labelled_task.label_task(task, tracks, made)
    weights = labelled_task.train_weights(labelled, 0, "cases")
    assert weights.sum() == 40 and weights @ rare["rare_often"] > 0
    found = {split: one.features for split, one in made.items()}
    answer = run_head.run_head(head, labelled, found, seeds=range(2))
    assert all(0 < lost < 19 for lost in answer.missing) and np.isfinite(answer.scores).all()


def test_the_majority_is_that_of_training():
    made = plain()
    made["train"].labels["phase"][:120] = 1
    made["test"].labels["phase"][:150] = 3
    labelled = labelled_task.label_task(Task("phase", "s", "phase"), TRACKS, made)
    assert (run_head.majority(labelled).scores.argmax(-1) == 1).all()


def test_the_majority_of_videos_counts_each_once():
    def make(rng, count):
        skill = np.repeat(np.arange(count // 20) % 2, 20)
        return np.ones((count, 1)), {"skill": skill}

    made = splits(make)
    skill = made["train"].labels["skill"]
    skill[:] = -1
    skill[:60:20] = 0  # a clip each of three videos, and all of a fourth
    skill[60:80] = 1
    for unit, answer in (("video", 0), ("clip", 1)):
        task = Task("skill", "s", "skill", metric="top1", unit=unit)
        labelled = labelled_task.label_task(task, TRACKS, made)
        assert (run_head.majority(labelled).scores.argmax(-1) == answer).all()


def test_few_shot_rows_are_of_the_cases_they_name():
    settings = Settings(heads=("ridge",)).under("few-shot")
    cases = []
    for _, head, share in settings.rows():
        options = {"share": share, "resample": settings.train_resample}
        _, answer = ask(Task("phase", "s", "phase"), plain(), head, **options)
        cases.append(answer.train_cases)
    assert cases == [(20, 20), (2, 2), (1, 1), (1, 1)]


def test_class_unseen_in_training_is_reported_and_counts_as_an_error():
    made = plain()
    labels = made["train"].labels["phase"]
    labels[labels == 3] = -1
    labelled, answer = ask(Task("phase", "s", "phase"), made, "linear")
    assert labelled.unseen == ("d",)
    assert results.describe_task(labelled)["unseen_test_classes"] == ["d"]
    entry = summary(labelled, answer)
    assert entry["per_class"]["d"]["recall"] == 0
    assert entry["mean"] < 0.75


def test_tasks_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="does not fit"):
        Task("x", "s", "instrument_*", metric="top1")
    with pytest.raises(ValueError, match="unit 'slide'"):
        Task("x", "s", "phase", unit="slide")
    with pytest.raises(ValueError, match=r"no label 'step'; it has: .*phase"):
        Task("x", "s", "step").tracks(TRACKS)
    with pytest.raises(ValueError, match=r"no task 'phse'; choose from: phase"):
        select_tasks("phantom_surgery", ("phse",))
    with pytest.raises(ValueError, match="no example labelled"):
        made = plain()
        made["val"].labels["phase"][:] = -1
        labelled_task.label_task(Task("phase", "s", "phase"), TRACKS, made)
