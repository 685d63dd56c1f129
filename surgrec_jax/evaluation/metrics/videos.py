"""Scores of predictions along a video: phase metrics per video, segments, and edit distance.

**Phase metrics per video**, after Funke, Rivoir & Speidel (2023), "Metrics Matter in Surgical Phase
Recognition" (arXiv 2305.13961): every video has its own confusion matrix; a metric is the mean over
the phases of a video, then the mean over videos. What is undefined in a video is decided by a rule,
and the rule is part of the metric's name:

* no suffix (their strategy A): a value that divides by zero is left out. A phase that does not
  occur in the video but is predicted there has precision, F1 and Jaccard index 0.
* `_annotated` (their strategy B): all values of a phase that is not annotated in the video are left
  out, also when it is predicted. It forgives such predictions: never compare it with the former.

All are strict: a frame is right or wrong. `relaxed_*` stand apart and never lead: within
`RELAXED_SECONDS` before an annotated transition from a to b the prediction b is accepted, and
within as long after it the prediction a. (The scripts of the M2CAI challenge that many papers used
relax each phase by a list of its own and cut values above 100 %; they are not reproduced.)

**Segments** after Lea et al. (2017) and MS-TCN (Farha & Gall 2019): runs of equal labels. F1@k
counts over all videos: a predicted segment is a hit if it overlaps an unmatched segment of its
class with an intersection over union of at least k %. The edit score is 1 - Levenshtein distance of
the two lists of segments / length of the longer one, the mean over videos.

Frames without a label are taken out first; the frames around such a gap become neighbours.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from surgrec_jax.evaluation.metrics.classes import confusion_matrix, mean_defined, per_class, ratio

RELAXED_SECONDS = 10.0
OVERLAPS = (10, 25, 50)


@dataclasses.dataclass(frozen=True)
class Video:
    """One video: labels int [n] < C, predictions int [n] < P, times float [n] (seconds, rising)."""

    labels: np.ndarray
    predictions: np.ndarray
    times: np.ndarray
    classes: int
    answers: int


def relaxed_labels(video: Video, seconds: float = RELAXED_SECONDS) -> np.ndarray:
    """Labels [n] in which predictions that the relaxed rule accepts stand for the annotation."""
    labels = video.labels.copy()
    changes = np.flatnonzero(np.diff(video.labels)) + 1  # first frames of new segments
    for at in changes:
        before, after = video.labels[at - 1], video.labels[at]
        away = video.times - video.times[at]
        # The frame that starts a segment stands at 0; the last one before it below 0.
        early = (away < 0) & (away >= -seconds) & (video.labels == before)
        late = (away >= 0) & (away < seconds) & (video.labels == after)
        # This looks at the two segments that meet here, not at earlier ones of the same class.
        start = changes[changes < at].max(initial=0)
        end = changes[changes > at].min(initial=len(labels))
        early[:start], late[end:] = False, False
        labels[early & (video.predictions == after)] = after
        labels[late & (video.predictions == before)] = before
    return labels


def _per_video(key: str, annotated: bool = False) -> Callable[[Video], np.ndarray]:
    def value(video: Video) -> np.ndarray:
        counts = confusion_matrix(video.labels, video.predictions, video.classes, video.answers)
        table = per_class(counts)
        values = np.where(table["support"] > 0, table[key], np.nan) if annotated else table[key]
        return mean_defined(values)[None]

    return value


def _accuracy(video: Video) -> np.ndarray:
    return np.array([(video.labels == video.predictions).mean()])


def _relaxed(function: Callable[[Video], np.ndarray]) -> Callable[[Video], np.ndarray]:
    return lambda video: function(dataclasses.replace(video, labels=relaxed_labels(video)))


def segments(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal labels: (label, first frame, frame after the last), each int [S]."""
    labels = np.asarray(labels)
    if not len(labels):
        return labels, np.zeros(0, int), np.zeros(0, int)
    start = np.append(0, np.flatnonzero(np.diff(labels)) + 1)
    return labels[start], start, np.append(start[1:], len(labels))


def segment_counts(labels: np.ndarray, predictions: np.ndarray, overlap: float) -> np.ndarray:
    """(hits, false alarms, misses) of predicted segments: float [3].

    Segments are tried in order; each takes the annotated segment of its class that it overlaps
    most, and fails if that one is taken already (as MS-TCN counts).
    """
    true, true_start, true_end = segments(labels)
    predicted, first, last = segments(predictions)
    taken = np.zeros(len(true), bool)
    hits = 0
    for label, start, end in zip(predicted, first, last, strict=True):
        inside = np.maximum(0, np.minimum(true_end, end) - np.maximum(true_start, start))
        union = np.maximum(true_end, end) - np.minimum(true_start, start)
        quality = inside / union * (true == label)
        best = int(np.argmax(quality)) if len(quality) else -1
        if best >= 0 and quality[best] >= overlap and quality[best] > 0 and not taken[best]:
            taken[best] = True
            hits += 1
    return np.array([hits, len(predicted) - hits, len(true) - hits], np.float64)


def edit_score(labels: np.ndarray, predictions: np.ndarray) -> float:
    """1 - Levenshtein distance between the lists of segments / length of the longer list."""
    first, second = segments(labels)[0], segments(predictions)[0]
    if not max(len(first), len(second)):
        return float("nan")
    row = np.arange(len(second) + 1)
    for i, label in enumerate(first, 1):
        above, row = row, np.full(len(second) + 1, i)
        for j in range(1, len(second) + 1):
            swap = above[j - 1] + (label != second[j - 1])
            row[j] = min(above[j] + 1, row[j - 1] + 1, swap)
    return 1 - row[-1] / max(len(first), len(second))


def weighted_means(weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Means over videos [R, K] of parts [V, K] under weights [R, V]; NaN parts are left out."""
    defined = ~np.isnan(parts)
    return ratio(weights @ np.where(defined, parts, 0.0), weights @ defined.astype(np.float64))


def mean_of_videos(weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Mean over videos of a value each: parts [V, 1] -> [R]."""
    return weighted_means(weights, parts)[:, 0]


def f1_of_counts(weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """F1 of counts summed over videos: parts [V, 3] -> [R]."""
    hits, alarms, misses = (weights @ parts).T
    return ratio(2 * hits, 2 * hits + alarms + misses)


def _segment_f1(overlap: int):
    return lambda video: segment_counts(video.labels, video.predictions, overlap / 100)


# name -> (a video's part [K], how parts [V, K] under weights [R, V] become scores [R])
STRICT = {
    "video_accuracy": (_accuracy, mean_of_videos),
    **{
        f"video_{key}{suffix}": (_per_video(key, bool(suffix)), mean_of_videos)
        for suffix in ("", "_annotated")
        for key in ("precision", "recall", "f1", "jaccard")
        if (key, suffix) != ("recall", "_annotated")  # the same as without suffix
    },
}
SEGMENTAL = {
    **{f"segment_f1_{k}": (_segment_f1(k), f1_of_counts) for k in OVERLAPS},
    "edit_score": (lambda v: np.array([edit_score(v.labels, v.predictions)]), mean_of_videos),
}
RELAXED = {
    "relaxed_accuracy": (_relaxed(_accuracy), mean_of_videos),
    "relaxed_jaccard": (_relaxed(_per_video("jaccard")), mean_of_videos),
}
