"""Metrics against scikit-learn, and the rules for absent classes and NaN."""

import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from surgrec_jax.evaluation.metrics import registry as metrics


def random_problem(rng, classes, count, absent_true=(), absent_pred=()):
    truth = rng.choice(np.setdiff1d(np.arange(classes), absent_true), count)
    scores = rng.random((count, classes)).round(1)  # rounded: ties occur
    scores[:, list(absent_pred)] = -1.0
    return truth, scores


@pytest.mark.parametrize("seed", range(20))
def test_multi_class_metrics_agree_with_scikit_learn(seed):
    rng = np.random.default_rng([seed])
    classes = int(rng.integers(2, 7))
    absent = rng.choice(classes, int(rng.integers(0, classes - 1)), replace=False)
    unpredicted = rng.choice(classes, int(rng.integers(0, classes - 1)), replace=False)
    truth, scores = random_problem(rng, classes, int(rng.integers(1, 80)), absent, unpredicted)
    predicted = scores.argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "top1": sk.accuracy_score(truth, predicted),
            "balanced_accuracy": sk.balanced_accuracy_score(truth, predicted),
            "macro_f1": sk.f1_score(truth, predicted, average="macro", zero_division=0),
        }
        each = {"labels": np.arange(classes), "average": None, "zero_division": np.nan}
        per_class = {
            "precision": sk.precision_score(truth, predicted, **each),
            "recall": sk.recall_score(truth, predicted, **each),
        }
        jaccard = sk.jaccard_score(
            truth, predicted, labels=np.arange(classes), average=None, zero_division=0
        )
    for name, value in expected.items():
        assert float(metrics.score(name, truth, scores)) == pytest.approx(value, abs=1e-9)
    found = metrics.per_class(metrics.confusion_matrix(truth, predicted, classes))
    for name, values in per_class.items():
        np.testing.assert_allclose(found[name], values, atol=1e-9, equal_nan=True)
    np.testing.assert_allclose(np.nan_to_num(found["jaccard"]), jaccard, atol=1e-9)
    np.testing.assert_array_equal(found["support"], np.bincount(truth, minlength=classes))


@pytest.mark.parametrize("seed", range(20))
def test_average_precision_agrees_with_scikit_learn_and_with_repeated_examples(seed):
    rng = np.random.default_rng([seed])
    count = int(rng.integers(2, 60))
    labels = (rng.random(count) < rng.random()).astype(int)
    labels[0] = 1
    scores = rng.random(count).round(int(rng.integers(1, 8)))  # few digits: ties
    found = metrics.average_precision(labels, scores)
    assert float(found) == pytest.approx(sk.average_precision_score(labels, scores), abs=1e-9)

    weights = rng.integers(0, 4, (3, count))
    weights[:, 0] = 1
    for row, value in zip(weights, metrics.average_precision(labels, scores, weights), strict=True):
        again = sk.average_precision_score(np.repeat(labels, row), np.repeat(scores, row))
        assert float(value) == pytest.approx(again, abs=1e-9)


# Those of maps have parts of frames for scores: test_metrics_maps.
@pytest.mark.parametrize("metric", [m for m in metrics.METRICS if m not in metrics.MAPS])
def test_case_weights_equal_repeating_the_cases(metric):
    rng = np.random.default_rng([5])
    cases = rng.integers(0, 6, 90)
    weights = np.concatenate([np.ones((1, 6)), rng.integers(0, 3, (4, 6))])
    weights[:, 5] += 1  # at least one case is drawn
    triplets = metrics.TRIPLET
    if metric in metrics.LABEL_WISE:
        classes = 100 if metric in triplets else 3
        known = rng.random((90, classes)) < 0.2
        labels, scores = rng.integers(-1, 2, (90, classes)), rng.random((90, classes))
        labels = known.astype(int) if metric in triplets else labels
    else:
        labels, scores = random_problem(rng, 7, 90, absent_true=[2])
        scores = scores - scores.min()
    video = cases * 10 + rng.integers(0, 2, 90)
    order = metrics.Order(video.astype(str), rng.permutation(90).astype(float))
    found = metrics.score(metric, labels, scores, cases, weights, order=order)
    assert not np.isnan(found).all()
    for row, value in zip(weights, found, strict=True):
        copies = row[cases].astype(int)
        rows = np.repeat(np.arange(90), copies)
        # Copies of a video are videos of their own.
        copy = np.concatenate([np.arange(n) for n in copies])
        named = metrics.Order(
            np.char.add(np.char.add(order.video_id[rows], "/"), copy.astype(str)), order.time[rows]
        )
        plain = metrics.score(metric, labels[rows], scores[rows], order=named)
        assert float(value) == pytest.approx(float(plain), abs=1e-9, nan_ok=True)


@pytest.mark.parametrize("seed", range(8))
def test_top5_jaccard_and_spearman_agree_with_the_libraries(seed):
    rng = np.random.default_rng([seed, 2])
    classes, count = int(rng.integers(6, 12)), int(rng.integers(3, 60))
    truth, scores = rng.integers(0, classes, count), rng.random((count, classes))
    expected = sk.top_k_accuracy_score(truth, scores, k=5, labels=np.arange(classes))
    assert float(metrics.score("top5", truth, scores)) == pytest.approx(expected, abs=1e-9)
    here = np.union1d(truth, scores.argmax(1))
    expected = sk.jaccard_score(truth, scores.argmax(1), labels=here, average="macro")
    assert float(metrics.score("macro_jaccard", truth, scores)) == pytest.approx(expected, abs=1e-9)
    tied = rng.integers(0, 4, count)  # many tied expectations
    expected = stats.spearmanr(truth, tied).statistic
    found = float(metrics.score("spearman", truth, np.eye(classes)[tied]))
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
    expected = stats.spearmanr(truth, scores @ np.arange(classes) / scores.sum(1)).statistic
    assert float(metrics.score("spearman", truth, scores)) == pytest.approx(expected, abs=1e-9)


