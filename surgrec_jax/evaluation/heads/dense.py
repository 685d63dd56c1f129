"""Trains the heads of MAP_HEADS on the frozen tokens of frames, a grid of rates at once.

Tokens are standardised first, answers are enlarged bilinearly to the size of the maps. For depths
the mean of the frame's tokens stands beside each: how far everything is can often be told from the
whole picture only (DINOv2's linear head takes its class token so: Oquab et al. 2024). A training
step looks at every STRIDE-th row and column of a map, from a corner drawn anew: the gradient is
that of all pixels on average, at a sixteenth of the cost.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from surgrec_jax.evaluation.features.extraction import TokenRows
from surgrec_jax.evaluation.heads import grid
from surgrec_jax.evaluation.heads.grid import Grid, Params
from surgrec_jax.evaluation.heads.map_heads import MAP_HEADS
from surgrec_jax.evaluation.tasks.labelled_maps import LabelledMaps
from surgrec_jax.records.maps import VOID
from surgrec_jax.safety.errors import DataError

STEPS = 500  # of a training, about
STRIDE = 4
_SAMPLE = 256  # frames that the tokens' mean and deviation are measured on
GRID = Grid(lr=(3e-2, 1e-2, 3e-3, 1e-3), weight_decay=(0.01, 0.1), batch_size=16)


def enlarging(small: int, large: int) -> np.ndarray:
    """The matrix [large, small] of bilinear enlargement with pixel centres on the half."""
    place = np.clip((np.arange(large) + 0.5) * small / large - 0.5, 0, small - 1)
    low = np.floor(place).astype(int)
    matrix = np.zeros((large, small), np.float32)
    matrix[np.arange(large), low] = 1 - (place - low)
    matrix[np.arange(large), np.minimum(low + 1, small - 1)] += place - low
    return matrix


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a compiled step depends on.

    Attributes:
        head: a name in MAP_HEADS.
        tokens: (h, w) of a frame's tokens, in raster order.
        side: M, of the maps.
        depth: whether the answer is a depth and not a class.
    """

    head: str
    tokens: tuple[int, int]
    side: int
    depth: bool

    def answers(self, params: Params, tokens, rows, columns) -> jax.Array:
        """Answers [b, r, c, C] at the map's rows [r, h'] and columns [c, w'] (`enlarging`)."""
        grid_of = tokens.reshape(len(tokens), *self.tokens, -1)
        small = MAP_HEADS[self.head].apply(params, grid_of, self.factor)
        return jnp.einsum("rh,bhwk,cw->brck", rows, small, columns)

    @property
    def factor(self) -> int:
        """How much larger than the grid of tokens the head's answers are."""
        return 2 if MAP_HEADS[self.head].enlarges and max(self.tokens) < self.side / STRIDE else 1

    def axes(self) -> tuple[np.ndarray, np.ndarray]:
        """The enlargement of rows and of columns, of answers as large as the head gives them."""
        return tuple(enlarging(self.factor * size, self.side) for size in self.tokens)

    def loss(self, params: Params, batch: tuple, key: jax.Array) -> jax.Array:
        """Cross-entropy of the known pixels, or the mean absolute error of scaled log depths."""
        tokens, truth, rows, columns = batch
        found = self.answers(params, tokens, rows, columns)
        if self.depth:
            known = ~jnp.isnan(truth)
            each = jnp.abs(found[..., 0] - jnp.where(known, truth, 0.0))
        else:
            known = truth != VOID
            ids = jnp.where(known, truth, 0).astype(jnp.int32)
            each = optax.softmax_cross_entropy_with_integer_labels(found, ids)
        return (each * known).sum() / jnp.maximum(known.sum(), 1)

    def predict(self, params: Params, batch: tuple) -> jax.Array:
        """Predicted maps [b, M, M]: ids uint8, or scaled log depths float32."""
        found = self.answers(params, *batch)
        return found[..., 0] if self.depth else found.argmax(-1).astype(jnp.uint8)


