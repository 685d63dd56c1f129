"""Uncertainty of a score: bootstrap over cases, alone or paired between two models.

Clips of one case resemble each other, so the number of independent observations is the number of
*cases*; resampling clips would give intervals that are far too narrow. Cases are drawn with
replacement, all clips of a drawn case come along.

With few cases percentiles of the resamples are too narrow as well, and a score near its limit has a
skewed error. The interval is therefore Student's t, with n - 1 degrees of freedom, around the score
(Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 12):

* the standard error is that of the resamples, times sqrt(n / (n - 1)) (Hesterberg 2015, "What
  Teachers Should Know About the Bootstrap", The American Statistician 69(4): a resample of n cases
  varies as if divided by n, not n - 1);
* a score with limits (0 to 1; -1 to 1 for a rank correlation) has its interval on the scale of
  log-odds, log((score - low) / (high - score)), where the standard error is the delta method's: the
  usual interval for shares in clustered samples (Korn and Graubard 1998, Survey Methodology 24(2));
* a score at its limit has no spread in any resample. There the far end is the exact one of Clopper
  and Pearson (1934) for n of n cases: limit - range x (1 - ((1 - level) / 2) ** (1 / n));
* a difference of two scores is symmetric enough to be left on its own scale.

`coverage` measures how often these hold the truth.
"""

import bisect
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from scipy import special, stats

from surgrec_jax.evaluation.metrics import registry


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its interval; `low` and `high` are NaN with fewer than two cases.

    Attributes:
        value: the score (mean over seeds) or difference on the data as they are.
        low, high: ends of the interval.
        cases: number of cases that were resampled.
        undefined: share of resamples in which the score was undefined (left out of the
            percentiles).
    """

    value: float
    low: float
    high: float
    cases: int
    undefined: float = 0.0

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON: NaN becomes None."""
        fields = dataclasses.asdict(self)
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in fields.items()}


def draw_cases(num_cases: int, num_resamples: int, seed: int) -> np.ndarray:
    """How often each case is drawn in each resample: float [R, num_cases], rows sum to that."""
    rng = np.random.default_rng([seed, num_cases, num_resamples])
    return rng.multinomial(num_cases, np.full(num_cases, 1 / num_cases), num_resamples).astype(
        float
    )


@dataclasses.dataclass(frozen=True)
class Samples:
    """A score on the data as they are, and in every resample of the cases.

    Samples of two models drawn with the same seed from the same cases can be subtracted: that is
    the paired bootstrap. Of other cases they cannot (ValueError).

    Attributes:
        value: the score, mean over seeds.
        draws: float [R], NaN where undefined; what `resample` gives is stretched around its mean so
            that its deviation is the standard error.
        cases: number of cases.
        limits: the least and the largest value that the score can have.
        difference: of two scores.
        lost: degrees of freedom that were used up; more than one for a mean over several data sets.
        case_ids: the cases in the order of the draws; empty where nothing is paired.
    """

    value: float
    draws: np.ndarray
    cases: int
    limits: tuple[float, float] = (0.0, 1.0)
    difference: bool = False
    lost: int = 1
    case_ids: tuple[str, ...] = ()

    def __sub__(self, other: "Samples") -> "Samples":
        if apart := sorted(set(self.case_ids) ^ set(other.case_ids)):
            raise ValueError(f"cannot pair other cases: {', '.join(apart)} in one of two only")
        if len(self.draws) != len(other.draws) or self.cases != other.cases:
            raise ValueError(
                f"cannot pair {len(self.draws)} resamples of {self.cases} cases with "
                f"{len(other.draws)} of {other.cases}"
            )
        limits = self.limits[0] - other.limits[1], self.limits[1] - other.limits[0]
        return dataclasses.replace(
            self,
            value=self.value - other.value,
            draws=self.draws - other.draws,
            limits=limits,
            difference=True,
        )

    def interval(self, level: float = 0.95) -> Interval:
        """The interval that holds the truth in a share `level` of data sets; see the module."""
        defined = self.draws[~np.isnan(self.draws)]
        undefined = 1 - len(defined) / len(self.draws)
        if self.cases <= self.lost or not len(defined) or math.isnan(self.value):
            return Interval(self.value, math.nan, math.nan, self.cases, undefined)
        low, high = self.limits
        tail = (1 - level) / 2
        reach = float(stats.t.ppf(1 - tail, self.cases - self.lost) * defined.std())
        if self.difference:
            ends = max(low, self.value - reach), min(high, self.value + reach)
        elif not low < self.value < high:
            far = (high - low) * (1 - tail ** (1 / self.cases))
            ends = (low, low + far) if self.value <= low else (high - far, high)
        else:
            below, above = self.value - low, high - self.value
            # d log(below / above) = d value x (high - low) / (below x above)
            step = reach * (high - low) / (below * above)
            at = math.log(below / above)
            ends = tuple(low + (high - low) * special.expit(at + s) for s in (-step, step))
        return Interval(self.value, float(ends[0]), float(ends[1]), self.cases, undefined)


