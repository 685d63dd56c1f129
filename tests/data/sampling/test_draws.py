import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from surgrec_jax.data.sampling.draws import Sampler
from surgrec_jax.data.sampling.leaves import MEAN_COUNT, Leaves, integer_counts, write_order
from surgrec_jax.data.sampling.mixture import temperature_shares
from surgrec_jax.data.sampling.permute import hash64, permute
from surgrec_jax.data.sampling.shares import MAX_DRAW, UNITS, carried

SHARES = (0.90, 0.07, 0.02, 0.01)


def sampler(sizes=(9000, 700, 50, 3), weights=SHARES, seed=1, **kwargs):
    return Sampler(Leaves.from_sizes(sizes), weights, seed=seed, **kwargs)


def pairs(draws):
    return list(zip(draws.source.tolist(), draws.record.tolist(), draws.seed.tolist(), strict=True))


@pytest.fixture(scope="module")
def million():
    return sampler().draws(np.arange(10**6))


def test_every_block_has_exactly_its_shares(million):
    per_block = np.stack([np.bincount(b, minlength=4) for b in million.leaf.reshape(-1, 1000)])
    assert (per_block == [900, 70, 20, 10]).all()


def test_order_within_blocks_looks_random(million):
    """Chi-square over sub-blocks: 10 draws of each of 1000 blocks, where exactness cannot help."""
    by_place = million.leaf.reshape(1000, 100, 10)
    counts = [np.bincount(by_place[:, k].ravel(), minlength=4) for k in range(100)]
    p = [stats.chisquare(c, 10_000 * np.array(SHARES)).pvalue for c in counts]
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    rare = np.flatnonzero(million.leaf == 3) % 1000
    assert stats.chisquare(np.bincount(rare // 50, minlength=20)).pvalue > 1e-3


def test_records_of_a_leaf_are_spread_evenly(million):
    for leaf, size in enumerate((9000, 700, 50, 3)):
        counts = np.bincount(million.record[million.leaf == leaf], minlength=size)
        assert counts.max() - counts.min() <= 1


def test_passes_over_a_leaf_differ_and_are_in_random_order(million):
    passes = million.record[million.leaf == 2][:20000].reshape(-1, 50)
    assert len(np.unique(passes, axis=0)) == len(passes)
    table = np.stack([np.bincount(passes[:, k], minlength=50) for k in (0, 17, 49)])
    assert stats.chisquare(table.ravel()).pvalue > 1e-3


def test_clip_seeds_are_all_different(million):
    assert len(np.unique(million.seed)) == 10**6
    ones = np.unpackbits(million.seed[:100_000].view(np.uint8)).mean()
    assert abs(ones - 0.5) < 5 * 0.5 / np.sqrt(6.4e6)


def test_another_seed_is_another_stream(million):
    other = sampler(seed=2).draws(np.arange(1000))
    assert (other.leaf == million.leaf[:1000]).mean() < 0.95
    assert not np.intersect1d(other.seed, million.seed).size


@pytest.mark.parametrize("processes", [1, 4, 7])
def test_the_union_over_processes_is_the_same_stream(million, processes):
    parts = [pickle.loads(pickle.dumps(sampler())) for _ in range(processes)]
    union = {}
    for p, part in enumerate(parts):
        mine = np.arange(p, 20_000, processes)
        union.update(zip(mine.tolist(), pairs(part.draws(mine)), strict=True))
    assert [union[i] for i in range(20_000)] == pairs(million)[:20_000]


@settings(max_examples=30)
@given(start=st.integers(0, 10**9), chunk=st.integers(1, 300))
def test_restart_at_any_index(start, chunk):
    straight = pairs(sampler().draws(np.arange(start, start + 300)))
    s, resumed = sampler(), []
    for at in range(start, start + 300, chunk):
        resumed += pairs(s.draws(np.arange(at, min(at + chunk, start + 300))))
    assert resumed == straight
    one = s.draw(start)
    assert (one.source, one.record, one.seed) == straight[0]
    shuffled = np.random.default_rng(start).permutation(300)
    assert pairs(s.draws(start + shuffled)) == [straight[k] for k in shuffled]


leaf_sets = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0.05, 1.0)), min_size=1, max_size=6
)  # (records, weight)


@settings(max_examples=60)
@given(leaves=leaf_sets, seed=st.integers(-(2**70), 2**70), extra=st.integers(0, 500))
def test_no_repeats_before_exhaustion_and_exact_long_run_shares(leaves, seed, extra):
    """Also over block boundaries, and where the share of a block is fractional."""
    sizes, weights = zip(*leaves, strict=True)
    share = np.array(weights) / sum(weights)
    s = sampler(sizes, weights, seed, block=1 + extra)
    blocks = 3 + 1000 // s.block
    total = blocks * s.block
    draws = s.draws(np.arange(total))
    for j, size in enumerate(sizes):
        mine = draws.record[draws.leaf == j]
        assert abs(len(mine) - total * share[j]) < 1.01 + np.log2(blocks) / 3
        counts = np.bincount(mine, minlength=size)
        assert counts.max() - counts.min() <= 1 and len(counts) == size
    np.testing.assert_array_equal(np.bincount(draws.leaf, minlength=len(sizes)), s.counts(total))


