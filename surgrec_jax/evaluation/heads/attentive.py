"""Heads trained by AdamW over a grid: attentive probes on tokens, linear layers on features.

The attentive probe is V-JEPA's (`models.heads.AttentiveClassifier`): 0 to 3 self-attention blocks,
then one learned query that attends to all tokens.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
from flax import nnx

from surgrec_jax.evaluation.features.extraction import TokenRows
from surgrec_jax.evaluation.heads import grid
from surgrec_jax.evaluation.heads.grid import Grid, Params
from surgrec_jax.models.heads import HeadConfig, make_head
from surgrec_jax.models.presets import Compute, ViTConfig
from surgrec_jax.safety.errors import DataError

# V-JEPA probes with 16 heads; a width that does not divide takes the next number that does.
HEAD_COUNTS = (16, 12, 8, 6, 4, 3, 2, 1)
GRID = Grid()
ONE_DECAY = Grid(weight_decay=(0.1,))  # every rate of the grid, for a quarter of its time


class Module:
    """A head of `models.heads` as pure functions of its parameters; make it by `module`."""

    def __init__(self, head: HeadConfig, width: int, multi_label: bool):
        sizes = ViTConfig(width, depth=1, heads=1, mlp_dim=width, init="trunc_normal")
        self._build = lambda key: make_head(head, sizes, Compute(), nnx.Rngs(key))
        self._graph = nnx.graphdef(nnx.eval_shape(lambda: self._build(0)))
        self._multi_label = multi_label

    def init(self, seed: int) -> Params:
        make = jax.jit(lambda: nnx.to_pure_dict(nnx.state(self._build(seed), nnx.Param)))
        return make()

    def apply(self, params: Params, features: jax.Array) -> jax.Array:
        return nnx.merge(self._graph, params)(features)

    def loss(self, params: Params, batch: tuple, key: jax.Array) -> jax.Array:
        features, targets = batch
        logits = self.apply(params, features)
        return grid.classification_loss(logits, targets, self._multi_label).mean()


# One object per shape: a step is compiled once.
module = functools.lru_cache(maxsize=16)(Module)


def attentive_config(width: int, classes: int, depth: int) -> HeadConfig:
    """V-JEPA's attentive probe for features of a width."""
    heads = next(h for h in HEAD_COUNTS if width % h == 0)
    return HeadConfig("attentive", classes, depth, heads, mlp_dim=4 * width)


def _fit(head, read, train, targets, weights, seed, settings: Grid) -> Params:
    """The heads of a grid, stacked."""
    targets = np.asarray(targets, np.float32)
    batches = (
        (read(train.features, rows), targets[rows])
        for rows in grid.weighted_batches(weights, settings, seed)
    )
    steps = settings.steps(len(targets))
    return grid.fit(
        head.init(seed), head.loss, batches, points=settings.points, steps=steps, seed=seed
    )


def _scores(head, read, params, queries, multi_label, settings: Grid):
    """The names of the grid's points, and their probabilities [G, M, C]."""
    size = min(settings.batch_size, len(queries))
    stretches = (np.arange(s, min(s + size, len(queries))) for s in range(0, len(queries), size))
    chunks = (read(queries.features, rows) for rows in stretches)
    scores = grid.predict(head.apply, params, chunks, multi_label)
    return grid.drop_diverged(settings.names, scores)


def read_tokens(tokens: np.ndarray | TokenRows, rows: np.ndarray) -> np.ndarray:
    """Tokens [b, N, D] of some rows, as float32.

    Raises:
        DataError: NaN or infinity.
    """
    values = tokens.read(rows) if isinstance(tokens, TokenRows) else tokens[rows]
    if not np.isfinite(values).all():
        raise DataError("tokens contain NaN or infinity")
    return np.asarray(values, np.float32)


@dataclasses.dataclass(frozen=True)
class Attentive:
    """A `heads.Head.train` function: attentive probes with `depth` self-attention blocks."""

    depth: int
    settings: Grid = GRID

    def module(self, width: int, classes: int, multi_label: bool) -> Module:
        """The probe of tokens of a width."""
        return module(attentive_config(width, classes, self.depth), width, multi_label)

    def fit(self, train, targets, weights, multi_label, seed):
        """The probes of the grid, stacked, after a mean and a deviation that they do not have."""
        if len(train.features.shape) != 3:
            raise ValueError(
                f"an attentive head takes tokens [n, N, D], not {train.features.shape}"
            )
        head = self.module(train.features.shape[-1], targets.shape[1], multi_label)
        params = _fit(head, read_tokens, train, targets, weights, seed, self.settings)
        return np.zeros(0), np.zeros(0), params

    def __call__(self, train, targets, weights, queries, multi_label, seed):
        *_, params = self.fit(train, targets, weights, multi_label, seed)
        head = self.module(train.features.shape[-1], targets.shape[1], multi_label)
        return _scores(head, read_tokens, params, queries, multi_label, self.settings)


def linear_adamw(settings: Grid = GRID) -> Callable:
    """A `heads.Head.train` function: linear layers on standardised features, by AdamW."""

    def train(train, targets, weights, queries, multi_label, seed):
        mean, std = grid.standardiser(train.features, weights)

        def read(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
            return ((features[rows] - mean) / std).astype(np.float32)

        if not np.isfinite(queries.features).all():
            raise DataError("features contain NaN or infinity")
        shaped = module(HeadConfig("linear", targets.shape[1]), len(mean), multi_label)
        params = _fit(shaped, read, train, targets, weights, seed, settings)
        return _scores(shaped, read, params, queries, multi_label, settings)

    return train
