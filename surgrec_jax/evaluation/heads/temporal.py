"""A causal temporal head over the features of a video's clips, for phases and gestures.

MS-TCN (Farha and Gall 2019): stages of dilated residual convolutions, each stage refining the class
probabilities of the one before, trained by cross-entropy plus a truncated mean squared error
between log-probabilities of neighbouring clips (their equations 6 to 9: weight 0.15, threshold 4).
Here the convolutions are causal (padded on the left only, as in TeCNO, Czempiel et al. 2020): the
scores of a clip depend on it and on the clips before it, so they could have been given online.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.evaluation.heads import grid
from surgrec_jax.evaluation.heads.grid import Grid, Params
from surgrec_jax.safety.errors import DataError

SMOOTH_WEIGHT, SMOOTH_LIMIT = 0.15, 4.0  # lambda and tau of MS-TCN, section 3.3
# A batch is of videos.
GRID = Grid(lr=(3e-3, 1e-3, 3e-4), weight_decay=(0.01, 0.1), epochs=40, batch_size=8)
LENGTH_STEP = 32  # sequences are padded to a multiple: few compiled shapes


@dataclasses.dataclass(frozen=True)
class TCN:
    """Sizes: stages, layers per stage (dilation doubles per layer), channels, kernel 3, dropout."""

    classes: int
    multi_label: bool = False
    stages: int = 2
    layers: int = 7
    channels: int = 32
    dropout: float = 0.5

    def init(self, width: int, seed: int) -> Params:
        """Parameters: LeCun normal kernels, zero biases."""
        return _init(self, width, seed)

    def apply(self, params: Params, features: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Logits of all stages [stages, V, L, C] of sequences [V, L, D]; a key turns dropout on."""
        logits, x = [], features
        for s in range(self.stages):
            stage_key = None if key is None else jax.random.fold_in(key, s)
            logits.append(self._stage(params[f"stage{s}"], x, stage_key))
            x = jax.nn.sigmoid(logits[-1]) if self.multi_label else jax.nn.softmax(logits[-1])
        return jnp.stack(logits)

    def _stage(self, params: Params, x: jax.Array, key: jax.Array | None) -> jax.Array:
        x = _dense(params["enter"], x)
        for i in range(self.layers):
            layer = params[f"layer{i}"]
            seen = jnp.concatenate([_earlier(x, j * 2**i) for j in range(3)], -1)  # [V, L, 3 F]
            y = _dense(layer["mix"], jax.nn.relu(_dense(layer["conv"], seen)))
            if key is not None and self.dropout:
                mask = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - self.dropout, y.shape)
                y = jnp.where(mask, y / (1 - self.dropout), 0)
            x = x + y
        return _dense(params["leave"], x)

    @property
    def reach(self) -> int:
        """How many clips a score depends on: its own and those before it."""
        return 1 + self.stages * sum(2 * 2**i for i in range(self.layers))

    def last(self, params: Params, features: jax.Array) -> jax.Array:
        """Logits of the last stage [V, L, C]."""
        return self.apply(params, features)[-1]

    def loss(self, params: Params, batch: tuple, key: jax.Array) -> jax.Array:
        """Sum over stages of cross-entropy and smoothing.

        batch: features [V, L, D], targets [V, L, C], weights [V, L] (0 = padding).
        """
        features, targets, weights = batch
        total = 0.0
        for logits in self.apply(params, features, key):
            each = grid.classification_loss(logits, targets, self.multi_label)
            total += (weights * each).sum() / jnp.maximum(weights.sum(), 1e-6)
            total += SMOOTH_WEIGHT * self._roughness(logits, weights > 0)
        return total

    def _roughness(self, logits: jax.Array, real: jax.Array) -> jax.Array:
        """The mean over pairs of neighbours and classes of the truncated squared difference.

        Gradients flow into the later clip only (MS-TCN, section 3.3).
        """
        logs = jax.nn.log_sigmoid(logits) if self.multi_label else jax.nn.log_softmax(logits)
        change = logs[:, 1:] - jax.lax.stop_gradient(logs[:, :-1])
        squared = jnp.minimum(jnp.square(change), SMOOTH_LIMIT**2)
        pairs = (real[:, 1:] & real[:, :-1])[..., None]
        return jnp.where(pairs, squared, 0).sum() / jnp.maximum(pairs.sum() * self.classes, 1)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _init(tcn: TCN, width: int, seed: int) -> Params:
    f, normal = tcn.channels, jax.nn.initializers.lecun_normal()
    keys = iter(jax.random.split(jax.random.key(seed), tcn.stages * (2 * tcn.layers + 2)))

    def make(*shape):
        return {"kernel": normal(next(keys), shape), "bias": jnp.zeros(shape[-1])}

    return {
        f"stage{s}": {
            "enter": make(tcn.classes if s else width, f),
            **{f"layer{i}": {"conv": make(3 * f, f), "mix": make(f, f)} for i in range(tcn.layers)},
            "leave": make(f, tcn.classes),
        }
        for s in range(tcn.stages)
    }


