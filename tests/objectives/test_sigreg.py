"""SIGReg against the integral it stands for, and what it says of known distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from surgrec_jax.objectives.sigreg import directions, sigreg


def epps_pulley(x):
    """The integral for one line, by adaptive quadrature in float64."""
    x = np.asarray(x, np.float64)

    def integrand(t):
        distance = abs(np.exp(1j * t * x).mean() - np.exp(-(t**2) / 2)) ** 2
        return distance * np.exp(-(t**2) / 2)

    return integrate.quad(integrand, -3, 3, epsabs=1e-12, limit=200)[0]


def numpy_sigreg(z, lines):
    return np.mean(
        [epps_pulley(z[:, view] @ line) for view in range(z.shape[1]) for line in lines.T]
    )


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_the_value_is_the_integral(shift):
    rng = np.random.default_rng(0)
    z = (rng.standard_normal((50, 2, 4)) * 1.3 + shift).astype(np.float32)
    lines = np.asarray(directions(jax.random.key(0), 4, 6))
    np.testing.assert_allclose(np.linalg.norm(lines, axis=0), 1, atol=1e-6)
    assert float(sigreg(z, lines)) == pytest.approx(numpy_sigreg(z, lines), rel=2e-3)


def test_the_gradient_is_that_of_the_integral():
    rng = np.random.default_rng(1)
    z = rng.standard_normal((12, 1, 3)).astype(np.float32) + 0.3
    lines = np.asarray(directions(jax.random.key(1), 3, 4))
    slopes = np.asarray(jax.grad(lambda z: sigreg(z, lines))(z), np.float64)
    way = rng.standard_normal(z.shape)
    up, down = (numpy_sigreg(z.astype(np.float64) + step * way, lines) for step in (1e-4, -1e-4))
    assert (slopes * way).sum() == pytest.approx((up - down) / 2e-4, rel=5e-3)


def test_small_for_the_normal_distribution_large_for_collapse_and_growing_with_a_shift():
    rng = np.random.default_rng(2)
    lines = directions(jax.random.key(2), 8, 64)
    normal = rng.standard_normal((2000, 1, 8)).astype(np.float32)
    of_shift = [float(sigreg(normal + shift, lines)) for shift in (0, 0.2, 0.5, 1, 2)]
    assert of_shift[0] < 2e-3
    assert of_shift == sorted(of_shift) and of_shift[-1] > 100 * of_shift[0]
    collapsed = float(sigreg(jnp.zeros((2000, 1, 8)), lines))
    # All in one point: the integral of (1 - exp(-t^2 / 2))^2 exp(-t^2 / 2).
    assert collapsed == pytest.approx(epps_pulley(np.zeros(1)), rel=2e-3) and collapsed > 0.3
    one_direction = np.zeros((2000, 1, 8), np.float32)
    one_direction[..., 0] = normal[..., 0]
    assert 100 * of_shift[0] < float(sigreg(one_direction, lines)) < collapsed


def test_its_size_does_not_grow_with_the_batch():
    """So that its weight means the same at any batch, but for the 1 / B of a finite sample."""
    rng = np.random.default_rng(3)
    lines = directions(jax.random.key(3), 8, 128)

    def mean(shift, size, repeats):
        z = rng.standard_normal((repeats, size, 1, 8)) + shift
        return np.mean([float(sigreg(x, lines)) for x in z])

    assert mean(0.8, 64, 40) - 1.05 / 64 == pytest.approx(mean(0.8, 1024, 10), rel=0.05)
    assert mean(0.0, 64, 40) == pytest.approx(1.05 / 64, rel=0.1)
