"""Kept heads: what is written is read, and a file that is none is refused."""

import json

import numpy as np
import pytest

from surgrec_jax.evaluation.heads import kept, linear
from surgrec_jax.evaluation.metrics.calibration import neighbourhood
from surgrec_jax.safety.errors import DataError

RNG = np.random.default_rng(0)
FACTS = {
    "version": kept.VERSION,
    "kind": kept.LINEAR,
    "task": "phase",
    "source": "s/train",
    "tracks": ["phase"],
    "classes": ["a", "b", "c"],
    "multi_label": False,
    "frame": "last",
    "fingerprint": "f",
    "clip": [4, 32, 4.0],
    "temperature": 2.0,
    "error": {"before": 0.2, "after": 0.1},
    "reliability": {"count": [1.0], "confidence": [0.5], "accuracy": [0.5]},
    "stored": None,
    "chosen": "l2 0.1",
    "interval": None,
}


def head():
    features = RNG.normal(size=(60, 5))
    targets = np.eye(2)[RNG.integers(2, size=60)]
    models = linear.fit_logistic(features, targets, l2=(0.1,))
    near = neighbourhood(features, np.arange(60) // 10, features[:20], np.arange(20) // 10)
    return kept.KeptHead(FACTS, near, models, np.array([True, False, True]))


def test_what_is_written_is_read(tmp_path):
    one, features = head(), RNG.normal(size=(7, 5))
    kept.save(tmp_path / "x.head.npz", one)
    again = kept.load(tmp_path / "x.head.npz")
    assert again.facts == FACTS
    np.testing.assert_array_equal(again.probabilities(features), one.probabilities(features))
    np.testing.assert_array_equal(again.near.distance(features), one.near.distance(features))
    scores = again.probabilities(features)
    assert (scores[:, 1] == 0).all() and scores.sum(1) == pytest.approx(1)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"facts": {"version": 99}}, "is of version 99"),
        ({"facts": {"temperature": 0.0}}, "not possible"),
        ({"facts": {"classes": ["a"]}}, "3 columns for 1 classes"),
        ({"facts": {"frame": "first"}}, "not possible"),
        ({"facts": {"tracks": "phase"}}, "tracks is 'phase'"),
        ({"head/kernel": np.zeros((1, 4, 2))}, "another shape"),
        ({"head/bias": np.full((1, 2), np.nan)}, "not finite"),
        ({"near/std": np.ones(3)}, "another width"),
        ({"head/mean": None}, "head/mean"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, change, said):
    path = tmp_path / "x.head.npz"
    kept.save(path, head())
    arrays = dict(np.load(path))
    facts = FACTS | change.pop("facts", {})
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    arrays = {k: v for k, v in (arrays | change).items() if v is not None}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=said):
        kept.load(path)


def test_damage_and_pickles_are_refused(tmp_path):
    path = tmp_path / "x.head.npz"
    path.write_bytes(b"PK no archive")
    with pytest.raises(DataError):
        kept.load(path)
    np.savez(path, facts=np.array([{"a": 1}], object))
    with pytest.raises(DataError):
        kept.load(path)
