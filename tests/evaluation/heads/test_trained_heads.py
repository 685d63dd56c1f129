"""Heads trained by gradient: planted signal, shuffled labels, causality, the grid, bad input."""

import jax
import numpy as np
import pytest
from scipy import stats

from surgrec_jax.evaluation.heads import attentive, grid, registry, temporal
from surgrec_jax.evaluation.heads.grid import Grid
from surgrec_jax.evaluation.heads.registry import Head, Rows

QUICK = Grid(lr=(1e-2, 3e-3), weight_decay=(0.1,), epochs=8, batch_size=128)
LONGER = Grid(lr=(1e-2, 3e-3), weight_decay=(0.1,), epochs=30, batch_size=128)
SMALL = {"layers": 3, "channels": 16, "dropout": 0.2}
VIDEOS = Grid(lr=(1e-2, 3e-3), weight_decay=(0.1,), epochs=12, batch_size=8)
HEADS = {
    "linear": registry.HEADS["linear"],
    "ridge": registry.HEADS["ridge"],
    "knn": registry.HEADS["knn"],
    "linear_adamw": Head(attentive.linear_adamw(QUICK)),
    "attentive": Head(attentive.Attentive(0, LONGER), tokens=True),
    "attentive_1": Head(attentive.Attentive(1, LONGER), tokens=True),
    "attentive_2": Head(attentive.Attentive(2, LONGER), tokens=True),
    "attentive_3": Head(attentive.Attentive(3, LONGER), tokens=True),
    "temporal": Head(temporal.Temporal(VIDEOS, tuple(SMALL.items()))),
    "published": registry.HEADS["published"],
}
DEEP = ("attentive_1", "attentive_2", "attentive_3")
BY_COST = [pytest.param(h, marks=[pytest.mark.slow] * (h in DEEP)) for h in HEADS]
TOKENS, WIDTH, CLASSES, COUNT = 4, 8, 4, 960


