"""Seeded splits of listed videos, for sources whose owner gives none."""

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping

from data_builders.common.source.items import VideoItem
from data_builders.common.source.splits import split_by_case

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def deal(
    items: Iterable[VideoItem],
    *,
    fractions: Mapping[str, float] = FRACTIONS,
    seed: int = 0,
    group: Callable[[VideoItem], Hashable] = lambda item: None,
    earlier: Mapping[str, str] | None = None,
) -> list[VideoItem]:
    """The items with splits by case, a function of case names and seed.

    Args:
        items: any splits they have are replaced.
        fractions: see `split_by_case`.
        seed: another seed deals another split.
        group: the cases of each group (a class, say) are dealt by themselves, so that every split
            gets its share of each; all items of a case must be of one group.
        earlier: case -> split of a build before, which its cases keep (`builder.earlier`).
    """
    items = list(items)
    groups: dict[Hashable, list[str]] = {}
    for item in items:
        groups.setdefault(group(item), []).append(item.case_id)
    split_of: dict[str, str] = {}
    for cases in groups.values():
        split_of |= split_by_case(cases, fractions, seed)
    for case in split_of.keys() & (earlier or {}).keys():
        if earlier[case] in fractions:
            split_of[case] = earlier[case]
    return [dataclasses.replace(item, split=split_of[item.case_id]) for item in items]
