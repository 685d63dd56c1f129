"""Scores of maps against scikit-learn, torchmetrics and MONAI, their rules, and case weights."""

import numpy as np
import pytest
import torch
from monai.metrics import SurfaceDiceMetric
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.regression import MeanAbsolutePercentageError, MeanSquaredError
from torchmetrics.segmentation import MeanIoU

from surgrec_jax.evaluation.metrics import bootstrap, maps, registry, surfaces
from surgrec_jax.evaluation.tasks.task import Task

CLASSES = ("tissue", "shaft", "clasper", "thread")
CASES = np.array([0, 0, 0, 1, 1, 2])


@pytest.fixture(scope="module")
def drawn():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, (6, 20, 24)).astype(np.uint8)  # thread is nowhere
    truth[3:5][truth[3:5] == 2] = 0  # the clasper is in cases 0 and 2 only
    prediction = np.where(rng.random(truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape))
    prediction[3, 0, 0] = 2  # and predicted in case 1
    truth[:, :3] = maps.VOID
    return truth, prediction.astype(np.uint8)


def parts_of(truth, prediction, classes=CLASSES):
    pairs = zip(truth, prediction, strict=True)
    return np.stack([maps.class_parts(t, p, classes) for t, p in pairs])


def score(metric, parts, cases=CASES, weights=None):
    labels = np.ones((len(parts), 1), int)
    if weights is None:
        weights = np.ones((1, cases.max() + 1))
    return registry.score(metric, labels, parts, cases, weights)


def tensors(truth, prediction):
    return torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64))


@pytest.mark.parametrize(("metric", "library"), [("dice", f1_score), ("iou", jaccard_score)])
def test_overlap_is_that_of_scikit_learn(drawn, metric, library):
    truth, prediction = drawn
    parts = parts_of(truth, prediction)

    def reference(rows):
        known = truth[rows] != maps.VOID
        true, found = truth[rows][known], prediction[rows][known]
        there = np.flatnonzero(np.isin(range(len(CLASSES)), [true, found]))
        values = library(true, found, labels=there, average=None)
        return values.mean(), values

    rows = np.arange(6)
    pooled, values = reference(rows)
    assert abs(score(f"pooled_{metric}", parts)[0] - pooled) < 1e-9
    table = maps.per_class(parts[None], CLASSES)
    for name, value in zip(CLASSES[:3], values, strict=False):
        assert abs(table[name][metric] - value) < 1e-9
    of_cases = [reference(rows[case == CASES])[0] for case in range(3)]
    assert abs(score(metric, parts)[0] - np.mean(of_cases)) < 1e-9
    weighted = score(metric, parts, weights=np.array([[3.0, 0, 1], [0, 0, 2]]))
    np.testing.assert_allclose(
        weighted, [(3 * of_cases[0] + of_cases[2]) / 4, of_cases[2]], atol=1e-9
    )


def test_iou_of_frames_is_that_of_torchmetrics(drawn):
    """Over the classes in the truth of a frame: what is only predicted is left out."""
    truth, prediction = (x[:, 3:] for x in drawn)  # the library has no unlabelled pixels
    each = []
    for true, found in zip(truth, prediction, strict=True):
        library = MeanIoU(len(CLASSES), per_class=True, input_format="index")
        found, true_tensor = tensors(true[None], found[None])
        values = library(found, true_tensor).numpy()
        each.append(values[np.isin(range(len(CLASSES)), true)].mean())
    assert abs(score("frame_iou", parts_of(truth, prediction))[0] - np.mean(each)) < 1e-6


def blobs(rng, count, side=56):
    """Maps of four classes in round patches, as masks are; thread is rare."""
    y, x = np.mgrid[:side, :side]
    maps_of = np.zeros((count, side, side), np.uint8)
    for ids in maps_of:
        for _ in range(6):
            radius, (v, u) = rng.integers(2, 14), rng.integers(0, side, 2)
            ids[(y - v) ** 2 + (x - u) ** 2 <= radius**2] = rng.integers(0, 4)
    return maps_of