def clips(rng, labels, tokens, size=5.0, length=32):
    """Rows whose features show the label; of tokens one at random does. `length` clips a video."""
    features = 0.5 * rng.standard_normal((len(labels), TOKENS, WIDTH))
    shown = rng.integers(0, TOKENS, len(labels)) if tokens else 0
    features[np.arange(len(labels)), shown] += size * np.eye(CLASSES, WIDTH)[labels]
    features = (features if tokens else features[:, 0]).astype(np.float32)
    video = np.char.add("v", (np.arange(len(labels)) // length).astype(str))
    return Rows(features, video, np.arange(len(labels), dtype=np.float32))


def accuracies(name, train, train_labels, test, test_labels):
    targets = np.eye(CLASSES)[train_labels]
    values, scores = HEADS[name](train, targets, np.ones(len(train)), test, False, 0)
    assert len(values) == len(scores) and scores.shape[1:] == (len(test), CLASSES)
    return (scores.argmax(-1) == test_labels).mean(1)


def length_of(name):
    return 1 if name == "published" else 32  # it sees one clip of a video in an epoch


def test_every_head_is_tested():
    assert HEADS.keys() | {"attentive_rates"} == registry.HEADS.keys()


def test_attentive_rates_are_the_rates_of_the_attentive_head():
    whole, fewer = (registry.HEADS[name].train for name in ("attentive", "attentive_rates"))
    assert fewer.depth == whole.depth and fewer.settings.lr == whole.settings.lr
    assert len(fewer.settings.points) == 5 and set(fewer.settings.names) < set(whole.settings.names)


def within(value, expected):
    low, high = stats.binom.interval(0.9999, COUNT, expected)
    return low <= value * COUNT <= high


@pytest.mark.parametrize("name", BY_COST)
def test_label_noise_gives_the_accuracy_computed_by_hand(name):
    noise, found, truth = 0.3, [], []
    for seed in (0, 1):
        rng = np.random.default_rng([seed])
        clean = rng.integers(0, CLASSES, COUNT)
        found.append(clips(rng, clean, HEADS[name].tokens, length=length_of(name)))
        other = (clean + rng.integers(1, CLASSES, COUNT)) % CLASSES
        truth.append(np.where(rng.random(COUNT) < noise, other, clean))
    got = accuracies(name, found[0], truth[0], found[1], truth[1])
    assert any(within(value, 1 - noise) for value in got), got
    assert max(got) * COUNT <= stats.binom.ppf(0.9999, COUNT, 1 - noise), got


@pytest.mark.parametrize("name", BY_COST)
def test_shuffled_labels_give_chance_at_every_point_of_the_grid(name):
    rng = np.random.default_rng([2])
    labels = rng.integers(0, CLASSES, (4, COUNT))
    length = length_of(name)
    train, test = (clips(rng, labels[i], HEADS[name].tokens, length=length) for i in (0, 1))
    got = accuracies(name, train, labels[2], test, labels[3])
    assert all(within(value, 1 / CLASSES) for value in got), got


def test_published_epochs_are_named_and_the_earliest_of_equals_stands_last():
    rng = np.random.default_rng([12])
    labels = rng.integers(0, CLASSES, 200)
    rows = clips(rng, labels, False, length=1)
    epochs, scores = HEADS["published"](rows, np.eye(CLASSES)[labels], np.ones(200), rows, False, 0)
    assert epochs == tuple(range(50, 0, -1))  # of ties `run_head` takes the last
    sure = np.take_along_axis(scores, labels[None, :, None], 2).mean((1, 2))
    assert sure[0] > sure[25] > sure[-1]  # more and more certain over 50 epochs


def test_published_labels_are_smoothed():
    labels = np.arange(2048) % CLASSES
    targets = np.eye(CLASSES)[labels]
    rows = Rows(np.tile(targets, 16), np.arange(2048), np.zeros(2048))
    _, scores = HEADS["published"](rows, targets, np.ones(2048), rows, False, 0)
    np.testing.assert_allclose(scores[0].max(1), 0.9 + 0.1 / CLASSES, atol=0.01)  # as it was taught


@pytest.mark.slow
def test_temporal_head_uses_the_past_where_a_clip_alone_does_not_tell():
    rng = np.random.default_rng([3])
    labels = np.repeat(rng.integers(0, CLASSES, (2, COUNT // 16)), 16, axis=1)  # stretches of 16
    train, test = (clips(rng, row, False, size=0.5) for row in labels)
    alone = accuracies("linear", train, labels[0], test, labels[1]).max()
    along = accuracies("temporal", train, labels[0], test, labels[1]).max()
    assert along > alone + 0.1, (alone, along)


def test_temporal_scores_never_depend_on_later_clips():
    rng = np.random.default_rng([4])
    tcn = temporal.TCN(classes=3, layers=3, channels=8)
    params = tcn.init(WIDTH, 0)
    score = jax.jit(tcn.last)
    features = rng.standard_normal((2, 32, WIDTH)).astype(np.float32)
    before = np.asarray(score(params, features))
    for t in (1, 17, 31):
        changed = features.copy()
        changed[0, t:] += 10 * rng.standard_normal(changed[0, t:].shape)
        after = np.asarray(score(params, changed))
        np.testing.assert_array_equal(before[0, :t], after[0, :t])
        np.testing.assert_array_equal(before[1], after[1])  # nor on another video
        assert (np.abs(before[0, t:] - after[0, t:]).max(-1) > 1e-6).all()
    # It does look back: two stages of dilations 1, 2, 4 with kernel 3 see 28 clips.
    changed = features.copy()
    changed[0, 2] += 10
    moved = np.abs(before - np.asarray(score(params, changed)))[0].max(-1) > 1e-7
    assert moved[2:24].all() and not moved[31]


def test_sequences_are_in_the_order_of_time_whatever_the_order_of_rows():
    video = np.array(["b", "a", "b", "a", "b"])
    time = np.array([3.0, 1, 1, 0, 2])
    rows, real = temporal.sequences(video, time)
    assert rows.shape == (2, 32) and real.sum(1).tolist() == [2, 3]
    assert rows[0][:2].tolist() == [3, 1] and rows[1][:3].tolist() == [2, 4, 0]


def test_smoothing_is_that_of_the_paper():
    tcn = temporal.TCN(classes=3)
    logits = np.random.default_rng([5]).standard_normal((2, 5, 3)).astype(np.float32) * 6
    real = np.array([[1, 1, 1, 1, 0], [1, 1, 0, 0, 0]], bool)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    pairs = [(0, 1), (0, 2), (0, 3), (1, 1)]
    cut = [np.minimum(np.abs(logs[v, t] - logs[v, t - 1]), 4) ** 2 for v, t in pairs]
    assert tcn._roughness(logits, real) == pytest.approx(np.mean(cut), rel=1e-5)


def test_a_grid_trained_at_once_equals_each_point_alone_and_chooses_by_rate_and_decay():
    rng = np.random.default_rng([6])
    labels = rng.integers(0, CLASSES, 300)
    rows, targets = clips(rng, labels, False, size=1.0), np.eye(CLASSES)[labels]
    weights = rng.integers(0, 3, 300)
    settings = Grid(lr=(1e-3, 1e-2), weight_decay=(0.5, 0.01), epochs=3, batch_size=64)
    assert settings.names[0] == "lr 0.01, weight decay 0.01"
    _, together = attentive.linear_adamw(settings)(rows, targets, weights, rows, False, 1)
    for i, (lr, decay) in enumerate(settings.points.tolist()):
        one = Grid(lr=(lr,), weight_decay=(decay,), epochs=3, batch_size=64)
        _, alone = attentive.linear_adamw(one)(rows, targets, weights, rows, False, 1)
        np.testing.assert_allclose(together[i], alone[0], atol=1e-6)
        assert all(np.abs(together[i] - together[j]).max() > 1e-5 for j in range(i))


def test_one_step_is_adamw():
    params = {"kernel": np.full((1, 1), 2.0, np.float32), "bias": np.ones(1, np.float32)}
    points = np.array([[0.1, 0.5]], np.float32)
    found = grid.fit(params, _slope, [np.float32(3)], points=points, steps=4, seed=0)
    # Adam's first step is the sign of the gradient; then 0.1 x 0.5 x 2 of decay, kernels only.
    assert found["kernel"][0, 0, 0] == pytest.approx(2 - 0.1 - 0.1 * 0.5 * 2, abs=1e-6)
    assert found["bias"][0, 0] == pytest.approx(1 - 0.1, abs=1e-6)


def _slope(params, batch, key):
    return batch * (params["kernel"].sum() + params["bias"].sum())


def test_batches_hold_every_example_as_often_as_its_weight():
    weights = np.array([0, 1, 2, 3])
    plan = Grid(epochs=9, batch_size=2)  # 4 examples: 18 batches of 2, six passes over 6 draws
    drawn = np.concatenate(list(grid.weighted_batches(weights, plan, 0)))
    assert np.bincount(drawn).tolist() == [0, 6, 12, 18]
    with pytest.raises(ValueError, match="whole numbers"):
        next(grid.weighted_batches(np.array([0.5, 1]), plan, 0))


@pytest.mark.parametrize("name", ["linear", "linear_adamw", "knn"])
def test_a_class_without_training_example_scores_nothing(name):
    rng = np.random.default_rng([7])
    labels = rng.integers(0, CLASSES, 200)
    weights = (labels != 2).astype(float)  # class 2 is there, but counts for nothing
    rows = clips(rng, labels, False)
    _, scores = HEADS[name](rows, np.eye(CLASSES)[labels], weights, rows, False, 0)
    assert (scores[..., 2] == 0).all()
    assert (scores.argmax(-1)[:, labels != 2] == labels[labels != 2]).mean() > 0.9


@pytest.mark.slow
def test_multi_label_gaps_teach_nothing():
    rng = np.random.default_rng([8])
    labels = rng.integers(0, CLASSES, 400)
    rows = clips(rng, labels, False)
    targets = np.stack([labels == 0, labels == 1], 1).astype(float)
    targets[200:, 0] = np.nan
    targets[:200, 0] = labels[:200] == 0
    values, scores = HEADS["linear_adamw"](rows, targets, np.ones(400), rows, True, 0)
    known = Rows(rows.features[:200], rows.video_id[:200], rows.time[:200])
    assert ((scores[0, :, 0] > 0.5) == (labels == 0)).mean() > 0.93
    assert ((scores[0, :, 1] > 0.5) == (labels == 1)).mean() > 0.93
    targets[:, 0] = np.nan
    _, scores = HEADS["linear_adamw"](rows, targets, np.ones(400), known, True, 0)
    assert (scores[..., 0] == 0).all() and len(values) == 2


@pytest.mark.parametrize("name", ["linear_adamw", "attentive", "temporal"])
def test_nan_features_are_refused(name):
    rng = np.random.default_rng([9])
    labels = rng.integers(0, CLASSES, 64)
    rows = clips(rng, labels, HEADS[name].tokens)
    rows.features[5] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        HEADS[name](rows, np.eye(CLASSES)[labels], np.ones(64), rows, False, 0)


def test_diverged_points_are_left_out_and_all_of_them_an_error(caplog):
    scores = np.array([[[np.nan, 1.0]], [[0.5, 0.5]]])
    names, kept = grid.drop_diverged(("a", "b"), scores)
    assert names == ("b",) and kept.shape == (1, 1, 2) and "cannot be chosen: a" in caplog.text
    with pytest.raises(ValueError, match="every head of the grid diverged"):
        grid.drop_diverged(("a", "b"), np.full((2, 1, 2), np.inf))
