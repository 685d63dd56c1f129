"""Linear probes on frozen features: logistic and ridge regression, a whole L2 grid at once.

Both heads share one preparation: standardise the features, then rotate them to the eigenbasis of
their covariance.

* Ridge is closed-form there, for every penalty at the price of one.
* For logistic regression, Boehning (1992, "Multinomial logistic regression algorithm", Ann. Inst.
  Statist. Math. 44) bounds the Hessian: softmax <= 1/2 covariance, sigmoid <= 1/4 covariance. In
  the eigenbasis that bound is diagonal, so the exact majoriser step needs no learning rate and
  cannot diverge. We accelerate it (Beck & Teboulle 2009) with the gradient restart of O'Donoghue &
  Candes (2015). All penalties descend together (`jax.vmap`), compiled once per shape.

Training examples carry weights, so bootstrapped cases and unlabelled examples do not change a shape
(no recompilation).
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.evaluation.heads.grid import sigmoid, softmax, standardiser
from surgrec_jax.safety.errors import ConfigError, DataError

L2_GRID = tuple(10.0**power for power in (-4, -3, -2, -1.5, -1, -0.5, 0, 1))
STEPS = 150


@dataclasses.dataclass(frozen=True)
class LinearModels:
    """One linear model per penalty on standardised features.

    Attributes:
        mean, std: float [D] of the training features.
        kernel: float [G, D, C].
        bias: float [G, C].
        link: "softmax", "sigmoid" or "identity" (ridge).
    """

    mean: np.ndarray
    std: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    link: str

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by name."""
        return {name: value for name, value in vars(self).items() if name != "link"}

    def scores(self, features: np.ndarray, index: int | None = None) -> np.ndarray:
        """Probabilities (or ridge outputs): float64 [G, M, C], or [M, C] of the model `index`."""
        if not np.isfinite(features).all():
            raise DataError("features contain NaN or infinity")
        kernel, bias = (
            (self.kernel, self.bias) if index is None else (self.kernel[index], self.bias[index])
        )
        logits = (features - self.mean) / self.std @ kernel + bias[..., None, :]
        if self.link == "softmax":
            return softmax(logits)
        return sigmoid(logits) if self.link == "sigmoid" else logits


@dataclasses.dataclass(frozen=True)
class _Prepared:
    """Rotated features [N, D], `basis` [D, D], `eigen` [D] and normalised weights [N, C]."""

    mean: np.ndarray
    std: np.ndarray
    rotated: np.ndarray
    basis: np.ndarray
    eigen: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


