"""Intervals over cases: width, coverage, pairing."""

import numpy as np
import pytest
from scipy import stats

from surgrec_jax.evaluation.metrics import bootstrap


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
    hits = {"case": 0, "difference": 0, "clip": 0}
    runs, truth = 200, 0.7
    for run in range(runs):
        rng = np.random.default_rng([9, run])
        labels, scores, cases = correlated(rng, 6, 30)
        samples = bootstrap.resample("top1", labels, scores, cases, num_resamples=400)
        found = samples.interval()
        hits["case"] += found.low <= truth <= found.high
        spoilt = np.where(rng.random(len(labels)) < 0.2, 1 - labels, labels)  # 0.2 (2 x 0.7 - 1)
        worse = bootstrap.resample("top1", spoilt, scores, cases, num_resamples=400)
        found = (samples - worse).interval()
        hits["difference"] += found.low <= 0.08 <= found.high
        clip = np.arange(len(labels)).astype(str)
        found = case_interval("top1", labels, scores, clip, num_resamples=400)
        hits["clip"] += found.low <= truth <= found.high
    for unit in ("case", "difference"):
        assert stats.binomtest(hits[unit], runs, 0.95).pvalue > 0.001, hits
    assert hits["clip"] / runs < 0.85, hits


def test_the_error_of_few_cases_is_not_too_small():
    correct = np.repeat([0, 1, 1, 1], 5)  # of four cases
    cases = np.repeat(np.arange(4), 5)
    samples = bootstrap.resample("top1", np.ones(20, int), np.eye(2)[correct][None], cases)
    assert samples.draws.std() == pytest.approx(np.std([0, 1, 1, 1], ddof=1) / 2, rel=0.05)


def test_interval_by_hand():
    # 10 cases, standard error 0.05, t(0.975, 9) = 2.262157: a half of 0.1131079.
    draws = 0.8 + 0.05 * np.array([-1.0, 1.0, -1.0, 1.0, np.nan])
    one = bootstrap.Samples(0.8, draws, 10)
    # On log-odds: log(4) = 1.386294, half 0.1131079 / (0.8 x 0.2) = 0.7069243.
    found = one.interval()
    assert (found.low, found.high) == pytest.approx((0.663598, 0.890242), abs=1e-6)
    assert (found.undefined, found.cases) == (pytest.approx(0.2), 10)
    # A rank correlation of 0.8: log(1.8 / 0.2) = 2.197225, half 0.1131079 x 2 / (1.8 x 0.2).
    found = bootstrap.Samples(0.8, draws, 10, (-1.0, 1.0)).interval()
    assert (found.low, found.high) == pytest.approx((0.655239, 0.888087), abs=1e-6)
    # A difference stays on its own scale, and within what a difference can be.
    other = bootstrap.Samples(0.3, np.full(5, 0.3), 10)
    found = (one - other).interval()
    assert (found.low, found.high) == pytest.approx((0.5 - 0.1131079, 0.5 + 0.1131079), abs=1e-6)
    wide = bootstrap.Samples(0.9, np.array([0.0, 1.0]), 2) - bootstrap.Samples(0.1, np.zeros(2), 2)
    assert (wide.interval().low, wide.interval().high) == (-1, 1)
    # A mean over two data sets has two degrees of freedom less than cases.
    lost = bootstrap.Samples(0.8, draws, 10, lost=2).interval()
    assert lost.low == pytest.approx(0.660532, abs=1e-6)


def test_a_perfect_score_of_few_cases_is_not_certain():
    labels = np.arange(26) % 2
    cases = np.repeat(np.arange(13), 2).astype(str)
    right = case_interval("top1", labels, np.eye(2)[labels][None], cases)
    # Clopper and Pearson, 13 of 13: 0.025 ** (1 / 13).
    assert (right.value, right.high) == (1, 1)
    assert right.low == pytest.approx(0.752947, abs=1e-6)
    wrong = case_interval("top1", labels, np.eye(2)[1 - labels][None], cases)
    assert (wrong.low, wrong.high) == (0, pytest.approx(1 - right.low))


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


def test_cases_needed_are_those_that_a_larger_test_has():
    """By hand, at the ends, and against the interval of a test that large."""
    at_hand = bootstrap.Interval(0.5, 0.3, 0.7, 10)
    error = 0.2 / stats.t.ppf(0.975, 9) * np.sqrt(10)
    n = bootstrap.cases_needed(at_hand, 0.05)
    assert stats.t.ppf(0.975, n - 1) * error / np.sqrt(n) <= 0.05
    assert stats.t.ppf(0.975, n - 2) * error / np.sqrt(n - 1) > 0.05
    assert bootstrap.cases_needed(at_hand, 0.2) == 10
    assert bootstrap.cases_needed(at_hand, 50.0) == 2
    rng = np.random.default_rng(0)
    widths = {}
    for cases in (20, n_large := 320):
        labels = rng.integers(0, 2, cases)
        scores = np.eye(2)[np.where(rng.random(cases) < 0.7, labels, 1 - labels)][None]
        widths[cases] = bootstrap.resample("top1", labels, scores, np.arange(cases)).interval()
    half = (widths[n_large].high - widths[n_large].low) / 2
    assert bootstrap.cases_needed(widths[20], half) == pytest.approx(n_large, rel=0.4)


def test_the_interval_of_several_seeds_holds_their_spread():
    """Without spread it is that of the cases; of two seeds that differ it is wide, by hand."""
    draws = np.random.default_rng(1).normal(0.1, 0.02, 4000)
    cases = bootstrap.Samples(0.1, draws, 40, (-1.0, 1.0), difference=True)
    alone = cases.interval()
    same = bootstrap.over_seeds(cases, [[0.5, 0.5], [0.4, 0.4]])
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high))
    wide = bootstrap.over_seeds(cases, [[0.45, 0.55], [0.4, 0.4]])
    seeds, error = 0.05**2, draws.var()  # 0.005 / 2
    freedom = (error + seeds) ** 2 / (error**2 / 39 + seeds**2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(error + seeds)
    assert wide.high == pytest.approx(0.1 + reach) and wide.low == pytest.approx(0.1 - reach)
    assert reach > 5 * (alone.high - 0.1)
    assert np.isnan(bootstrap.over_seeds(cases, [[0.5], [0.4, 0.4]]).low)
