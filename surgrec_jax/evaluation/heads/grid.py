"""Training every point of a learning rate x weight decay grid at once, on cached features.

The heads of a grid see the same batches and share one compiled step: their parameters lie stacked
along a leading axis, the gradient is mapped over it (`jax.vmap`), and the features of a batch are
read and moved once. The default grid is that of V-JEPA 2's probes (Assran et al. 2025, appendix;
configs/eval of its code): AdamW, cosine to 0, 20 epochs, batches of 256.
"""

import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from surgrec_jax.safety.errors import ConfigError, DataError

_log = logging.getLogger(__name__)
_IN_FLIGHT = 8  # steps that may wait for the device
_ADAM = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)

Params = Any  # a pure dict of arrays
Loss = Callable[[Params, Any, jax.Array], jax.Array]  # (params, batch, key) -> scalar


@dataclasses.dataclass(frozen=True)
class Grid:
    """The settings that heads are trained with.

    Attributes:
        lr, weight_decay: every pair is a head.
        epochs: passes over the training examples.
        batch_size: examples a step.
    """

    lr: tuple[float, ...] = (5e-3, 3e-3, 1e-3, 3e-4, 1e-4)
    weight_decay: tuple[float, ...] = (0.01, 0.1, 0.4, 0.8)
    epochs: int = 20
    batch_size: int = 256

    @property
    def points(self) -> np.ndarray:
        """float32 [G, 2]: (learning rate, weight decay), from the least to the most regularised."""
        pairs = itertools.product(sorted(self.lr, reverse=True), sorted(self.weight_decay))
        return np.array(list(pairs), np.float32)

    @property
    def names(self) -> tuple[str, ...]:
        """The points as results files name them."""
        return tuple(f"lr {lr:g}, weight decay {wd:g}" for lr, wd in self.points.tolist())

    def steps(self, examples: int) -> int:
        """Steps of a whole training; the same whatever the examples' weights."""
        return self.epochs * math.ceil(examples / self.batch_size)


def weighted_batches(weights: np.ndarray, grid: Grid, seed: int) -> Iterator[np.ndarray]:
    """Row numbers of every step, int64 [batch_size] each.

    Permutations of the examples, each as often as its weight says, one after another. Batches are
    always full, so that there is one compiled step.

    Args:
        weights: [n] whole numbers >= 0, how often each example counts.

    Raises:
        ValueError: weights that are no whole numbers, or all 0.
    """
    counts = np.asarray(weights).astype(np.int64)
    if (counts != weights).any() or counts.min() < 0 or not counts.any():
        raise ValueError("weights must be whole numbers, at least one of them positive")
    rows, rng = np.repeat(np.arange(len(counts)), counts), np.random.default_rng([seed, 103])
    left = np.empty(0, np.int64)
    for _ in range(grid.steps(len(counts))):
        while len(left) < grid.batch_size:
            left = np.concatenate([left, rng.permutation(rows)])
        yield left[: grid.batch_size]
        left = left[grid.batch_size :]


def fit(
    init: Params, loss: Loss, batches: Iterable[Any], *, points: np.ndarray, steps: int, seed: int
) -> Params:
    """Trains a head per point, all from the same initial parameters and on the same batches.

    Args:
        init: parameters of one head. Arrays called "kernel" decay.
        loss: of one head; compiled once per function, so give the same one for the same work.
        batches: a tree of arrays per step.
        points: float [G, 2], learning rate and weight decay of every head.
        steps: length of the schedule, half a cosine to 0.
        seed: of the keys that `loss` gets.

    Returns:
        Parameters with a leading axis [G, ...].
    """
    params = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x)[None], len(points), 0), init)
    state = params, _ADAM.init(params)
    points, key = jnp.asarray(points), jax.random.key(seed)
    for step, batch in enumerate(batches):
        # Plain arrays: the step is under way while the next batch is read.
        progress = np.float32(step / steps)
        state = _step(loss, state, batch, points, progress, jax.random.fold_in(key, step))
        if step % _IN_FLIGHT == 0:  # a reader that is faster would pile up batches without bound
            jax.block_until_ready(state)
    return state[0]