def test_fractional_shares_are_carried():
    s = sampler((100, 100, 100), (1, 1.4, 7.6), block=10)
    leaf = s.draws(np.arange(10_000)).leaf
    per_block = np.stack([np.bincount(b, minlength=3) for b in leaf.reshape(-1, 10)])
    assert (per_block[:, 0] == 1).all() and set(per_block[:, 1]) == {1, 2}
    assert abs(per_block[:, 1].sum() - 1400) <= 1 + np.log2(1000) / 3
    assert abs(s.counts(10 * UNITS)[1] - 1.4 * UNITS) <= 1


def test_sums_over_blocks_are_those_of_the_blocks():
    """Against counting; the order of the offsets is the bits of the block's number, reversed."""
    rng = np.random.default_rng(0)
    part = np.concatenate([[0, 1, UNITS - 1], rng.integers(0, UNITS, 200)])
    bits = (np.arange(3000)[:, None] >> np.arange(20)) & 1
    offset = (bits * 2 ** np.arange(19, -1, -1)).sum(1)
    reached = np.cumsum(part + offset[:, None] >= UNITS, axis=0)
    for blocks in range(1, 3001):
        np.testing.assert_array_equal(carried(blocks, part), reached[blocks - 1])
    np.testing.assert_array_equal(carried(7 * UNITS + 3000, part), 7 * part + reached[-1])


@pytest.mark.parametrize("share", [1e-3, 3.3e-5, 1e-7, 1e-12])
def test_a_leaf_far_rarer_than_a_block_is_not_starved(share):
    """Its first draw comes within 4 / share draws, and each of its records has its turn."""
    s = sampler((100, 100, 5), (0.9, 0.1, share), seed=0)
    assert s.block == 1000
    share = max(share / (1 + share), 1 / (s.block * UNITS))  # what a weight is resolved to
    blocks = np.array([int(k * 4 / share / s.block) for k in range(8)])
    drawn = [s.counts(1000 * (int(b) + 1))[2] for b in blocks]
    assert drawn[1] >= 1 and (np.abs(drawn - 1000 * (blocks + 1) * share) <= 8).all()
    if share >= 1e-5:
        leaf = s.draws(np.arange(1000 * blocks[-1]))
        counts = np.bincount(leaf.record[leaf.leaf == 2], minlength=5)
        assert np.ptp(counts) <= 1 and counts.sum() == s.counts(1000 * int(blocks[-1]))[2] > 15


def test_ten_thousand_leaves_of_a_curriculum_of_short_stages():
    """Stages shorter than a block starve no leaf either, and every block is full."""
    sizes = np.random.default_rng(0).integers(1, 50, 10_000)
    stages = [(3000 * k, sizes ** (1 - k / 99)) for k in range(100)]
    s = sampler(sizes, stages)
    assert s.block == 10_000
    expected = 3000 * sum(w / w.sum() for _, w in stages)
    got = s.counts(300_000)
    assert got.sum() == 300_000 and got.min() >= 1
    assert np.std(got - expected) < 4  # as much as if each stage were rounded by chance
    draws = s.draws(np.arange(150_000, 162_000))
    np.testing.assert_array_equal(
        np.bincount(draws.leaf, minlength=10_000), s.counts(162_000) - s.counts(150_000)
    )


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 250), min_size=1, max_size=4),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_curriculum_keeps_passes_whole_across_stages(lengths, seed, data):
    sizes = (30, 7, 11)
    row = st.lists(st.sampled_from([0.0, 1.0, 2.0, 5.0]), min_size=3, max_size=3).filter(any)
    begins = np.cumsum([0, *lengths]).tolist()
    stages = [(b, data.draw(row)) for b in begins]
    s = sampler(sizes, stages, seed, block=40)
    total = begins[-1] + 200
    draws = s.draws(np.arange(total))
    for (begin, weights), end in zip(stages, [*begins[1:], total], strict=True):
        share = np.array(weights) / sum(weights)
        got = np.bincount(draws.leaf[begin:end], minlength=3)
        assert (np.abs(got - share * (end - begin)) < 3).all()  # of at most six blocks
    for j, size in enumerate(sizes):
        counts = np.bincount(draws.record[draws.leaf == j], minlength=size)
        assert counts.max() - counts.min() <= 1
    np.testing.assert_array_equal(np.bincount(draws.leaf, minlength=3), s.counts(total))


def test_a_record_with_count_two_is_drawn_twice_a_pass(tmp_path):
    leaf_of, counts = np.array([0, 1, 0, -1, 1, 0]), np.array([1, 1, 2, 5, 1, 0])
    starts = write_order(tmp_path / "order.npy", leaf_of, 2, counts)
    assert starts.tolist() == [0, 3, 5]
    assert np.load(tmp_path / "order.npy").tolist() == [0, 2, 2, 1, 4]
    leaves = Leaves.from_order(tmp_path / "order.npy", starts, (4, 2))
    draws = Sampler(leaves, (3, 2), seed=0, block=5).draws(np.arange(5000))
    who, times = np.unique(draws.source * 10 + draws.record, return_counts=True)
    assert dict(zip(who, times, strict=True)) == {0: 1000, 1: 1000, 2: 2000, 10: 1000}


