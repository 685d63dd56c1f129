"""Metrics against scikit-learn, and the rules for absent classes and NaN."""

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from surgrec_jax.evaluation import metrics


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


@pytest.mark.parametrize("metric", metrics.METRICS)
def test_case_weights_equal_repeating_the_cases(metric):
    rng = np.random.default_rng([5])
    cases = rng.integers(0, 6, 90)
    weights = np.concatenate([np.ones((1, 6)), rng.integers(0, 3, (4, 6))])
    weights[:, 5] += 1  # at least one case is drawn
    if metric in metrics.MULTI_LABEL:
        labels, scores = rng.integers(-1, 2, (90, 3)), rng.random((90, 3))
    else:
        labels, scores = random_problem(rng, 4, 90, absent_true=[2])
    found = metrics.score(metric, labels, scores, cases, weights)
    for row, value in zip(weights, found, strict=True):
        rows = np.repeat(np.arange(90), row[cases].astype(int))
        plain = metrics.score(metric, labels[rows], scores[rows])
        assert float(value) == pytest.approx(float(plain), abs=1e-9)


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
