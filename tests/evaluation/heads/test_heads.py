"""Heads: against scikit-learn, a whole grid against single runs, seeds and weights."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from surgrec_jax.evaluation.heads import knn, linear


def labelled(seed=0, count=400, width=12, classes=4):
    rng = np.random.default_rng([seed])
    labels = rng.integers(0, classes, count)
    mixing = rng.standard_normal((width, width)) * np.logspace(0, -2, width)
    centres = rng.standard_normal((classes, width))
    features = (rng.standard_normal((count, width)) + centres[labels]) @ mixing + 5
    return features, labels, np.eye(classes)[labels]


def test_logistic_equals_scikit_learn_for_every_penalty():
    features, labels, targets = labelled()
    models = linear.fit_logistic(features, targets, steps=3000)
    quick = linear.fit_logistic(features, targets)
    standard = (features - features.mean(0)) / features.std(0)
    for i, penalty in enumerate(linear.L2_GRID):
        reference = LogisticRegression(C=1 / (penalty * len(labels)), tol=1e-9, max_iter=10_000)
        expected = reference.fit(standard, labels).predict_proba(standard)
        np.testing.assert_allclose(models.scores(features, i), expected, atol=2e-4)
        # The default number of steps is enough, least so for the smallest penalty.
        np.testing.assert_allclose(
            quick.scores(features, i), expected, atol=0.02 if i == 0 else 2e-3
        )


def test_multi_label_equals_one_logistic_regression_per_label_with_gaps():
    features, labels, _ = labelled(1)
    rng = np.random.default_rng([7])
    targets = np.stack([labels % 2, labels > 1, rng.random(400) < 0.3], 1).astype(float)
    models = linear.fit_logistic(features, targets, multi_label=True, l2=(0.01, 0.3))
    standard = (features - features.mean(0)) / features.std(0)
    for i, penalty in enumerate((0.01, 0.3)):
        for k in range(3):
            reference = LogisticRegression(C=1 / (penalty * 400), tol=1e-9, max_iter=10_000)
            expected = reference.fit(standard, targets[:, k]).predict_proba(standard)[:, 1]
            np.testing.assert_allclose(models.scores(features, i)[:, k], expected, atol=2e-4)

    # A gap in one label must equal leaving the example out for that label.
    gaps = targets.copy()
    gaps[:150, 0] = np.nan
    found = linear.fit_logistic(features, gaps, multi_label=True, l2=(0.3,))
    same = (features - found.mean) / found.std
    reference = LogisticRegression(C=1 / (0.3 * 250), tol=1e-9, max_iter=10_000)
    expected = reference.fit(same[150:], targets[150:, 0]).predict_proba(same)[:, 1]
    np.testing.assert_allclose(found.scores(features, 0)[:, 0], expected, atol=2e-4)


def test_ridge_equals_scikit_learn():
    features, labels, targets = labelled(2)
    models = linear.fit_ridge(features, targets, l2=(0.001, 0.1, 3.0))
    standard = (features - features.mean(0)) / features.std(0)
    for i, penalty in enumerate((0.001, 0.1, 3.0)):
        expected = Ridge(alpha=penalty * len(labels)).fit(standard, targets).predict(standard)
        np.testing.assert_allclose(models.scores(features, i), expected, atol=1e-9)


@pytest.mark.parametrize("multi_label", [False, True])
def test_grid_trained_at_once_equals_each_penalty_alone(multi_label):
    features, _, targets = labelled(3)
    together = linear.fit_logistic(features, targets, multi_label=multi_label)
    for i, penalty in enumerate(linear.L2_GRID):
        alone = linear.fit_logistic(features, targets, multi_label=multi_label, l2=(penalty,))
        np.testing.assert_allclose(
            together.scores(features, i), alone.scores(features, 0), atol=2e-5
        )


@pytest.mark.parametrize("fit", [linear.fit_logistic, linear.fit_ridge])
def test_weights_equal_repeated_examples(fit):
    features, _, targets = labelled(4)
    weights = np.random.default_rng([1]).integers(0, 3, 400)
    rows = np.repeat(np.arange(400), weights)
    weighted = fit(features, targets, weights=weights)
    repeated = fit(features[rows], targets[rows])
    np.testing.assert_allclose(weighted.scores(features), repeated.scores(features), atol=5e-4)


def test_more_features_than_examples_and_constant_features():
    features, labels, targets = labelled(5, count=30, width=100)
    features[:, 3] = 7.0
    models = linear.fit_logistic(features, targets)
    assert np.isfinite(models.scores(features)).all()
    assert (models.scores(features, 0).argmax(1) == labels).all()
    assert (models.kernel[:, 3] == 0).all() or np.abs(models.kernel[:, 3]).max() < 1e-3


def test_knn_by_hand():
    train = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0], [-0.8, -1.6]])
    targets = np.eye(2)[[0, 1, 1, 1, 0]]
    assert np.allclose(train.mean(0), 0)  # so centring changes nothing here
    found = knn.knn_scores(train, targets, np.array([[2.0, 0.0]]), neighbours=(1, 2, 3))
    assert found[0, 0].tolist() == [1.0, 0.0]
    near, far = np.exp(1 / 0.07), np.exp(0.8 / 0.07)
    np.testing.assert_allclose(found[1, 0], [near / (near + far), far / (near + far)])
    third = np.exp(0.0)
    np.testing.assert_allclose(found[2, 0, 1], (far + third) / (near + far + third))


def test_knn_weights_equal_repeated_examples():
    rng = np.random.default_rng([8])
    train, queries, targets = rng.random((30, 4)), rng.random((9, 4)), np.eye(3)[np.arange(30) % 3]
    weights = rng.integers(0, 4, 30)
    rows = np.repeat(np.arange(30), weights)
    weighted = knn.knn_scores(train, targets, queries, neighbours=(1, 999), weights=weights)
    repeated = knn.knn_scores(train[rows], targets[rows], queries, neighbours=(1, 999))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-9)


def test_knn_leaves_unlabelled_entries_out_and_is_chunked_exactly():
    rng = np.random.default_rng([2])
    train, queries = rng.standard_normal((80, 5)), rng.standard_normal((33, 5))
    targets = rng.integers(0, 2, (80, 3)).astype(float)
    targets[rng.random((80, 3)) < 0.4] = np.nan
    whole = knn.knn_scores(train, targets, queries)
    np.testing.assert_array_equal(whole, knn.knn_scores(train, targets, queries, chunk=7))
    known = ~np.isnan(targets[:, 1])
    mean = train.mean(0)
    cosine = (queries - mean) @ (train - mean).T
    cosine /= np.linalg.norm(queries - mean, axis=1)[:, None] * np.linalg.norm(train - mean, axis=1)
    nearest = np.argsort(-cosine, 1)[:, :10]
    for q in range(33):
        rows = [r for r in nearest[q] if known[r]]
        votes = np.exp(cosine[q, rows] / 0.07)
        expected = (votes * targets[rows, 1]).sum() / votes.sum()
        assert whole[2, q, 1] == pytest.approx(expected, rel=1e-6)


def test_bad_features_are_refused():
    features, _, targets = labelled(6, count=20)
    features[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 20 training examples have NaN"):
        linear.fit_logistic(features, targets)
    with pytest.raises(ValueError, match="NaN"):
        knn.knn_scores(features, targets, features)
    with pytest.raises(ValueError, match="positive"):
        linear.fit_logistic(np.ones((2, 2)), np.eye(2), l2=(0.0,))
    with pytest.raises(ValueError, match=r"columns \[1\] have no labelled example"):
        linear.fit_logistic(np.eye(3), np.full((3, 2), [1.0, np.nan]), multi_label=True)
