"""Metrics along videos and of triplets: by hand, scikit-learn, ivtmetrics, MS-TCN's procedure."""

import numpy as np
import pytest
from sklearn import metrics as sk

from surgrec_jax.evaluation.metrics import registry as metrics
from surgrec_jax.evaluation.metrics import triplets, videos


def one_video(labels, predictions, classes=4, times=None):
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    times = np.arange(len(labels), dtype=float) if times is None else times
    order = metrics.Order(np.full(len(labels), "v"), times)

    def score(name):
        scores = np.eye(classes)[predictions]
        return float(metrics.score(name, labels, scores, order=order))

    return score


def test_phase_metrics_of_one_video_by_hand():
    #           annotated: 0 0 0 1 1 1; phase 2 is predicted once but absent; 3 is neither
    score = one_video([0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 2])
    assert score("video_accuracy") == pytest.approx(4 / 6)
    assert score("video_recall") == pytest.approx((2 / 3 + 2 / 3) / 2)
    # strategy A: phase 2 counts with 0; strategy B leaves it out
    assert score("video_precision") == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score("video_precision_annotated") == pytest.approx((1 + 2 / 3) / 2)
    assert score("video_f1") == pytest.approx((4 / 5 + 4 / 6 + 0) / 3)
    assert score("video_f1_annotated") == pytest.approx((4 / 5 + 4 / 6) / 2)
    assert score("video_jaccard") == pytest.approx((2 / 3 + 2 / 4 + 0) / 3)
    assert score("video_jaccard_annotated") == pytest.approx((2 / 3 + 2 / 4) / 2)


def test_a_phase_that_is_never_predicted_has_no_precision_but_an_f1_of_zero():
    score = one_video([0, 0, 1], [0, 0, 0])
    assert score("video_precision") == pytest.approx(2 / 3)
    assert score("video_f1") == pytest.approx((4 / 5 + 0) / 2)


@pytest.mark.parametrize("seed", range(10))
def test_phase_metrics_agree_with_scikit_learn_per_video(seed):
    rng = np.random.default_rng([seed, 4])
    classes, count = 5, 120
    video = np.sort(rng.integers(0, 4, count))
    truth, said = rng.integers(0, classes, count), rng.integers(0, classes, count)
    truth[video == 1] = 3  # a video of a single class
    truth[video == 2] = rng.integers(0, 2, (video == 2).sum())  # absent classes
    shuffled = rng.permutation(count)
    order = metrics.Order(video.astype(str)[shuffled], np.arange(count, dtype=float)[shuffled])
    expected = {"video_accuracy": [], "video_f1": [], "video_jaccard": [], "video_recall": []}
    for v in np.unique(video):
        t, s = truth[video == v], said[video == v]
        here = {"labels": np.union1d(t, s), "average": "macro"}
        expected["video_accuracy"].append(sk.accuracy_score(t, s))
        expected["video_f1"].append(sk.f1_score(t, s, **here))
        expected["video_jaccard"].append(sk.jaccard_score(t, s, **here))
        expected["video_recall"].append(sk.recall_score(t, s, labels=np.unique(t), average="macro"))
    for name, values in expected.items():
        found = metrics.score(name, truth[shuffled], np.eye(classes)[said][shuffled], order=order)
        assert float(found) == pytest.approx(np.mean(values), abs=1e-9), name


def test_relaxed_borders_forgive_only_the_neighbour_and_only_near_the_border():
    labels = np.repeat([0, 1, 2], 30)
    late = labels.copy()
    late[30:45] = 0  # 15 s too late: 10 forgiven
    assert one_video(labels, late)("relaxed_accuracy") == pytest.approx(1 - 5 / 90)
    early = labels.copy()
    early[48:60] = 2  # 12 s too early: 10 forgiven
    assert one_video(labels, early)("relaxed_accuracy") == pytest.approx(1 - 2 / 90)
    other = labels.copy()
    other[28:32] = 2  # near the border, but no neighbour there
    assert one_video(labels, other)("relaxed_accuracy") == pytest.approx(1 - 4 / 90)
    every5s = one_video(labels, late, times=np.arange(90) * 5.0)
    assert every5s("relaxed_accuracy") == pytest.approx(1 - 13 / 90)  # 0 and 5 s after the border
    assert one_video(labels, late)("video_accuracy") == pytest.approx(1 - 15 / 90)


def test_relaxed_borders_stay_in_the_two_segments_that_meet():
    # Short segments: 0 | 1 | 0 ; the second border must not relax the first segment of class 0.
    labels = np.array([0] * 4 + [1] * 3 + [0] * 4)
    said = np.where(np.arange(11) == 0, 1, labels)  # 4 s before the first border: accepted
    assert one_video(labels, said)("relaxed_accuracy") == 1
    video = videos.Video(labels, said, np.arange(11) * 4.0, 4, 4)
    np.testing.assert_array_equal(videos.relaxed_labels(video), labels)  # 16 s before: not
    # 0 | 1 | 0 | 2: class 2 is accepted before the last border, but not in the first segment of 0.
    labels = np.repeat([0, 1, 0, 2], 2)
    said = np.where(np.isin(np.arange(8), (0, 4)), 2, labels)
    assert one_video(labels, said)("relaxed_accuracy") == pytest.approx(7 / 8)