def test_undefined_is_nan_and_never_zero():
    truth, scores = np.array([1, 1, 1]), np.eye(6)[[1, 2, 3]]
    assert np.isnan(metrics.score("spearman", truth, scores))  # one class
    assert np.isnan(metrics.score("spearman", np.array([0, 1, 2]), np.eye(6)[[1, 1, 1]]))
    assert np.isnan(metrics.score("top5", truth, scores[:, :5]))
    assert float(metrics.score("top5", truth, scores)) == 1
    alike = np.ones((7, 7))  # ties go to the lower ids: five of seven are among the first five
    assert float(metrics.score("top5", np.arange(7), alike)) == pytest.approx(5 / 7)


@pytest.mark.parametrize("classes", [8, 12, 41])
def test_a_constant_answer_has_no_rank_correlation(classes):
    rng = np.random.default_rng(classes)
    for count in range(5, 70, 4):
        rates = np.bincount(rng.integers(0, classes, 97), minlength=classes) / 97
        constant = np.broadcast_to(rates, (count, classes)).copy()
        truth = rng.integers(0, classes, count)
        assert np.isnan(metrics.score("spearman", truth, constant))
        clips = np.concatenate([np.arange(count), rng.integers(0, count, 200)])  # of each video
        member = (clips[None] == np.arange(count)[:, None]).astype(float)
        for clip in (rates, rng.multinomial(1024, rates) / 1024):
            pooled = (member / member.sum(1, keepdims=True)) @ np.tile(clip, (len(clips), 1))
            assert np.isnan(metrics.score("spearman", truth, pooled))


def test_an_answer_that_is_no_class_is_an_error_but_no_prediction():
    truth = np.array([0, 0, 1, 1])
    scores = np.eye(3)[[0, 2, 1, 2]]  # column 2 of two classes: cannot be parsed
    score = {m: float(metrics.score(m, truth, scores, num_classes=2)) for m in metrics.MULTI_CLASS}
    assert score == pytest.approx(
        {"top1": 0.5, "balanced_accuracy": 0.5, "macro_f1": 2 / 3, "macro_jaccard": 0.5}
    )


def test_absent_classes_follow_the_documented_rules():
    truth = np.array([0, 0, 1, 1])
    scores = np.eye(4)[[0, 1, 1, 3]]  # class 2: neither true nor predicted; 3: only predicted
    # recall: 1/2, 1/2 over the two true classes; F1: 2/3, 1/2, (left out), 0
    assert float(metrics.score("balanced_accuracy", truth, scores)) == pytest.approx(0.5)
    assert float(metrics.score("macro_f1", truth, scores)) == pytest.approx((2 / 3 + 1 / 2) / 3)
    each = metrics.per_class(metrics.confusion_matrix(truth, scores.argmax(1), 4))
    np.testing.assert_array_equal(np.isnan(each["recall"]), [False, False, True, True])
    np.testing.assert_array_equal(np.isnan(each["precision"]), [False, False, True, False])
    np.testing.assert_allclose(each["jaccard"], [0.5, 1 / 3, np.nan, 0.0])

    labels = np.array([[1, 0], [0, 0], [1, 0]])
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    # label 0: hits at ranks 1 and 3 -> (1 + 2/3) / 2; label 1 has no positive and is left out
    value = float(metrics.score("mean_average_precision", labels, scores))
    assert value == pytest.approx((1 + 2 / 3) / 2)
    assert np.isnan(metrics.score("mean_average_precision", labels[:, 1:], scores[:, 1:]))


def test_unlabelled_entries_are_left_out_label_by_label():
    labels = np.array([[1, -1], [0, 1], [-1, 0], [1, 1]])
    scores = np.random.default_rng([1]).random((4, 2))
    expected = np.mean([
        sk.average_precision_score([1, 0, 1], scores[[0, 1, 3], 0]),
        sk.average_precision_score([1, 0, 1], scores[[1, 2, 3], 1]),
    ])  # fmt: skip
    found = float(metrics.score("mean_average_precision", labels, scores))
    assert found == pytest.approx(expected, abs=1e-9)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match=r"1 of 2 examples have NaN.*row 1"):
        metrics.score("top1", np.array([0, 1]), np.array([[1.0, 0.0], [np.nan, 0.0]]))
    with pytest.raises(ValueError, match="unlabelled"):
        metrics.score("top1", np.array([0, -1]), np.eye(2))
    with pytest.raises(ValueError, match="no labelled example"):
        metrics.score("top1", np.zeros(0, int), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="unknown metric 'f2'"):
        metrics.score("f2", np.array([0]), np.eye(2)[:1])
    with pytest.raises(ValueError, match="must be integers"):
        metrics.confusion_matrix(np.array([0.0, np.nan]), np.array([0, 1]), 2)