def _dense(params: Params, x: jax.Array) -> jax.Array:
    return x @ params["kernel"] + params["bias"]


def _earlier(x: jax.Array, by: int) -> jax.Array:
    """The sequence x [V, L, F] as it was `by` clips before, 0 before the first."""
    length = x.shape[1]
    return jnp.pad(x, ((0, 0), (min(by, length), 0), (0, 0)))[:, :length]


def sequences(video_id: np.ndarray, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of every video in the order of time.

    Args:
        video_id: text [n].
        time: float [n] (equal times: in the order of the rows).

    Returns:
        rows: int64 [V, L], 0 where padded, and real: bool [V, L].
    """
    _, group = np.unique(video_id, return_inverse=True)
    order = np.lexsort((time, group))
    counts = np.bincount(group)
    length = -(-counts.max() // LENGTH_STEP) * LENGTH_STEP
    real = np.arange(length) < counts[:, None]
    rows = np.zeros(real.shape, np.int64)
    rows[real] = order
    return rows, real


# One object per shape: a step is compiled once, not for every seed and encoder.
_tcn = functools.lru_cache(maxsize=16)(TCN)


@dataclasses.dataclass(frozen=True)
class Temporal:
    """A `heads.Head.train` function: causal MS-TCNs over the labelled clips of every video.

    Attributes:
        sizes: (name, value) of fields of `TCN`.
    """

    settings: Grid = GRID
    sizes: tuple[tuple[str, int], ...] = ()

    def tcn(self, classes: int, multi_label: bool) -> TCN:
        """The network for some classes."""
        return _tcn(classes, multi_label, **dict(self.sizes))

    def fit(self, train, targets, weights, multi_label, seed):
        """Mean and deviation [D] of training features, and the networks of the grid, stacked."""
        mean, std = grid.standardiser(train.features, weights)
        rows, real = sequences(train.video_id, train.time)
        tcn, plan = self.tcn(targets.shape[1], multi_label), self._plan(rows)
        known = np.asarray(targets, np.float32)
        each = np.where(real, np.asarray(weights, np.float32)[rows], 0)  # [V, L]
        # A video none of whose clips counts is not drawn.
        drawn = (each.sum(1) > 0).astype(np.float64)
        batches = (
            (standard(train.features[rows[v]], mean, std), known[rows[v]], each[v])
            for v in grid.weighted_batches(drawn, plan, seed)
        )
        params = grid.fit(
            tcn.init(train.features.shape[1], seed),
            tcn.loss,
            batches,
            points=plan.points,
            steps=plan.steps(len(rows)),
            seed=seed,
        )
        return mean, std, params

    def _plan(self, rows: np.ndarray) -> Grid:
        """The settings for sequences `rows`, of which there may be fewer than a batch."""
        size = min(self.settings.batch_size, len(rows))
        return dataclasses.replace(self.settings, batch_size=size)

    def __call__(self, train, targets, weights, queries, multi_label, seed):
        if not np.isfinite(queries.features).all():
            raise DataError("features contain NaN or infinity")
        mean, std, params = self.fit(train, targets, weights, multi_label, seed)
        tcn, size = self.tcn(targets.shape[1], multi_label), self.settings.batch_size
        order, there = sequences(queries.video_id, queries.time)
        chunks = (
            standard(queries.features[order[v : v + size]], mean, std)
            for v in range(0, len(order), size)
        )
        predicted = grid.predict(tcn.last, params, chunks, multi_label)  # [G, V, L, C]
        scores = np.empty((len(predicted), len(queries), predicted.shape[-1]), predicted.dtype)
        scores[:, order[there]] = predicted[:, there]
        return grid.drop_diverged(self.settings.names, scores)


def standard(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Standardised features [..., D], float32."""
    return ((features - mean) / std).astype(np.float32)


class Follower:
    """The probabilities of a network along one video whose clips come one after another.

    As many features are kept as a score depends on. Where a video has no more clips than that its
    scores are those of the whole sequence, and later ones too, since nothing older reaches them.

    Args:
        params: of one network, stacked alone [1, ...].
    """

    def __init__(self, tcn: TCN, mean: np.ndarray, std: np.ndarray, params: Params):
        self._tcn, self._mean, self._std, self._params = tcn, mean, std, params
        self._length = -(-tcn.reach // LENGTH_STEP) * LENGTH_STEP
        self._seen: list[np.ndarray] = []

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Probabilities [b, C] of the next clips' features [b, D].

        Raises:
            DataError: features with NaN or infinity.
        """
        if not np.isfinite(features).all():
            raise DataError("features contain NaN or infinity")
        found = []
        for row in standard(features, self._mean, self._std):
            self._seen = [*self._seen, row][-self._length :]
            window = np.zeros((1, self._length, len(row)), np.float32)
            window[0, : len(self._seen)] = self._seen
            (scores,) = grid.predict(self._tcn.last, self._params, [window], self._tcn.multi_label)
            found.append(scores[0, len(self._seen) - 1])
        return np.array(found).reshape(len(features), self._tcn.classes)