def test_segments_by_hand():
    labels = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    said = [0, 0, 1, 0, 1, 1, 2, 2, 2, 2]
    # said: 0(0-2) 1(2-3) 0(3-4) 1(4-6) 2(6-10); true: 0(0-4) 1(4-8) 2(8-10)
    # IoU: 2/4 hit; 1 overlaps nothing; 1/4 of a taken one; 2/4; 2/4
    score = one_video(labels, said)
    assert score("segment_f1_10") == pytest.approx(2 * 3 / (5 + 3))
    assert score("segment_f1_50") == pytest.approx(2 * 3 / (5 + 3))
    assert videos.segment_counts(labels, said, 0.6).tolist() == [0, 5, 3]
    assert score("edit_score") == pytest.approx(1 - 2 / 5)  # 0 1 0 1 2 -> 0 1 2


def test_segments_of_extremes():
    assert one_video([1, 1], [1, 1])("segment_f1_50") == 1
    assert one_video([1, 1], [0, 0])("segment_f1_10") == 0
    assert one_video([1, 1], [0, 0])("edit_score") == 0
    assert videos.segment_counts([0, 1], [], 0.5).tolist() == [0, 0, 2]
    assert videos.edit_score([0, 1], []) == 0
    assert np.isnan(videos.edit_score([], []))


def mstcn_counts(labels, said, overlap):
    """The published procedure, written down again with sets."""

    def runs(x):
        out = []
        for i, v in enumerate(x):
            if i == 0 or v != x[i - 1]:
                out.append([v, i, i + 1])
            out[-1][2] = i + 1
        return out

    true, used, hits, alarms = runs(labels), set(), 0, 0
    for v, a, b in runs(said):
        best, at = 0.0, None
        for k, (w, c, d) in enumerate(true):
            both = len(set(range(a, b)) & set(range(c, d)))
            iou = both / (max(b, d) - min(a, c)) if w == v else 0
            if iou > best:
                best, at = iou, k
        if at is not None and best >= overlap and at not in used:
            used.add(at)
            hits += 1
        else:
            alarms += 1
    return [hits, alarms, len(true) - len(used)]


@pytest.mark.parametrize("seed", range(10))
def test_segment_counts_agree_with_the_published_procedure(seed):
    rng = np.random.default_rng([seed, 8])
    labels = np.repeat(rng.integers(0, 4, 12), rng.integers(1, 6, 12))
    said = np.where(rng.random(len(labels)) < 0.3, rng.integers(0, 4, len(labels)), labels)
    for overlap in (0.1, 0.25, 0.5):
        found = videos.segment_counts(labels, said, overlap).tolist()
        assert found == mstcn_counts(labels.tolist(), said.tolist(), overlap)


@pytest.fixture
def ivt(monkeypatch):
    """ivtmetrics as it was written: scikit-learn then gave -0.0 for a class without positives."""
    recognition = pytest.importorskip("ivtmetrics.recognition")

    def former(targets, scores, average=None):
        found = [
            sk.average_precision_score(t, s) if t.any() else -0.0
            for t, s in zip(targets.T, scores.T, strict=True)
        ]
        return np.array(found)

    monkeypatch.setattr(recognition, "average_precision_score", former)
    return recognition.Recognition


@pytest.mark.parametrize("rate", [0.9, 0.05])
def test_triplets_agree_with_ivtmetrics(ivt, rate):
    rng = np.random.default_rng([int(rate * 100)])
    counts = (30, 1, 45)
    video = np.repeat(np.arange(3), counts)
    labels = (rng.random((len(video), 100)) < rate).astype(int)  # 0.05: most classes are absent
    scores = rng.random((len(video), 100)).round(2)
    order = metrics.Order(video.astype(str), np.arange(len(video), dtype=float))
    reference = ivt(100)
    for v in range(3):
        reference.update(labels[video == v], scores[video == v])
        reference.video_end()
    for component in triplets.COMPONENTS:
        expected = reference.compute_video_AP(component)["mAP"]
        found = metrics.score(f"triplet_{component}", labels, scores, order=order)
        assert float(found) == pytest.approx(expected, abs=1e-9), component


def test_triplets_without_any_positive_are_undefined():
    order = metrics.Order(np.array(["a", "a"]), np.arange(2.0))
    labels, scores = np.zeros((2, 100), int), np.random.default_rng(0).random((2, 100))
    assert np.isnan(metrics.score("triplet_i", labels, scores, order=order))
    labels[0, 99] = 1
    labels[1, 0] = -1  # a frame with an unknown triplet is left out
    assert float(metrics.score("triplet_ivt", labels, scores, order=order)) == 1


def test_what_needs_an_order_says_so():
    with pytest.raises(ValueError, match="give `order`"):
        metrics.score("video_f1", np.array([0]), np.eye(2)[:1])
    order = metrics.Order(np.array(["a", "a"]), np.arange(2.0))
    with pytest.raises(ValueError, match="video a stands in several cases"):
        metrics.score("video_f1", np.array([0, 1]), np.eye(2), [0, 1], np.ones((1, 2)), order=order)
