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


def video_features(rng, count, shift=0.0, spread=1.0):
    """Eight clips each around a place of the video's own: [8 count, 8]."""
    places = spread * rng.normal(size=(count, 1, 8)) + shift
    return (places + 0.3 * rng.normal(size=(count, 8, 8))).reshape(-1, 8)


def flagged(near, rows):
    """Which videos of `video_features` are far off."""
    return [near.far_off(near.distance(video)) for video in np.split(rows, len(rows) // 8)]


@pytest.mark.parametrize("held", [19, 4])
def test_another_domain_is_far_and_ones_own_is_not(held):
    """Also where few validation cases ask for the training cases' help."""
    rng, own, other = np.random.default_rng(1), [], []
    case = np.repeat(np.arange(40), 8)
    for _ in range(20):
        val = video_features(rng, held)
        near = calibration.neighbourhood(video_features(rng, 40), case, val, case[: len(val)])
        own += flagged(near, video_features(rng, 50))
        other += flagged(near, video_features(rng, 10, shift=6))
        assert 0 < near.rate <= 0.05 + 1e-9
        assert (near.validation_cases, near.training_cases) == (held, 0 if held == 19 else 40)
        assert near.rate_of_validation == pytest.approx(0.05 if held == 19 else 0.2)
    assert 0 < np.mean(own) <= 0.05 + 0.02  # the spread of 20 thresholds
    assert np.mean(other) == 1.0


def test_training_cases_that_lie_closer_than_new_ones_do_not_make_new_ones_far():
    """As those do that an encoder was fine-tuned on; validation cases are new ones."""
    rng, own = np.random.default_rng(2), []
    case = np.repeat(np.arange(40), 8)
    for _ in range(40):
        val = video_features(rng, 4, spread=2)
        near = calibration.neighbourhood(video_features(rng, 40), case, val, case[:32])
        own += flagged(near, video_features(rng, 25, spread=2))
    assert np.mean(own) <= near.rate_of_validation + 0.05  # the spread of 40 thresholds
