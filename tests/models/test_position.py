"""Position tables against loops written from the papers' formulas."""

import math

import numpy as np
import pytest

from surgrec_jax.models import position


def test_sincos_1d_is_the_transformers_table():
    table = position.sincos_1d(7, 10)
    for n in range(7):
        for i in range(5):
            angle = n / 10000 ** (2 * i / 10)
            assert table[n, 2 * i] == pytest.approx(math.sin(angle), abs=1e-7)
            assert table[n, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-7)


@pytest.mark.parametrize("dim", [12, 16, 384])
def test_sincos_3d_gives_each_axis_a_third(dim):
    grid = (2, 3, 4)
    table = position.sincos_3d(grid, dim)
    per_axis = math.ceil(dim / 6) * 2
    assert table.shape == (24, dim)
    for n in range(24):
        t, rest = divmod(n, 12)
        h, w = divmod(rest, 4)
        row = []
        for coordinate in (t, h, w):
            half = per_axis // 2
            angles = [coordinate / 10000 ** (i / half) for i in range(half)]
            row += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        np.testing.assert_allclose(table[n], row[:dim], atol=1e-6)


@pytest.mark.parametrize(("head_dim", "axis_dim"), [(64, 20), (32, 10), (80, 26), (88, 28)])
def test_rotated_dimensions_per_axis(head_dim, axis_dim):
    assert position.rope_axis_dim(head_dim) == axis_dim


@pytest.mark.parametrize("tiled", [False, True])
def test_rope_turns_pairs_by_coordinate(tiled):
    grid, head_dim = (2, 3, 5), 32
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 30, 2, head_dim)).astype(np.float32)
    cos, sin = position.rope_3d(grid, head_dim, tiled=tiled)
    turned = np.asarray(position.rotate(x, cos[None], sin[None]))
    frequency = [10000 ** (-i / 5) for i in range(5)]
    for n in range(30):
        coordinates = (n // 15, n // 5 % 3, n % 5)
        for axis, coordinate in enumerate(coordinates):
            for pair in range(5):
                a, b = 10 * axis + 2 * pair, 10 * axis + 2 * pair + 1
                # Tiled: elements 2i and 2i + 1 have the frequencies (2i) mod 5, (2i + 1) mod 5.
                f = (frequency[2 * pair % 5], frequency[(2 * pair + 1) % 5])
                if not tiled:
                    f = (frequency[pair], frequency[pair])
                u, v = x[0, n, :, a], x[0, n, :, b]
                first = u * np.cos(coordinate * f[0]) - v * np.sin(coordinate * f[0])
                second = v * np.cos(coordinate * f[1]) + u * np.sin(coordinate * f[1])
                np.testing.assert_allclose(turned[0, n, :, a], first, atol=1e-5)
                np.testing.assert_allclose(turned[0, n, :, b], second, atol=1e-5)
    np.testing.assert_array_equal(turned[..., 30:], x[..., 30:])


def test_rope_scores_depend_on_offsets_only():
    """The property that interleaved rotary embedding has and the tiled variant lacks."""
    grid, head_dim = (4, 4, 4), 32
    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((2, head_dim)).astype(np.float32)

    def score(a, b, tiled):
        cos, sin = position.rope_3d(grid, head_dim, tiled=tiled)
        ids = [np.ravel_multi_index(c, grid) for c in (a, b)]
        turned = [
            np.asarray(position.rotate(x[None, None, None], cos[None, [i]], sin[None, [i]]))
            for x, i in zip((q, k), ids, strict=True)
        ]
        return float(np.sum(turned[0] * turned[1]))

    here, there = ((0, 1, 2), (1, 3, 2)), ((2, 0, 1), (3, 2, 1))
    assert score(*here, tiled=False) == pytest.approx(score(*there, tiled=False), abs=1e-4)
    assert score(*here, tiled=True) != pytest.approx(score(*there, tiled=True), abs=1e-2)