@functools.lru_cache(maxsize=16)
def _functions(shape: Shape) -> tuple[Callable, Callable]:
    """Loss and prediction, one object per shape, so that a step is compiled once."""
    return shape.loss, jax.jit(jax.vmap(shape.predict, (0, None)))


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The heads of a grid.

    Attributes:
        params: with a leading axis [G].
        mean, std: of the tokens, [D], or [2 D] of `read_tokens`.
        centre, scale: of log depths.
    """

    shape: Shape
    params: Params
    mean: np.ndarray
    std: np.ndarray
    centre: float = 0.0
    scale: float = 1.0

    @property
    def finite(self) -> np.ndarray:
        """Which heads [G] did not diverge."""
        leaves = jax.tree.leaves(self.params)
        return np.all(
            [np.isfinite(x).reshape(len(x), -1).all(1) for x in map(np.asarray, leaves)], 0
        )

    def chosen(self, point: int) -> "Fitted":
        """One head alone."""
        params = jax.tree.map(lambda x: x[point : point + 1], self.params)
        return dataclasses.replace(self, params=params)

    def maps(
        self, features: np.ndarray | TokenRows, rows: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Predicted maps, a few at a time: (rows [b], ids or millimetres [G, b, M, M])."""
        predict, axes = _functions(self.shape)[1], self.shape.axes()
        for start in range(0, len(rows), GRID.batch_size):
            some = rows[start : start + GRID.batch_size]
            padded = np.resize(some, min(GRID.batch_size, len(rows)))
            tokens = read_tokens(features, padded, self.shape.depth, self.mean, self.std)
            found = np.asarray(predict(self.params, (tokens, *axes)))[:, : len(some)]
            if self.shape.depth:
                found = np.exp(np.clip(found * self.scale + self.centre, -20, 20))
            yield some, found


def read_tokens(
    features: np.ndarray | TokenRows,
    rows: np.ndarray,
    whole: bool,
    mean: np.ndarray | float = 0.0,
    std: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Standardised tokens float32 [b, N, D] of chosen rows.

    Args:
        whole: [b, N, 2 D] are given, the mean of the frame's tokens beside each.

    Raises:
        DataError: they are not finite.
    """
    values = features.read(rows) if isinstance(features, TokenRows) else features[rows]
    if not np.isfinite(values).all():
        raise DataError("tokens contain NaN or infinity")
    if whole:
        frame = np.broadcast_to(values.mean(1, keepdims=True), values.shape)
        values = np.concatenate([values, frame], -1)
    return ((values - mean) / std).astype(np.float32)


def fit(
    head: str,
    labelled: LabelledMaps,
    split: str,
    features: np.ndarray | TokenRows,
    tokens: tuple[int, int],
    weights: np.ndarray,
    seed: int,
) -> Fitted:
    """Trains the heads of GRID on the maps of a split.

    Args:
        head: a name in MAP_HEADS.
        features: tokens [n, N, D] of its rows.
        tokens: (h, w), with h w = N.
        weights: [n], how often each frame counts.
    """
    side = labelled.maps[split].values.shape[1]
    shape = Shape(head, tokens, side, labelled.depth)
    used = np.flatnonzero(weights > 0)
    sample = used[np.unique(np.linspace(0, len(used) - 1, _SAMPLE).astype(int))]
    raw = read_tokens(features, sample, labelled.depth)
    flat = raw.reshape(-1, raw.shape[-1])
    mean, std = grid.standardiser(flat, np.ones(len(flat)))
    centre, scale = _log_scale(labelled, split, sample) if labelled.depth else (0.0, 1.0)
    classes = 1 if labelled.depth else len(labelled.classes)
    steps_an_epoch = -(-len(weights) // GRID.batch_size)
    settings = dataclasses.replace(GRID, epochs=max(1, -(-STEPS // steps_an_epoch)))
    rng, axes = np.random.default_rng([seed, 107]), shape.axes()

    def batches():
        for rows in grid.weighted_batches(weights, settings, seed):
            y, x = rng.integers(min(STRIDE, side), size=2)
            truth = labelled.truth(split, rows)[:, y::STRIDE, x::STRIDE]
            if labelled.depth:
                known = truth > 0
                logs = np.log(np.where(known, truth, 1.0), dtype=np.float32)
                truth = np.where(known, (logs - centre) / scale, np.nan).astype(np.float32)
            inputs = read_tokens(features, rows, labelled.depth, mean, std)
            yield inputs, truth, axes[0][y::STRIDE], axes[1][x::STRIDE]

    init = MAP_HEADS[head].init(jax.random.key(seed), raw.shape[-1], classes)
    points, steps = settings.points, settings.steps(len(weights))
    loss = _functions(shape)[0]
    params = grid.fit(init, loss, batches(), points=points, steps=steps, seed=seed)
    return Fitted(shape, params, mean, std, centre, scale)


def _log_scale(labelled: LabelledMaps, split: str, rows: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of the logarithms of known depths."""
    truth = labelled.truth(split, rows)
    logs = np.log(truth[truth > 0].astype(np.float64))
    return float(logs.mean()), float(logs.std()) or 1.0
