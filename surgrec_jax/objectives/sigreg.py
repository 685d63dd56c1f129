"""SIGReg: how far embeddings are from an isotropic normal distribution (Balestriero, LeCun 2025).

By the Cramer-Wold theorem a distribution is N(0, I) exactly where every projection on a line is
N(0, 1). Each random projection is compared with it by the Epps-Pulley statistic (1983): the
distance of their characteristic functions under a normal weight.
"""

import jax
import jax.numpy as jnp
import numpy as np

# The characteristic functions are compared at this many points of [0, LIMIT].
KNOTS, LIMIT = 17, 3.0


def directions(key: jax.Array, width: int, count: int) -> jax.Array:
    """Random directions, uniform on the sphere: float32 [width, count], columns of length one."""
    x = jax.random.normal(key, (width, count))
    return x / jnp.linalg.norm(x, axis=0)


def sigreg(embeddings: jax.Array, lines: jax.Array) -> jax.Array:
    """SIGReg's statistic: how far the batch's projections are from a normal distribution.

    It is the mean over views and directions of the integral over t of
    |mean over the batch of exp(i t x) - exp(-t^2 / 2)|^2 exp(-t^2 / 2), x the projection.

    It is 0 for N(0, I) and does not grow with the batch: of B independent normal draws it is about
    1 / B. (LeVJEPA's statistic is B times this, so its weight means something else at every batch.)
    The integral runs from -3 to 3, by the trapezoidal rule.

    Args:
        embeddings: [B, V, K], the batch of every view. Under a mesh this is the global batch, and
            the means over it are one all-reduce of [V, R, KNOTS] twice.
        lines: [K, R] of `directions`.
    """
    t = np.linspace(0, LIMIT, KNOTS)
    step = LIMIT / (KNOTS - 1)
    normal = np.exp(-(t**2) / 2)
    # Both halves of the symmetric integrand.
    weight = 2 * step * np.where((t == 0) | (t == LIMIT), 0.5, 1.0) * normal

    @jax.checkpoint  # keeps the projections only, not their many angles
    def characteristic(x):
        angle = x[..., None] * jnp.float32(t)  # [B, V, R, KNOTS]
        return jnp.cos(angle).mean(0), jnp.sin(angle).mean(0)

    real, imaginary = characteristic(embeddings.astype(jnp.float32) @ lines)
    error = jnp.square(real - jnp.float32(normal)) + jnp.square(imaginary)
    return (error @ jnp.float32(weight)).mean()
