"""Scores of label maps: how classes overlap, and errors of depths.

A frame is counted once (`class_parts`, `depth_parts`), and parts are combined under the weights of
cases. Pixels without truth count for nothing. Rules, by name:

* `dice`, `iou`: the pixels of a case's frames are counted together; a class that occurs neither in
  truth nor in prediction of the case is left out, one that is predicted but never true scores 0;
  the mean over classes, then over cases.
* `pooled_dice`, `pooled_iou`: the same, with the pixels of all cases counted together.
* `frame_iou`: the mean over the classes in a frame's truth, then over all frames that have one (the
  rule of the EndoVis challenges: a class predicted where it is not lowers the others only).
* `nsd`: the normalised surface distance: the share of the pixels of both boundaries of a class that
  lie close to the other (`surfaces` says what a boundary is and how close); counted and averaged as
  for `dice`, so that a class of one side only scores 0.
* `delta_125`: the share of pixels whose depth is off by a factor below 1.25; `abs_rel`: the mean of
  |prediction - truth| / truth; `rmse_mm`: the root of the mean squared error in millimetres; the
  mean over a case's frames, then over cases (Eigen et al. 2014, section 4.3). With `_scaled` each
  prediction is first multiplied by median(truth) / median(prediction) of its frame, as for
  encoders that know depths up to a scale (Zhou et al. 2017, section 4.2).

A class called `background` is not among those that scores are means over.
"""

from collections.abc import Callable, Sequence

import numpy as np

from surgrec_jax.evaluation.metrics.classes import mean_defined, ratio
from surgrec_jax.evaluation.metrics.surfaces import surface_parts
from surgrec_jax.evaluation.metrics.videos import weighted_means

BACKGROUND = "background"
VOID = 255  # a pixel without a class (surgrec_jax/records/maps.py)
FACTOR = 1.25
_LEAST_MM = 1e-3  # predictions are at least so deep