def over_seeds(
    difference: Samples, seeds: Sequence[Sequence[float]], level: float = 0.95
) -> Interval:
    """The interval of a difference between models that were each trained with several seeds.

    The variance is that of the cases plus, for each model, that of its seeds over their number.
    Degrees of freedom are Satterthwaite's (1946, Biometrics Bulletin 2(6)): few seeds that differ
    widen the interval a lot.

    Args:
        difference: of the means over the seeds.
        seeds: the score of every seed, for each of the models; NaN ends with one seed of a model.
    """
    if any(len(scores) < 2 for scores in seeds) or difference.cases <= difference.lost:
        return Interval(difference.value, math.nan, math.nan, difference.cases)
    parts = [(float(np.nanvar(difference.draws)), difference.cases - difference.lost)]
    parts += [(float(np.var(s, ddof=1)) / len(s), len(s) - 1) for s in seeds]
    total = sum(variance for variance, _ in parts)
    if not total:
        return Interval(difference.value, difference.value, difference.value, difference.cases)
    freedom = total**2 / sum(variance**2 / lost for variance, lost in parts)
    reach = float(stats.t.ppf((1 + level) / 2, freedom)) * math.sqrt(total)
    value = difference.value
    return Interval(value, value - reach, value + reach, difference.cases)


def cases_needed(interval: Interval, half_width: float, level: float = 0.95) -> int:
    """The number of test cases with which an interval would have a given half-width.

    The standard error falls as one over the root of the cases, all else being as in those at hand;
    Student's t is that of the larger number.

    Args:
        interval: the one at hand, of two cases or more.
        half_width: the one wanted, above 0, on the scale of the interval.
        level: coverage of both.
    """
    tail, cases = (1 - level) / 2, interval.cases
    reach = (interval.high - interval.low) / 2
    spread = reach / float(stats.t.ppf(1 - tail, cases - 1)) * math.sqrt(cases)

    def fits(n: int) -> bool:
        return float(stats.t.ppf(1 - tail, n - 1)) * spread / math.sqrt(n) <= half_width

    enough = 2
    while not fits(enough):
        enough *= 2
    return bisect.bisect_left(range(enough), True, lo=2, key=fits)


def resample(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    case_ids: np.ndarray,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    order: registry.Order | None = None,
    num_classes: int | None = None,
) -> Samples:
    """Scores in resamples of the cases.

    Args:
        metric: a name in metrics.METRICS.
        labels: [N] or [N, K] as in metrics.score.
        scores: float [S, N, C], one set of scores per probe seed; the metric is averaged over
            seeds, not the scores.
        case_ids: [N], the case of each example.
        num_resamples: bootstrap draws, R.
        seed: of the draws. The same seed and cases give the same draws for every model.
        order, num_classes: as in metrics.score.
    """
    scores = np.asarray(scores)
    if scores.ndim != 3:
        raise ValueError(f"scores must be [seeds, N, C], got {scores.shape}")
    cases, case_index = np.unique(np.asarray(case_ids), return_inverse=True)
    drawn = draw_cases(len(cases), num_resamples, seed)
    weights = np.concatenate([np.ones((1, len(cases))), drawn])
    more = {"order": order, "num_classes": num_classes}
    values = [registry.score(metric, labels, s, case_index, weights, **more) for s in scores]
    values = np.mean(values, 0)
    return Samples(
        float(values[0]),
        _stretched(values[1:], len(cases)),
        len(cases),
        registry.limits(metric),
        case_ids=tuple(cases.astype(str).tolist()),
    )


def _stretched(draws: np.ndarray, cases: int) -> np.ndarray:
    """Draws [R] stretched to the standard error: n cases vary by sqrt((n - 1) / n) of it."""
    if cases < 2 or np.isnan(draws).all():
        return draws
    mean = np.nanmean(draws)
    return mean + (draws - mean) * math.sqrt(cases / (cases - 1))