def test_write_order_in_chunks_equals_a_stable_sort(tmp_path, monkeypatch):
    monkeypatch.setattr("surgrec_jax.data.sampling.leaves._CHUNK", 17)
    leaf_of = np.random.default_rng(0).integers(0, 9, 500)
    starts = write_order(tmp_path / "o.npy", leaf_of, 10)
    np.testing.assert_array_equal(np.load(tmp_path / "o.npy"), np.argsort(leaf_of, kind="stable"))
    np.testing.assert_array_equal(np.diff(starts), np.bincount(leaf_of, minlength=10))


def test_temperature_against_numpy():
    n = np.array([9000.0, 700, 0, 3])
    for alpha in (0.0, 0.5, 1.0):
        powers = np.where(n > 0, n**alpha, 0)
        np.testing.assert_allclose(temperature_shares(n, alpha), powers / powers.sum(), rtol=1e-12)
    realised = np.bincount(
        sampler((9, 9, 9, 9), (3, 1, 2, 0), block=960).draws(np.arange(960)).leaf, minlength=4
    )
    assert realised.tolist() == [480, 160, 320, 0]


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda w: max(w) > 1e-3))
def test_integer_counts_keep_ratios(weights):
    w = np.array(weights)
    counts = integer_counts(w)
    exact = w * MEAN_COUNT / w[w > 0].mean()
    assert ((counts == 0) == (w == 0)).all()
    assert (np.abs(counts - exact)[exact >= 1] <= 0.5 + 1e-6 * exact[exact >= 1]).all()


@settings(max_examples=60)
@given(size=st.one_of(st.integers(1, 70), st.integers(1, 3000)), key=st.integers(0, 2**64 - 1))
def test_permute_is_a_bijection(size, key):
    got = permute(np.arange(size), np.int64(size), np.uint64(key))
    assert sorted(got.tolist()) == list(range(size))


def test_all_orders_of_four_are_equally_likely():
    keys = hash64(np.arange(24_000))
    got = permute(np.tile(np.arange(4), 24_000), np.int64(4), np.repeat(keys, 4)).reshape(-1, 4)
    counts = np.unique(got, axis=0, return_counts=True)[1]
    assert len(counts) == 24 and stats.chisquare(counts).pvalue > 1e-3


def test_permute_beyond_32_bits():
    size = np.int64(10**10)
    got = permute(np.arange(1000), size, np.uint64(5))
    assert len(np.unique(got)) == 1000 and got.max() > 2**32
    assert stats.kstest(got / size, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(
    ("weights", "kwargs", "complaint"),
    [
        ((1, 2), {}, "expected one weight for each of 4 leaves, got 2"),
        ((1, -2, -3, 1), {}, r"entry 1 \(leaf 1\) is negative: -2.0"),
        ((1, 1, np.nan, np.inf), {}, r"entry 2 \(leaf 2\) is not finite: nan"),
        ((0, 0, 0, 0), {}, "all 4 entries are zero"),
        (SHARES, {"block": 0}, "block of 0 draws"),
        ([(5, SHARES)], {}, "stage 0 must begin at draw 0, not at 5"),
        ([(0, SHARES), (0, SHARES)], {}, r"stage 1 begins at draw 0, not after stage 0 \(draw 0\)"),
        ([(0, SHARES), (5000, (1, 1, 1, -1))], {}, r"stage 1: entry 3 \(leaf 3\) is negative"),
    ],
)
def test_bad_weights_are_named(weights, kwargs, complaint):
    with pytest.raises(ValueError, match=complaint):
        sampler(weights=weights, **kwargs)


def test_other_errors_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"entry 1 \(beta\) has weight 1.0 but no records"):
        Sampler(Leaves.from_sizes((3, 0), ("alpha", "beta")), (1, 1), seed=0)
    with pytest.raises(ValueError, match="draw -1 is outside"):
        sampler().draws([3, -1])
    with pytest.raises(ValueError, match="is outside"):
        sampler().draws([MAX_DRAW + 1])
    sampler().draws([MAX_DRAW])
    with pytest.raises(ValueError, match="record 2: leaf 4"):
        write_order(tmp_path / "o.npy", np.array([0, 1, 4]), 4)
    starts = write_order(tmp_path / "o.npy", np.array([0, 1, 0, 1]), 2)
    with pytest.raises(ValueError, match="expected 5 integers"):
        Leaves.from_order(tmp_path / "o.npy", [0, 2, 5], (4,))
    stale = Sampler(Leaves.from_order(tmp_path / "o.npy", starts, (3,)), (1, 1), seed=0)
    with pytest.raises(ValueError, match="leaf 1 names record 3, but the sources hold 3"):
        stale.draws(np.arange(1000))
    with pytest.raises(ValueError, match="record weight 1 is -1.0"):
        integer_counts([1, -1])
