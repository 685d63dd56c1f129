"""The simulation behind docs/evaluation.md: intervals over cases hold the truth, others not."""

import numpy as np

from surgrec_jax.evaluation.metrics import coverage


def test_intervals_over_cases_hold_the_truth_and_over_frames_do_not():
    found = coverage.coverage(30, repeats=120, resamples=200)
    held, width = found["cases"]
    assert 0.88 <= held <= 1.0
    assert found["frames"][0] < 0.6 and found["frames"][1] < width / 2


def test_independent_frames_would_need_no_cases():
    # Hardly any difference between cases, no repetition: both are right.
    found = coverage.coverage(30, spread=1e-4, stay=0.0, repeats=120, resamples=200)
    assert found["cases"][0] > 0.88 and found["frames"][0] > 0.88


def test_the_simulated_truth_is_the_mean():
    rng = np.random.default_rng([1])
    right, case = coverage.simulate(rng, 4000, 40, 0.15, 0.8)
    assert abs(right.mean() - coverage.TRUTH) < 0.01
    shares = np.bincount(case, right) / np.bincount(case)
    assert shares.var() > 0.15 * coverage.TRUTH * (1 - coverage.TRUTH)
    same = (right[1:] == right[:-1])[np.diff(case) == 0].mean()
    assert same > 0.9  # 80 % repeat the frame before, others are equal by chance


def test_the_figure_names_its_numbers():
    text = coverage.figure({6: {"cases": (0.9, 0.4), "frames": (0.4, 0.1)}})
    assert text.startswith("<svg") and "6 cases" in text and "over frames" in text
