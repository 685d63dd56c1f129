"""Intervals over cases: width, coverage, pairing."""

import numpy as np
import pytest
from scipy import stats

from surgrec_jax.evaluation import bootstrap


def case_interval(*args, **options):
    return bootstrap.resample(*args, **options).interval()


def correlated(rng, cases, clips, spread=0.15):
    """Correct or not for clips whose success rate varies by case; labels, scores [1, N, 2], case
    ids."""
    rate = np.clip(0.7 + spread * rng.standard_normal(cases), 0, 1)
    correct = rng.random((cases, clips)) < rate[:, None]
    labels = rng.integers(0, 2, (cases, clips))
    scores = np.eye(2)[np.where(correct, labels, 1 - labels).ravel()]
    return labels.ravel(), scores[None], np.repeat(np.arange(cases), clips).astype(str)


def test_interval_over_cases_is_wider_than_over_clips_on_correlated_data():
    labels, scores, cases = correlated(np.random.default_rng([3]), 12, 100)
    by_case = case_interval("top1", labels, scores, cases)
    by_clip = case_interval("top1", labels, scores, np.arange(len(labels)).astype(str))
    assert by_case.value == by_clip.value == pytest.approx((scores[0].argmax(1) == labels).mean())
    assert by_case.cases == 12 and by_clip.cases == 1200
    assert by_case.high - by_case.low > 2.5 * (by_clip.high - by_clip.low)
    # By hand: the standard error of the mean of 12 case means, t quantile with 11 degrees.
    means = (scores[0].argmax(1) == labels).reshape(12, 100).mean(1)
    half = stats.t.ppf(0.975, 11) * means.std(ddof=1) / np.sqrt(12)
    assert (by_case.high - by_case.low) / 2 == pytest.approx(half, rel=0.12)


def test_coverage_is_near_95_percent_over_cases_and_far_below_over_clips():
    hits = {"case": 0, "clip": 0}
    runs, truth = 200, 0.7
    for run in range(runs):
        labels, scores, cases = correlated(np.random.default_rng([9, run]), 10, 30)
        for unit, ids in (("case", cases), ("clip", np.arange(300).astype(str))):
            found = case_interval("top1", labels, scores, ids, num_resamples=400)
            hits[unit] += found.low <= truth <= found.high
    assert stats.binomtest(hits["case"], runs, 0.95).pvalue > 0.001, hits
    assert hits["clip"] / runs < 0.85, hits


def test_expanded_level_is_hesterbergs():
    # n = 10: t(0.975, 9) = 2.26216, times sqrt(10 / 9) = 2.38452, normal tail 0.008551.
    assert bootstrap.expanded_level(0.95, 10) == pytest.approx(0.008551, abs=2e-6)
    assert bootstrap.expanded_level(0.95, 10_000) == pytest.approx(0.025, abs=1e-4)


def test_pairing_removes_the_variation_the_models_share():
    rng = np.random.default_rng([4])
    labels, scores, cases = correlated(rng, 12, 60, spread=0.25)
    worse = scores.copy()
    spoil = rng.random(len(labels)) < 0.1
    worse[0, spoil] = np.eye(2)[1 - labels[spoil]]

    def resample(found):
        return bootstrap.resample("top1", labels, found, cases)

    good = resample(scores)
    difference = (good - resample(worse)).interval()
    alone = good.interval()
    expected = (scores[0].argmax(1) == labels).mean() - (worse[0].argmax(1) == labels).mean()
    assert difference.value == pytest.approx(expected)
    assert 0 < difference.low < difference.high
    assert difference.high - difference.low < 0.5 * (alone.high - alone.low)
    same = (good - good).interval()
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_seeds_are_averaged_and_one_case_gives_no_interval():
    labels = np.array([0, 1, 0, 1])
    right, wrong = np.eye(2)[labels], np.eye(2)[1 - labels]
    found = case_interval("top1", labels, np.stack([right, wrong]), np.array(list("aabb")))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)
    one = case_interval("top1", labels, right[None], np.array(list("aaaa")))
    assert one.value == 1 and np.isnan(one.low) and one.as_dict()["low"] is None


def test_resamples_without_a_positive_are_counted():
    labels = np.array([[1], [0], [0], [0]])
    scores = np.array([[[0.9], [0.1], [0.2], [0.3]]])
    found = case_interval("mean_average_precision", labels, scores, np.array(list("abcd")))
    assert found.value == 1
    assert found.undefined == pytest.approx(0.75**4, abs=0.05)
