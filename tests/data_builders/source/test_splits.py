import collections

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_builders.common.source.splits import split_by_case, split_by_hash

USUAL = {"train": 0.8, "val": 0.1, "test": 0.1}


def test_written_down():
    """A split, once published, must not change: these were dealt by the first version."""
    cases = [f"case{k:02d}" for k in range(10)]
    dealt = split_by_case(cases, USUAL, seed=7)
    assert dealt == {**dict.fromkeys(cases, "train"), "case06": "val", "case07": "test"}
    assert split_by_case(reversed(cases + cases), USUAL, seed=7) == dealt
    assert split_by_case(cases, USUAL, seed=8) != dealt


@given(
    count=st.integers(0, 60),
    parts=st.lists(st.integers(0, 10), min_size=1, max_size=4).filter(any),
    seed=st.integers(0, 10**6),
)
def test_counts(count, parts, seed):
    fractions = {f"s{k}": part / sum(parts) for k, part in enumerate(parts)}
    dealt = split_by_case([str(k) for k in range(count)], fractions, seed)
    assert len(dealt) == count
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    counts = {name: list(dealt.values()).count(name) for name in fractions}
    for name, fraction in fractions.items():
        if fraction == 0:
            assert counts[name] == 0
        elif count >= len(wanted):
            assert counts[name] >= 1
        assert abs(counts[name] - fraction * count) < max(1, len(wanted))


def test_bad_fractions():
    with pytest.raises(ValueError, match="add up"):
        split_by_case(["a"], {"train": 0.5})
    with pytest.raises(ValueError, match="between"):
        split_by_case(["a"], {"train": 1.5, "val": -0.5})


@given(
    count=st.integers(0, 60),
    more=st.integers(1, 30),
    parts=st.lists(st.integers(0, 10), min_size=1, max_size=4).filter(any),
    seed=st.integers(0, 10**6),
)
def test_a_case_keeps_its_split_when_others_are_added(count, more, parts, seed):
    fractions = {f"s{k}": part / sum(parts) for k, part in enumerate(parts)}
    cases = [f"case {k}" for k in range(count + more)]
    before = split_by_hash(cases[:count], fractions, seed)
    after = split_by_hash(cases, fractions, seed, before)
    assert {case: after[case] for case in cases[:count]} == before
    wanted = [name for name, fraction in fractions.items() if fraction > 0]
    for dealt in (before, after):
        assert set(dealt.values()) <= set(wanted)
        assert len(dealt) < len(wanted) or len(set(dealt.values())) == len(wanted) or dealt is after
    # Without the list: only cases that filled an empty split may move.
    alone = split_by_hash(cases, fractions, seed)
    moved = [case for case in before if alone[case] != before[case]]
    assert len(moved) <= len(wanted) - 1 or count < len(wanted)


def test_shares_hold_on_average():
    cases = [f"patient {k}" for k in range(5000)]
    dealt = list(split_by_hash(cases, USUAL).values())
    assert [round(dealt.count(name) / 5000, 2) for name in USUAL] == [0.8, 0.1, 0.1]
    assert split_by_hash(reversed(cases + cases), USUAL) == split_by_hash(cases, USUAL)
    assert split_by_hash(cases, USUAL, seed=1) != split_by_hash(cases, USUAL)
    assert set(split_by_hash(["a", "b"], {"train": 1.0, "val": 0.0}).values()) == {"train"}
    assert len(set(split_by_hash(["a", "b", "c"], USUAL).values())) == 3
    with pytest.raises(ValueError, match="add up"):
        split_by_hash(["a"], {"train": 0.5})


@pytest.mark.parametrize(("count", "least"), [(3, 1), (7, 1), (8, 2), (12, 3), (40, 3)])
def test_a_small_corpus_gets_splits_that_can_be_scored(count, least):
    for seed in range(20):
        cases = [f"operation {k}" for k in range(count)]
        dealt = split_by_hash(cases, USUAL, seed, least=3)
        counts = collections.Counter(dealt.values())
        assert min(counts[name] for name in USUAL) >= least and counts["train"] >= count // 3
        moved = split_by_hash(cases, USUAL, seed)  # few cases move
        assert sum(dealt[c] != moved[c] for c in cases) <= 2 * least
        more = split_by_hash([*cases, "new"], USUAL, seed, dealt, least=3)
        assert {case: more[case] for case in cases} == dealt