def _prepare(features: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> _Prepared:
    features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    if features.ndim != 2 or targets.ndim != 2 or len(features) != len(targets):
        raise ValueError(
            f"features {features.shape} must be [N, D], targets {targets.shape} [N, C]"
        )
    weights = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    known = ~np.isnan(targets)
    weights = weights[:, None] * known  # [N, C]
    total = weights.sum(0)
    if (total <= 0).any():
        raise DataError(f"columns {np.flatnonzero(total <= 0).tolist()} have no labelled example")
    weights = weights / total
    # One measure bounds the curvature of every column (columns differ only where labels are
    # missing).
    measure = weights.max(1)
    mean, std = standardiser(features, measure)
    standard = (features - mean) / std
    covariance = (standard * measure[:, None]).T @ standard
    eigen, basis = np.linalg.eigh(covariance)
    return _Prepared(
        mean,
        std,
        standard @ basis,
        basis,
        np.maximum(eigen, 0),
        np.where(known, targets, 0),
        weights,
    )


@functools.partial(jax.jit, static_argnames=("link", "steps"))
def _descend(rotated, targets, weights, eigen, mass, l2, start, *, link: str, steps: int):
    """Accelerated majorise-minimise for every penalty at once.

    rotated [N, D], targets and weights [N, C], eigen [D], mass [] (sum of the bounding measure), l2
    [G], start [D + 1, C]. Returns coefficients [G, D + 1, C] (last row = bias).
    """
    design = jnp.concatenate([rotated, jnp.ones((len(rotated), 1), rotated.dtype)], 1)  # [N, D + 1]
    curvature = 0.5 if link == "softmax" else 0.25
    activate = jax.nn.softmax if link == "softmax" else jax.nn.sigmoid

    def solve(penalty):
        shrink = jnp.append(jnp.full(eigen.shape, penalty), 0.0)[:, None]  # bias is not penalised
        bound = curvature * jnp.append(eigen, mass)[:, None] + shrink  # [D + 1, 1]

        def step(carry, _):
            coef, ahead, momentum = carry
            error = weights * (activate(design @ ahead) - targets)  # [N, C]
            new = ahead - (design.T @ error + shrink * ahead) / bound
            restart = jnp.vdot(bound * (ahead - new), new - coef) > 0
            momentum = jnp.where(restart, 1.0, momentum)
            faster = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
            rate = jnp.where(restart, 0.0, (momentum - 1) / faster)
            return (new, new + rate * (new - coef), faster), None

        (coef, _, _), _ = jax.lax.scan(step, (start, start, 1.0), None, length=steps)
        return coef

    return jax.vmap(solve)(l2)


def fit_logistic(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    multi_label: bool = False,
    weights: np.ndarray | None = None,
    l2: Sequence[float] = L2_GRID,
    steps: int = STEPS,
    seed: int = 0,
) -> LinearModels:
    """Minimises mean cross-entropy + l2 / 2 |kernel|^2 on standardised features, for every l2.

    Args:
        features: float [N, D].
        targets: float [N, C], rows one-hot (softmax), or 0/1 per label with NaN = unlabelled
            (sigmoid, `multi_label`).
        multi_label: independent sigmoids in place of a softmax.
        weights: float [N] >= 0, how often each example counts; None = once.
        l2: penalties, each > 0. The bias is not penalised.
        steps: of the optimiser.
        seed: of the initial coefficients (normal, 0.01). The problem is convex: with enough steps
            it does not matter.

    Raises:
        ValueError: NaN features, wrong shapes, a column without labelled example, a penalty that is
            not positive.
    """
    if min(l2) <= 0:
        raise ValueError(f"penalties must be positive, got {tuple(l2)}")
    ready = _prepare(features, targets, weights)
    start = 0.01 * np.random.default_rng([seed]).standard_normal(
        (ready.rotated.shape[1] + 1, ready.targets.shape[1])
    )
    link = "sigmoid" if multi_label else "softmax"
    as32 = functools.partial(jnp.asarray, dtype=jnp.float32)
    coef = _descend(
        *map(as32, (ready.rotated, ready.targets, ready.weights, ready.eigen)),
        *map(as32, (ready.weights.max(1).sum(), tuple(l2), start)),
        link=link,
        steps=steps,
    )
    coef = np.asarray(coef, np.float64)
    kernel = ready.basis @ coef[:, :-1]
    return LinearModels(ready.mean, ready.std, kernel, coef[:, -1], link)


def fit_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    l2: Sequence[float] = L2_GRID,
) -> LinearModels:
    """Minimises mean squared error + l2 |kernel|^2 in closed form, for every penalty of the grid.

    Arguments as in fit_logistic.

    Raises:
        ConfigError: an unlabelled entry (a NaN target), which this head cannot leave out.
    """
    if np.isnan(targets).any():
        raise ConfigError("ridge needs every target, and some labels are unknown: ask another head")
    ready = _prepare(features, targets, weights)
    weight = ready.weights[:, :1]  # all columns alike
    bias = (weight * ready.targets).sum(0)  # [C]; features are centred
    moment = ready.rotated.T @ (weight * (ready.targets - bias))  # [D, C]
    grid = np.asarray(l2, np.float64)[:, None, None]
    kernel = ready.basis @ (moment / (ready.eigen[:, None] + grid))
    return LinearModels(
        ready.mean,
        ready.std,
        kernel,
        np.broadcast_to(bias, (len(l2), len(bias))),
        "identity",
    )
