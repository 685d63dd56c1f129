"""Uncertainty of a score: bootstrap over cases, alone or paired between two models.

Clips of one case resemble each other, so the number of independent observations is the number of
*cases*; resampling clips would give intervals that are far too narrow. Cases are drawn with
replacement, all clips of a drawn case come along.

With few cases the plain percentile interval is too narrow as well. We use the *expanded* percentile
interval of Hesterberg (2015, "What Teachers Should Know About the Bootstrap", The American
Statistician 69(4), section 4.5): the percentiles are those of a normal distribution at the t
quantile with n - 1 degrees of freedom, times sqrt(n / (n - 1)).
"""

import dataclasses
import math

import numpy as np
from scipy import stats

from surgrec_jax.evaluation import metrics


@dataclasses.dataclass(frozen=True)
class Interval:
    """A value with its interval. `low` and `high` are NaN with fewer than two cases: then nothing
    can be said.

    Attributes:
      value: the score (mean over seeds) or difference on the data as they are.
      low, high: ends of the interval.
      cases: number of cases that were resampled.
      undefined: share of resamples in which the score was undefined (left out of the percentiles).
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
    """How often each case is drawn in each resample: float [num_resamples, num_cases], rows sum to
    num_cases."""
    rng = np.random.default_rng([seed, num_cases, num_resamples])
    return rng.multinomial(num_cases, np.full(num_cases, 1 / num_cases), num_resamples).astype(
        float
    )


def expanded_level(level: float, num_cases: int) -> float:
    """Lower percentile (0..0.5) of the expanded interval for `num_cases` >= 2 (Hesterberg 2015,
    section 4.5)."""
    t = stats.t.ppf(0.5 + level / 2, num_cases - 1)
    return float(stats.norm.cdf(-math.sqrt(num_cases / (num_cases - 1)) * t))


@dataclasses.dataclass(frozen=True)
class Samples:
    """A score on the data as they are, and in every resample of the cases.

    Samples of two models drawn with the same seed from the same cases can be subtracted: that is
    the paired bootstrap.

    Attributes:
      value: the score, mean over seeds.
      draws: float [R], NaN where undefined.
      cases: number of cases.
    """

    value: float
    draws: np.ndarray
    cases: int

    def __sub__(self, other: "Samples") -> "Samples":
        if len(self.draws) != len(other.draws) or self.cases != other.cases:
            raise ValueError(
                f"cannot pair {len(self.draws)} resamples of {self.cases} cases with "
                f"{len(other.draws)} of {other.cases}"
            )
        return Samples(self.value - other.value, self.draws - other.draws, self.cases)

    def interval(self, level: float = 0.95) -> Interval:
        """The expanded percentile interval."""
        defined = self.draws[~np.isnan(self.draws)]
        undefined = 1 - len(defined) / len(self.draws)
        if self.cases < 2 or not len(defined):
            return Interval(self.value, math.nan, math.nan, self.cases, undefined)
        tail = expanded_level(level, self.cases)
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Interval(self.value, float(low), float(high), self.cases, undefined)


def resample(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    case_ids: np.ndarray,
    *,
    num_resamples: int = 2000,
    seed: int = 0,
    order: metrics.Order | None = None,
    num_classes: int | None = None,
) -> Samples:
    """Scores in resamples of the cases.

    Args:
      metric: a name in metrics.METRICS.
      labels: [N] or [N, K] as in metrics.score.
      scores: float [S, N, C], one set of scores per probe seed; the metric is averaged over seeds,
        not the scores.
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
    values = [metrics.score(metric, labels, s, case_index, weights, **more) for s in scores]
    values = np.mean(values, 0)
    return Samples(float(values[0]), values[1:], len(cases))
