"""Temperature, calibration error and far-off features against what was planted."""

import numpy as np
import pytest

from surgrec_jax.evaluation.metrics import calibration
from surgrec_jax.safety.errors import DataError


def planted(temperature, several=False, count=20_000):
    """Scores of logits that are `temperature` times too large, and labels drawn from the right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 4)) * 1.5
    if several:
        labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(int)
        return 1 / (1 + np.exp(-logits * temperature)), labels
    right = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (rng.random((count, 1)) > right.cumsum(1)).sum(1)
    wrong = np.exp(logits * temperature)
    return wrong / wrong.sum(1, keepdims=True), labels


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
@pytest.mark.parametrize("several", [False, True])
def test_a_planted_temperature_is_found_and_taken_back(temperature, several):
    scores, labels = planted(temperature, several)
    half = len(labels) // 2
    found = calibration.fit_temperature(scores[:half], labels[:half])
    assert found == pytest.approx(temperature, rel=0.06)
    mended = calibration.with_temperature(scores[half:], found, several)
    before = calibration.reliability(scores[half:], labels[half:])
    after = calibration.reliability(mended, labels[half:])
    # By hand: with m labels in a bin the accuracy of calibrated scores strays by sqrt(p(1-p)/m).
    full = after.count > 0
    p, m = after.confidence[full], after.count[full]
    expected = np.sqrt(2 / np.pi) * np.sqrt(p * (1 - p) / m)
    spread = np.sqrt(((1 - 2 / np.pi) * p * (1 - p) / m * m**2).sum()) / m.sum()
    bound = (expected * m).sum() / m.sum() + 4 * spread + 0.01  # of the temperature's own error
    assert after.error <= bound
    if temperature != 1:
        assert before.error > 3 * after.error
    if not several:
        assert (mended.argmax(1) == scores[half:].argmax(1)).all()


def test_the_error_is_the_one_computed_by_hand():
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.65, 0.35], [0.3, 0.7]])
    labels = np.array([0, 1, 0, -1])
    found = calibration.reliability(scores, labels, bins=5)
    assert found.count.tolist() == [0, 0, 0, 1, 2]
    assert found.error == pytest.approx((0.35 * 1 + abs(0.85 - 0.5) * 2) / 3)
    several = calibration.reliability(np.array([[0.9, 0.1]]), np.array([[1, -1]]), bins=5)
    assert several.count.sum() == 1 and several.error == pytest.approx(0.1)
    with pytest.raises(DataError):
        calibration.fit_temperature(scores, np.full(4, -1))


def test_a_class_that_nothing_taught_stays_impossible():
    mended = calibration.with_temperature(np.array([[0.9, 0.1, 0.0]]), 5.0, False)
    assert mended[0, 2] == 0 and mended.sum() == pytest.approx(1)


def test_another_domain_is_far_and_ones_own_is_not():
    rng = np.random.default_rng(1)

    def videos(count, shift):
        """30 clips each around a place of the video's own."""
        places = rng.normal(size=(count, 1, 8)) + shift
        return (places + 0.3 * rng.normal(size=(count, 30, 8))).reshape(-1, 8)

    train, held = videos(60, 0), videos(20, 0)
    case = np.repeat(np.arange(20).astype(str), 30)
    found = calibration.neighbourhood(train, held, case)
    assert (found.distance(held) > found.threshold).mean() <= 0.025

    def flagged(rows):
        parts = np.split(found.distance(rows), len(rows) // 30)
        return np.mean([calibration.far_off(part, found.threshold) for part in parts])

    assert flagged(videos(200, 0)) <= 0.05
    assert flagged(videos(40, 6)) == 1.0
