"""The tree of clusters: levels, paths, resampling; and the weights of its leaves."""

import dataclasses

import jax
import numpy as np
import pytest

from surgrec_jax import sharding
from surgrec_jax.curation import balance, cluster
from surgrec_jax.curation.kmeans import Lloyd, kmeans
from surgrec_jax.curation.rows import ArrayRows


@pytest.fixture(scope="module")
def lloyd():
    return Lloyd(sharding.make_mesh(devices=jax.devices()[:1]), tile=64, block_tiles=8)


@pytest.fixture(scope="module")
def rows():
    """Ten times as many points on the left half of a square as on the right."""
    rng = np.random.default_rng(0)
    left, right = rng.random((1000, 2)) * [0.5, 1], rng.random((100, 2)) * [0.5, 1] + [0.5, 0]
    return ArrayRows(np.concatenate([left, right]).astype(np.float32), "square.npy")


def test_resampling_spreads_centroids_evenly(lloyd, rows):
    """k-means puts most centroids where most points are; resampled, each half gets its half."""
    plain = kmeans(rows, 16, lloyd, seed=0)
    settings = cluster.Settings((16,), resample_rounds=4, space="plain")
    again = cluster.resampled(rows, 16, settings, lloyd, cluster.PLAIN, seed=0)
    right = [(fit.centroids[:, 0] > 0.5).sum() for fit in (plain, again)]
    assert right[0] <= 3 and right[1] >= 5
    square = ((rows.values[:, None] - again.centroids) ** 2).sum(-1)
    np.testing.assert_array_equal(again.leaf, square.argmin(1))


def test_nearest_points_of_each_cluster():
    class Fit:
        leaf = np.array([0, 1, 0, 1, 0, 1])
        distance = np.array([0.3, 0.1, 0.2, 0.1, 0.1, 0.1])
        counts = np.array([3, 3])

    assert cluster.nearest_rows(Fit, 2, 2, 0).tolist() == [1, 2, 3, 4]  # ties go to the lower row
    drawn = [cluster.nearest_rows(Fit, 2, 1, seed).tolist() for seed in range(40)]
    assert {row for two in drawn for row in two} == {1, 2, 3, 4}
    assert all(len(two) == 2 and sum(Fit.leaf[two]) == 1 for two in drawn)


def test_the_tree_is_sorted_and_kept(lloyd, rows, tmp_path):
    settings = cluster.Settings((24, 6, 2), resample_rounds=1, space="plain")
    tree = cluster.cluster(tmp_path, rows, {"a": 1}, settings, lloyd, write=True)
    sizes = np.bincount(tree.leaf)
    assert tree.paths.shape == (24, 3) and (sizes > 0).all()
    assert tree.paths[:, 2].tolist() == list(range(24))
    assert (np.diff(tree.paths[:, 0]) >= 0).all() and set(tree.paths[:, 0]) == {0, 1}
    middle_of = dict(zip(tree.paths[:, 1], tree.paths[:, 0], strict=True))
    assert all(middle_of[m] == t for t, m, _ in tree.paths)  # a cluster has one parent
    top = np.bincount(tree.paths[:, 0], sizes)
    assert top[0] >= top[1]
    for m in range(6):
        mine = sizes[tree.paths[:, 1] == m]
        assert (np.diff(mine) <= 0).all()
    lines = []
    kept = cluster.cluster(
        tmp_path, rows, {"a": 1}, settings, dataclasses.replace(lloyd, say=lines.append), True
    )
    np.testing.assert_array_equal(kept.leaf, tree.leaf)
    assert len(lines) == 1 and "kept" in lines[0]


PATHS = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [1, 2, 4]])
SIZES = np.array([60, 20, 10, 6, 4])


def test_weights_go_down_the_tree():
    equal = balance.tree_weights(PATHS, SIZES, (0, 0, 0))
    np.testing.assert_allclose(equal, [1 / 8, 1 / 8, 1 / 4, 1 / 4, 1 / 4])
    kept = balance.tree_weights(PATHS, SIZES, (1, 1, 1))
    np.testing.assert_allclose(kept, SIZES / 100)
    root = balance.tree_weights(PATHS, SIZES, (0.5, 0, 1))
    top = 90**0.5 / (90**0.5 + 10**0.5)
    np.testing.assert_allclose(
        root, [top / 2 * 0.75, top / 2 * 0.25, top / 2, (1 - top) * 0.6, (1 - top) * 0.4]
    )
    given = balance.tree_weights(PATHS, SIZES, (0, 0, 0), top=[3, 1])
    np.testing.assert_allclose(given, [3 / 16, 3 / 16, 3 / 8, 1 / 8, 1 / 8])
    with pytest.raises(ValueError, match="2 temperatures for 3 levels"):
        balance.tree_weights(PATHS, SIZES, (0, 0))


def test_repeats_are_capped_and_the_rest_is_dealt_out():
    capped = balance.cap_repeats(np.full(5, 0.2), SIZES, draws=200, max_repeats=4)
    np.testing.assert_allclose(capped, [0.3, 0.3, 40 / 200, 24 / 200, 16 / 200])
    assert (capped * 200 / SIZES <= 4 + 1e-9).all() and capped.sum() == pytest.approx(1)
    cascade = balance.cap_repeats(np.full(5, 0.2), SIZES, draws=200, max_repeats=2.2)
    assert (cascade * 200 / SIZES <= 2.2 + 1e-9).all() and cascade.sum() == pytest.approx(1)
    with pytest.raises(ValueError, match=r"in 1000 planned draws .* drawn 10.0 times at least"):
        balance.cap_repeats(np.full(5, 0.2), SIZES, draws=1000, max_repeats=4)


def test_leaves_of_groups_and_clusters():
    group, leaf = np.array([0, 1, 0, 1, 1, 0]), np.array([0, 0, 1, 1, 1, 1])
    paths = np.array([[0, 0], [0, 1]])
    both = balance.make_leaves(6, ("domain", group), (leaf, paths))
    assert both.levels == ("domain", "1 clusters", "2 clusters")
    assert both.paths.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert both.leaf_of.tolist() == [0, 2, 1, 3, 3, 1]
    alone = balance.make_leaves(6, ("domain", group), None, counts=np.array([1, 1, 0, 2, 1, 1]))
    assert alone.leaf_of.tolist() == [0, 1, -1, 1, 1, 0] and alone.paths.tolist() == [[0], [1]]
    assert balance.make_leaves(3, None, None).leaf_of.tolist() == [0, 0, 0]


def test_entropy():
    assert balance.entropy([0.25] * 4) == pytest.approx((2, 4))
    assert balance.entropy([1, 0]) == (0, 1)
    assert balance.entropy([0.9, 0.07, 0.02, 0.01])[1] == pytest.approx(1.4997, abs=1e-4)
