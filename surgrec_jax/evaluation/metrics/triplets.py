"""Action triplets as CholecT50 scores them.

Source: Nwoye & Padoy 2022, "Data Splits and Metrics for Method Benchmarking on Surgical Action
Triplet Datasets"; the package ivtmetrics.

The score of a component (say the instrument) is the largest score of the triplets that have it, and
likewise its label. Average precision is computed per video and class; a class that does not occur
in a video is left out of that video; then come the mean over videos per class and the mean over
classes. ivtmetrics finds absent classes by scikit-learn's former answer of -0.0 for them; newer
versions of scikit-learn answer 0.0, so that ivtmetrics 0.1.5 silently counts them as zero there.
Here they are left out, whatever is installed. (A class that occurs but is ranked last has a small
positive average precision, so nothing else is lost.)
"""

import numpy as np

from surgrec_jax.evaluation.metrics.classes import mean_defined
from surgrec_jax.evaluation.metrics.videos import weighted_means

# Instrument.verb.target of the triplets 0..99, facts of the data set's label_mapping.txt.
_TRIPLETS = (
    "0.2.1 0.2.0 0.2.10 0.0.3 0.0.2 0.0.4 0.0.1 0.0.0 0.0.12 0.0.8 0.0.10 0.0.11 0.0.13 0.8.0 "
    "0.1.2 0.1.4 0.1.1 0.1.0 0.1.12 0.1.8 0.1.10 0.1.11 1.3.7 1.3.5 1.3.3 1.3.2 1.3.4 1.3.1 "
    "1.3.0 1.3.8 1.3.10 1.3.11 1.2.9 1.2.3 1.2.2 1.2.1 1.2.0 1.2.10 1.0.1 1.0.8 1.0.13 1.1.2 "
    "1.1.4 1.1.0 1.1.8 1.1.10 2.3.5 2.3.3 2.3.2 2.3.4 2.3.1 2.3.0 2.3.8 2.3.10 2.5.5 2.5.11 "
    "2.2.5 2.2.3 2.2.2 2.2.1 2.2.0 2.2.10 2.2.11 2.1.0 2.1.8 3.3.10 3.5.9 3.5.5 3.5.3 3.5.2 "
    "3.5.1 3.5.8 3.5.10 3.5.11 3.2.1 3.2.0 3.2.10 4.4.5 4.4.3 4.4.2 4.4.4 4.4.1 5.6.6 5.2.2 "
    "5.2.4 5.2.1 5.2.0 5.2.10 5.7.7 5.7.4 5.7.8 5.1.0 5.1.8 5.1.10 0.9.14 1.9.14 2.9.14 "
    "3.9.14 4.9.14 5.9.14 "
)
COMPONENTS = ("i", "v", "t", "iv", "it", "ivt")
COUNT = 100


def component_ids(component: str) -> np.ndarray:
    """Which of the component's classes each triplet has: int [100].

    Classes are numbered from 0 in the order of ivtmetrics: by rising ids among those that occur.
    """
    parts = np.array([[int(n) for n in t.split(".")] for t in _TRIPLETS.split()])  # [100, 3]
    instrument, verb, target = parts.T
    ids = {
        "i": instrument,
        "v": verb,
        "t": target,
        "iv": instrument * 10 + verb,
        "it": instrument * 15 + target,
        "ivt": np.arange(COUNT),
    }[component]
    return np.unique(ids, return_inverse=True)[1]


def disentangle(triplets: np.ndarray, component: str) -> np.ndarray:
    """Scores or labels of triplets [N, 100] -> of a component's classes [N, K]: the maximum."""
    ids = component_ids(component)
    out = np.full((len(triplets), ids.max() + 1), -np.inf)
    np.maximum.at(out.T, ids, np.asarray(triplets, np.float64).T)
    return out


def video_ap(
    labels: np.ndarray, scores: np.ndarray, component: str, average_precision
) -> np.ndarray:
    """Average precision of one video per class of the component: [K], NaN where absent.

    Args:
        labels: int [n, 100] of 1, 0 and -1; frames with an unlabelled triplet are left out.
        scores: float [n, 100].
        average_precision: (labels [n], scores [n]) -> float, NaN without a positive.
    """
    known = (labels >= 0).all(1)
    truth = disentangle(labels[known], component).astype(np.int64)
    predicted = disentangle(scores[known], component)
    pairs = zip(truth.T, predicted.T, strict=True)
    return np.array([float(average_precision(t, s)) for t, s in pairs])


def mean_ap(weights: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Mean over videos per class, then over classes: parts [V, K] under weights [R, V] -> [R]."""
    return mean_defined(weighted_means(weights, parts))