@functools.partial(jax.jit, static_argnums=0, donate_argnums=1)
def _step(loss, state, batch, points, progress, key):
    """One AdamW step (Loshchilov and Hutter 2019) of every head."""
    params, moments = state
    grads = jax.vmap(jax.grad(loss), (0, None, None))(params, batch, key)
    direction, moments = _ADAM.update(grads, moments)
    rate = points[:, 0] * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    def move(path, p, d):
        each = (-1,) + (1,) * (p.ndim - 1)
        decay = points[:, 1] if path[-1].key == "kernel" else jnp.zeros(len(points))
        return p - rate.reshape(each) * (d + decay.reshape(each) * p)

    return jax.tree_util.tree_map_with_path(move, params, direction), moments


@functools.partial(jax.jit, static_argnums=0)
def _apply(apply, params, batch):
    """Logits of every head and row, [G, b, ...], each computed by itself."""

    def rows_of(one):
        return jax.lax.map(lambda row: apply(one, row[None])[0], batch)

    return jax.lax.map(rows_of, params)


def predict(apply: Callable, params: Params, batches: Iterable[Any], multi_label: bool):
    """Probabilities of every head: float32 [G, M, C].

    A row's are the same to the last digit whatever rows and heads are beside it, so that a head
    that is kept alone answers as it did in its grid.

    Args:
        apply: (params of one head, batch) -> logits [b, C].
        params: of `fit`.
        batches: of all queries in order, of one shape each but the last.
        multi_label: sigmoids instead of a softmax.
    """
    link = sigmoid if multi_label else softmax
    return np.concatenate([link(np.asarray(_apply(apply, params, b))) for b in batches], 1)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [..., C] of one class each."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities [..., C] of labels that do not exclude each other."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def drop_diverged(names: tuple[str, ...], scores: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """The points of the grid whose scores are all finite; a diverged one is logged and left out.

    Raises:
        ValueError: all of them diverged.
    """
    whole = np.isfinite(scores).reshape(len(scores), -1).all(1)
    if not whole.any():
        raise ConfigError(f"every head of the grid diverged ({'; '.join(names)}): lower its rates")
    gone = [name for name, good in zip(names, whole, strict=True) if not good]
    if gone:
        _log.warning("heads that diverged and cannot be chosen: %s", "; ".join(gone))
    return tuple(n for n, good in zip(names, whole, strict=True) if good), scores[whole]


def classification_loss(logits: jax.Array, targets: jax.Array, multi_label: bool) -> jax.Array:
    """Cross-entropy of every example [b], of logits and targets [b, C].

    Args:
        targets: one-hot rows, or 0/1 per label with NaN = unlabelled, which counts for nothing (the
            mean is over known labels).
    """
    if not multi_label:
        return optax.softmax_cross_entropy(logits, targets)
    known = ~jnp.isnan(targets)
    each = optax.sigmoid_binary_cross_entropy(logits, jnp.where(known, targets, 0.0))
    return jnp.where(known, each, 0.0).sum(-1) / jnp.maximum(known.sum(-1), 1)


def standardiser(features: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and deviation [D] of training features; 1 for a constant feature.

    Raises:
        ValueError: NaN features.
    """
    bad = ~np.isfinite(features).all(1)
    if bad.any():
        raise DataError(
            f"{bad.sum()} of {len(features)} training examples have NaN or infinite features"
        )
    share = np.asarray(weights, np.float64) / np.sum(weights)
    mean = share @ features
    std = np.sqrt(share @ np.square(features - mean))
    return mean, np.where(std > 1e-6 * max(std.max(), 1e-30), std, 1.0)