@pytest.mark.filterwarnings("ignore:the (prediction|ground truth) of class")
@pytest.mark.parametrize("tolerance", [2, 6])
def test_surface_distance_is_that_of_monai(tolerance, monkeypatch):
    """Of every frame and class, with unlabelled pixels; the library answers in 32 bits."""
    rng, side = np.random.default_rng(2), 48
    truth = np.concatenate([blobs(rng, 4, side), rng.integers(0, 4, (1, side, side), np.uint8)])
    found = np.roll(truth, (2, 1), (1, 2))
    found[2:4] = blobs(rng, 2, side)
    found[0][found[0] == 2] = 0  # one that is only in the truth
    truth[1][truth[1] == 1] = 0  # and one that is only predicted
    truth[:, :9, 20:30] = maps.VOID
    monkeypatch.setattr(surfaces, "TOLERANCE", tolerance / side)
    hot = np.eye(256, dtype=np.float32)[:, [0, 1, 2, 3, maps.VOID]]
    library = SurfaceDiceMetric([tolerance] * 5, include_background=True, ignore_index=4)
    wanted = library(*(torch.from_numpy(hot[ids]).permute(0, 3, 1, 2) for ids in (found, truth)))
    parts = parts_of(truth, found)
    right, there = np.moveaxis(parts.reshape(5, 4, 5)[..., 3:], -1, 0)
    each = maps.ratio(right, there)
    np.testing.assert_allclose(each.astype(np.float32), wanted[:, :4], rtol=0, atol=1e-9)
    assert (each == 0).any() and (each < 0.9).sum() > 4
    assert abs(score("nsd", parts, np.arange(5))[0] - np.nanmean(each, 1).mean()) < 1e-9


def test_exactly_as_counted_by_hand():
    """Fractions that no floating-point library blurs: 1e-12."""
    truth = np.array([[0, 0, 1, 1, 2, maps.VOID]], np.uint8)
    found = np.array([[0, 1, 1, 1, 3, 0]], np.uint8)
    parts = parts_of(truth, found)
    one = np.zeros(1, int)
    # Class 0: 1 hit, 1 miss. 1: 2 hits, 1 alarm. 2: 1 miss. 3: 1 alarm.
    expected = {
        "dice": (2 / 3 + 4 / 5) / 4,
        "nsd": (2 / 3 + 4 / 5) / 4,  # a row is all boundary, and six pixels tolerate nothing
        "iou": (1 / 2 + 2 / 3) / 4,
        "frame_iou": (1 / 2 + 2 / 3) / 3,
    }
    for metric, value in expected.items():
        assert abs(score(metric, parts, one)[0] - value) < 1e-12
    parts = parts_of(truth, found, ("background", *CLASSES[1:]))  # does not count
    assert abs(score("dice", parts, one)[0] - 4 / 5 / 3) < 1e-12
    empty = parts_of(truth * 0, found * 0, ("background", "polyp"))
    assert np.isnan(score("dice", empty, one)[0])  # nothing is left to average over


def test_errors_of_depths_are_those_of_torchmetrics():
    rng = np.random.default_rng(1)
    truth = rng.uniform(5, 90, (6, 20, 24))
    found = truth * np.exp(rng.normal(0.3, 0.3, truth.shape))
    truth[:, :, :4] = 0  # not measured
    parts = np.stack([maps.depth_parts(t, f) for t, f in zip(truth, found, strict=True)])
    wanted: dict[str, list] = {name: [] for name in maps.DEPTH}
    for true, guess in zip(truth, found, strict=True):
        known = true > 0
        true, guess = true[known], guess[known]
        for suffix, scale in (("", 1.0), ("_scaled", np.median(true) / np.median(guess))):
            pair = torch.from_numpy(guess * scale), torch.from_numpy(true)
            relative = MeanAbsolutePercentageError().set_dtype(torch.float64)(*pair)
            rmse = MeanSquaredError(squared=False).set_dtype(torch.float64)(*pair)
            off = torch.maximum(pair[0] / pair[1], pair[1] / pair[0])
            wanted["abs_rel" + suffix].append(float(relative))
            wanted["rmse_mm" + suffix].append(float(rmse))
            wanted["delta_125" + suffix].append(float((off < 1.25).double().mean()))
    for metric, values in wanted.items():
        values = np.array(values)
        of_cases = [values[case == CASES].mean() for case in range(3)]
        assert abs(score(metric, parts)[0] - np.mean(of_cases)) < 1e-9, metric
    assert score("delta_125_scaled", parts)[0] > score("delta_125", parts)[0] + 0.1


def test_intervals_are_over_cases(drawn):
    parts = parts_of(*drawn)
    labels = np.ones((6, 1), int)
    samples = bootstrap.resample("dice", labels, parts[None], CASES, num_resamples=200)
    interval = samples.interval()
    assert interval.cases == 3 and 0 < interval.low < interval.value < interval.high < 1


def test_an_error_cannot_lead():
    with pytest.raises(ValueError, match="metric 'abs_rel' does not fit"):
        Task("depth", "c3vd", "depth", "abs_rel", "pixel", kind="depth")
    task = Task("depth", "c3vd", "depth", "delta_125", "pixel", kind="depth")
    assert "rmse_mm" in task.metrics and "dice" not in task.metrics
