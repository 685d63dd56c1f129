"""Points to cluster: where they are read from, and the space in which they are compared."""

import dataclasses
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from surgrec_jax.data.sampling.permute import hash64, permute
from surgrec_jax.safety.errors import ConfigError, DataError

SPACES = ("plain", "unit", "whiten")
_SAMPLE_STREAM = 11
_SAMPLE = 65_536  # rows that the mean and the principal components are estimated on


class Rows(Protocol):
    """N points of D numbers that need not fit in memory."""

    def __len__(self) -> int: ...

    @property
    def width(self) -> int:
        """D."""

    @property
    def where(self) -> str:
        """Words for error messages."""

    def block(self, start: int, stop: int) -> np.ndarray:
        """Rows start to stop - 1, [n, D]."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Any rows, [n, D]."""


@dataclasses.dataclass(frozen=True)
class ArrayRows:
    """Points in memory, or in one memory-mapped array: values [N, D]."""

    values: np.ndarray
    where: str = "the array"

    def __len__(self) -> int:
        return len(self.values)

    @property
    def width(self) -> int:
        return self.values.shape[1]

    def block(self, start: int, stop: int) -> np.ndarray:
        return self.values[start:stop]

    def take(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.values[rows])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Space:
    """x -> (x - mean) @ matrix, scaled to length one where `unit`; identity where nothing is set.

    Attributes:
      mean: float32 [D], or None. matrix: float32 [D, d], or None.
    """

    mean: jax.Array | None = None
    matrix: jax.Array | None = None
    unit: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] of any float dtype -> float32 [..., d]."""
        x = x.astype(jnp.float32)
        if self.mean is not None:
            x = x - self.mean
        if self.matrix is not None:
            x = jnp.dot(x, self.matrix, precision=jax.lax.Precision.HIGHEST)
        if self.unit:
            x = x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24))
        return x


PLAIN = Space()


def sample_rows(count: int, wanted: int, seed: int) -> np.ndarray:
    """min(wanted, count) different row numbers, rising: the start of a permutation of them all."""
    index = np.arange(min(wanted, count))
    chosen = permute(index, np.int64(count), hash64(seed, _SAMPLE_STREAM))
    return np.sort(chosen)


def fit_space(rows: Rows, kind: str, components: int, seed: int) -> Space:
    """The space of a corpus, from at most 65,536 of its rows.

    Averaged tokens share one large direction, and a few directions carry most of their variance;
    distances then see little else. "unit" takes the mean out and compares directions; "whiten"
    gives each principal component the same variance before that; "plain" leaves rows as they are.

    Args:
      components: principal components kept (0: all). For "plain" and "unit" they only reduce the
        width, for "whiten" those beyond the rank of the sample are left out.

    Raises:
      ConfigError: an unknown kind. DataError: a row that is not finite.
    """
    if kind not in SPACES:
        raise ConfigError(f"cluster.space={kind!r}: choose from {', '.join(SPACES)}")
    reduce = 0 < components < rows.width
    if kind == "plain" and not reduce:
        return PLAIN
    chosen = sample_rows(len(rows), _SAMPLE, seed)
    sample = rows.take(chosen).astype(np.float64)
    bad = ~np.isfinite(sample).all(1)
    if bad.any():
        raise DataError(f"{rows.where}: row {chosen[np.argmax(bad)]} is not finite")
    mean = sample.mean(0)
    if kind == "unit" and not reduce:
        return Space(mean=jnp.asarray(mean, jnp.float32), unit=True)
    variance, vectors = np.linalg.eigh((sample - mean).T @ (sample - mean) / len(sample))
    variance, vectors = variance[::-1], vectors[:, ::-1]
    # The sign of an eigenvector is arbitrary; fixed, so that a library's whim changes nothing.
    vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(0), np.arange(len(variance))])
    keep = np.flatnonzero(variance > 1e-6 * variance[0])
    keep = keep[:components] if components else keep
    matrix = vectors[:, keep]
    if kind == "whiten":
        matrix = matrix / np.sqrt(variance[keep])
    return Space(
        mean=jnp.asarray(mean, jnp.float32) if kind != "plain" else None,
        matrix=jnp.asarray(matrix, jnp.float32),
        unit=kind != "plain",
    )
