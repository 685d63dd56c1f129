"""k-means against NumPy, its exactness over blocks and devices, empty clusters, bad points."""

import dataclasses

import jax
import numpy as np
import pytest

from surgrec_jax import sharding
from surgrec_jax.curation import cluster
from surgrec_jax.curation.kmeans import Lloyd, kmeans
from surgrec_jax.curation.passes import run_pass
from surgrec_jax.curation.rows import PLAIN, ArrayRows, fit_space
from surgrec_jax.safety.errors import DataError

TILE = 64


@pytest.fixture(scope="module")
def one():
    mesh = sharding.make_mesh(devices=jax.devices()[:1])
    return Lloyd(mesh, tile=TILE, block_tiles=4)


@pytest.fixture(scope="module")
def eight():
    return Lloyd(sharding.make_mesh(fsdp=2), tile=TILE, block_tiles=2)


def blobs(sizes=(300, 150, 60, 30), width=16, seed=0):
    rng = np.random.default_rng(seed)
    centres = 6 * rng.standard_normal((len(sizes), width))
    truth = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = centres[truth] + rng.standard_normal((len(truth), width))
    return ArrayRows(points.astype(np.float16), "blobs.npy"), truth


def test_a_pass_against_numpy(one):
    rows, _ = blobs()
    points = rows.values.astype(np.float64)
    centroids = points[[3, 77, 400, 510, 20]].astype(np.float32)
    found = run_pass(rows, PLAIN, centroids, one.mesh, scale=32.0, seed=0, tile=TILE, block_tiles=4)
    square = ((points[:, None] - centroids) ** 2).sum(-1)
    leaf = square.argmin(1)
    np.testing.assert_array_equal(found.leaf, leaf)
    np.testing.assert_allclose(found.distance, square.min(1), atol=2e-3)
    assert found.inertia == pytest.approx(square.min(1).sum(), rel=1e-5)
    np.testing.assert_array_equal(found.counts, np.bincount(leaf, minlength=5))
    sums = np.stack([points[leaf == j].sum(0) for j in range(5)])
    np.testing.assert_allclose(found.sums, sums, atol=300 * 32 / 2**16)
    assert len(found.seeds) == len(np.unique(found.seeds // TILE)) == -(-len(points) // TILE)


def test_seeds_of_empty_clusters_are_drawn_by_squared_distance(one):
    points = np.zeros((64, 1), np.float32)
    points[:3, 0] = 1, 2, 4  # 1, 4 and 16 twenty-firsts
    rows, centroid = ArrayRows(points), np.zeros((1, 1), np.float32)
    drawn = [
        run_pass(rows, PLAIN, centroid, one.mesh, scale=4.0, seed=s, tile=TILE).seeds[0]
        for s in range(100)
    ]
    share = np.bincount(drawn, minlength=64) / 100
    assert share[3:].sum() == 0 and abs(share[2] - 16 / 21) < 0.12 and abs(share[1] - 4 / 21) < 0.12


def test_the_same_bits_whatever_blocks_and_devices(one, eight):
    rows, _ = blobs(sizes=(700, 300, 150, 100))
    space = fit_space(rows, "whiten", 12, 0)
    one, eight = (dataclasses.replace(lloyd, iterations=4) for lloyd in (one, eight))
    kept, lines = [], []
    for lloyd in (one, dataclasses.replace(one, block_tiles=9), eight):
        lines.append([])
        lloyd = dataclasses.replace(lloyd, say=lines[-1].append)
        kept.append(kmeans(rows, 12, lloyd, space=space, seed=5))
    assert lines[0] == lines[1] == lines[2]  # of every pass
    for other in kept[1:]:
        np.testing.assert_array_equal(kept[0].centroids, other.centroids)
        np.testing.assert_array_equal(kept[0].leaf, other.leaf)
        assert kept[0].inertia == other.inertia


def test_blobs_are_found_and_the_inertia_falls(one):
    rows, truth = blobs()
    lines = []
    fit = kmeans(rows, 4, dataclasses.replace(one, say=lines.append), seed=1)
    table = np.zeros((4, 4), int)
    np.add.at(table, (fit.leaf, truth), 1)
    assert (table.max(1) == table.sum(1)).all() and sorted(fit.counts) == [30, 60, 150, 300]
    seen = [float(line.split("inertia ")[1].split(",")[0]) for line in lines]
    assert seen == sorted(seen, reverse=True) and f"pass {len(lines)}:" in lines[-1]


def test_empty_clusters_are_seeded_again_and_hopeless_ones_stay_empty(one, monkeypatch):
    rows, _ = blobs()
    far = np.full((4, 16), 30.0, np.float32)
    far[0] = 0
    monkeypatch.setattr("surgrec_jax.curation.kmeans.seed_centroids", lambda *a: far)
    lines = []
    fit = kmeans(rows, 4, dataclasses.replace(one, say=lines.append), seed=1)
    assert "pass 1" in lines[0] and not lines[0].endswith(" 0 empty") and (fit.counts > 0).all()
    monkeypatch.undo()
    twins = ArrayRows(np.repeat(np.eye(3, 8, dtype=np.float32), 5, 0))
    fit = kmeans(twins, 7, one)
    assert (fit.counts > 0).sum() == 3 and fit.inertia == pytest.approx(0, abs=1e-5)
    settings = cluster.Settings(levels=(7,), space="plain", resample_rounds=0)
    tree = cluster.hierarchy(twins, settings, one)
    assert np.bincount(tree.leaf).tolist() == [5, 5, 5]


def test_many_clusters_are_seeded_in_rounds(one):
    rng = np.random.default_rng(0)
    centres = 20 * rng.standard_normal((300, 8))
    rows = ArrayRows((centres.repeat(4, 0) + rng.standard_normal((1200, 8))).astype(np.float32))
    fit = kmeans(rows, 300, one, seed=0)
    assert fit.inertia < 0.05 * ((rows.values - rows.values.mean(0)) ** 2).sum()


def test_unit_and_whitened_spaces():
    rng = np.random.default_rng(0)
    points = (rng.standard_normal((500, 6)) * [9, 3, 1, 1, 1, 0] + 100).astype(np.float32)
    rows = ArrayRows(points)
    unit = np.asarray(fit_space(rows, "unit", 0, 0)(points))
    centred = points - points.mean(0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(unit, expected, atol=1e-4)
    white = np.asarray(fit_space(rows, "whiten", 0, 0)(points))
    assert white.shape == (500, 5)  # the constant direction is left out
    covariance = np.cov(white.T)
    assert np.ptp(np.diag(covariance)) < 0.03 and np.abs(np.triu(covariance, 1)).max() < 0.03


def test_bad_points_and_numbers_are_named(one):
    rows, _ = blobs(sizes=(20, 10))
    with pytest.raises(DataError, match=r"blobs.npy has 30 points, fewer than the 31 clusters"):
        kmeans(rows, 31, one)
    broken = rows.values.copy()
    broken[17, 3] = np.nan
    with pytest.raises(ValueError, match=r"x.npy: row 17 is not finite"):
        kmeans(ArrayRows(broken, "x.npy"), 4, one)
    with pytest.raises(DataError, match=r"x.npy: row 17 is not finite"):
        fit_space(ArrayRows(broken, "x.npy"), "unit", 0, 0)
    with pytest.raises(ValueError, match="choose from plain, unit, whiten"):
        fit_space(rows, "cosine", 0, 0)
    with pytest.raises(ValueError, match="must be at most 32768 rows"):
        run_pass(rows, PLAIN, np.zeros((1, 16), np.float32), one.mesh, scale=1.0, seed=0,
                 tile=1024, block_tiles=64)  # fmt: skip
    with pytest.raises(ValueError, match="give falling numbers of clusters"):
        cluster.Settings(levels=(10, 100))