def class_parts(truth: np.ndarray, prediction: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """What is counted in a frame of every class but the background.

    Args:
        truth: uint8 [H, W], ids or VOID.
        prediction: of the same shape, ids.

    Returns:
        float64 [5 F], F classes: pixels that are hits, false alarms and misses, then those of both
        boundaries that are right, and all of them.
    """
    count, known = len(classes), truth != VOID
    flat = truth[known].astype(np.int64) * count + prediction[known]
    confusion = np.bincount(flat, minlength=count * count).reshape(count, count)
    hits = np.diagonal(confusion)
    areas = np.stack([hits, confusion.sum(0) - hits, confusion.sum(1) - hits], -1)
    ids = counted(classes)
    return np.concatenate([areas[ids], surface_parts(truth, prediction, known, ids)], -1).ravel()


def counted(classes: Sequence[str]) -> np.ndarray:
    """The ids of the classes that scores are means over."""
    return np.array([k for k, name in enumerate(classes) if name != BACKGROUND], np.int64)


def depth_parts(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """The values of one frame: (delta, abs_rel, rmse), then the same after median scaling.

    Args:
        truth: millimetres [...], 0 where nothing was measured; some pixel must be.
        prediction: of the same shape, millimetres.

    Returns:
        float64 [6].
    """
    known = truth > 0
    true, found = truth[known].astype(np.float64), prediction[known].astype(np.float64)
    found = np.maximum(found, _LEAST_MM)
    values = []
    for scale in (1.0, np.median(true) / np.median(found)):
        guess = found * scale
        off = np.maximum(guess / true, true / guess)
        values += [(off < FACTOR).mean(), (np.abs(guess - true) / true).mean()]
        values.append(np.sqrt(np.square(guess - true).mean()))
    return np.array(values)


def _each_class(parts: np.ndarray) -> np.ndarray:
    """Parts [..., 5 F] as [..., F, 5]."""
    return parts.reshape(*parts.shape[:-1], -1, 5)


def _dice(parts: np.ndarray) -> np.ndarray:
    hits, alarms, misses = np.moveaxis(parts[..., :3], -1, 0)
    return ratio(2 * hits, 2 * hits + alarms + misses)


def _iou(parts: np.ndarray) -> np.ndarray:
    return ratio(parts[..., 0], parts[..., :3].sum(-1))


def _nsd(parts: np.ndarray) -> np.ndarray:
    return ratio(parts[..., 3], parts[..., 4])


def per_class(scores: np.ndarray, classes: Sequence[str]) -> dict[str, dict]:
    """Class -> frames that show it ("support"); Dice, IoU and NSD of all pixels, means over seeds.

    None stands for what is undefined: the class is neither in truth nor in a seed's predictions.

    Args:
        scores: parts [S, N, 5 F] of S seeds.
    """
    each = _each_class(scores.astype(np.float64))
    whole, shown = each.sum(1), ((each[0, ..., 0] + each[0, ..., 2]) > 0).sum(0)
    found = {"dice": _dice(whole), "iou": _iou(whole), "nsd": _nsd(whole)}
    means = {metric: values.mean(0) for metric, values in found.items()}
    return {
        classes[k]: {"support": int(shown[row])}
        | {metric: _known(values[row]) for metric, values in means.items()}
        for row, k in enumerate(counted(classes))
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


Combine = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _of_cases(function: Callable[[np.ndarray], np.ndarray]) -> Combine:
    def combine(parts, case_index, weights):
        sums = _sums(parts, case_index, weights.shape[1])
        values = mean_defined(function(_each_class(sums)))
        return weighted_means(weights, values[:, None])[:, 0]

    return combine


def _pooled(function: Callable[[np.ndarray], np.ndarray]) -> Combine:
    def combine(parts, case_index, weights):
        sums = weights @ _sums(parts, case_index, weights.shape[1])
        return mean_defined(function(_each_class(sums)))

    return combine


def _of_frames(parts, case_index, weights):
    values = frame_values("frame_iou", parts)
    defined = ~np.isnan(values)
    cases = weights.shape[1]
    found = np.bincount(case_index, np.where(defined, values, 0.0), minlength=cases)
    return ratio(weights @ found, weights @ np.bincount(case_index, defined, minlength=cases))


def _mean_of_cases(column: int) -> Combine:
    def combine(parts, case_index, weights):
        cases = weights.shape[1]
        sums = np.bincount(case_index, parts[:, column], minlength=cases)
        means = ratio(sums, np.bincount(case_index, minlength=cases).astype(np.float64))
        return weighted_means(weights, means[:, None])[:, 0]

    return combine


def _sums(parts: np.ndarray, case_index: np.ndarray, cases: int) -> np.ndarray:
    sums = np.zeros((cases, parts.shape[1]))
    np.add.at(sums, case_index, parts)
    return sums


# name -> (parts [N, K], case of each frame [N], weights [R, cases]) -> [R]
SEGMENTATION: dict[str, Combine] = {
    "dice": _of_cases(_dice),
    "iou": _of_cases(_iou),
    "frame_iou": _of_frames,
    "nsd": _of_cases(_nsd),
    "pooled_dice": _pooled(_dice),
    "pooled_iou": _pooled(_iou),
}
_COLUMNS = ("delta_125", "abs_rel", "rmse_mm")
DEPTH: dict[str, Combine] = {
    f"{name}{suffix}": _mean_of_cases(column + 3 * (suffix != ""))
    for suffix in ("", "_scaled")
    for column, name in enumerate(_COLUMNS)
}
# Of these less is better, and they have no upper limit: they stand beside a score and never lead.
ERRORS = tuple(name for name in DEPTH if not name.startswith("delta"))


def frame_values(metric: str, parts: np.ndarray) -> np.ndarray:
    """The value of every frame by itself [N]; NaN where it has none. For choosing frames to show.

    Args:
        metric: one of SEGMENTATION (Dice or IoU of the frame's classes) or DEPTH.
        parts: [N, K].
    """
    if metric in DEPTH:
        return parts[:, list(DEPTH).index(metric)]
    each = _each_class(parts)
    values = (_nsd if metric == "nsd" else _dice if "dice" in metric else _iou)(each)
    if metric == "frame_iou":
        values = np.where(each[..., 0] + each[..., 2] > 0, values, np.nan)
    return mean_defined(values)
