"""Audit of several data sets together: shared patients, and test patients seen in pretraining."""

import itertools
from collections.abc import Sequence

from data_builders.common import overlaps
from data_builders.common.audit import Audited, Finding


def across(sets: Sequence[Audited]) -> list[Finding]:
    """Patients that stand in several of the data sets."""
    out = []
    for first, second in itertools.combinations(sets, 2):
        known = overlaps.known_overlap(first.source, second.source)
        keys = [_patients(data) for data in (first, second)]
        both = sorted(set(keys[0]) & set(keys[1]))
        name = f"{first.name} + {second.name}"
        if both:
            apart = sum(("test" in keys[0][k]) != ("test" in keys[1][k]) for k in both)
            text = f"{len(both)} shared patients, {apart} of them in the test split of one only"
            out.append(Finding("overlap", name, text, len(both)))
        elif known and not (known[1] and all(keys)):
            out.append(Finding("overlap", name, f"may share patients: {known[0]}"))
    return out


def pretraining_on_test(
    pretraining: Sequence[tuple[Audited, str]], tests: Sequence[Audited]
) -> list[Finding]:
    """Pretraining (data set, split) pairs that hold test patients of `tests`.

    A data set without splits stands for a source of which only the name is known.
    """
    out = []
    for used, split in pretraining:
        mine = {key for key, where in _patients(used).items() if split in where}
        for data in tests:
            theirs = {key for key, where in _patients(data).items() if "test" in where}
            name, both = f"{used.name}@{split} -> {data.name}", mine & theirs
            known = overlaps.known_overlap(used.source, data.source)
            if both:
                text = f"{len(both)} of {len(theirs)} test patients were pretrained on"
                out.append(Finding("pretraining_on_test", name, text, len(both)))
            elif not (mine and theirs) and used.source == data.source:
                text = "the same source; its splits could not be compared"
                out.append(Finding("pretraining_on_test", name, text))
            elif known and not (known[1] and mine and theirs):
                text = f"may hold test patients: {known[0]}"
                out.append(Finding("pretraining_on_test", name, text))
    return out


def _patients(data: Audited) -> dict[str, set[str]]:
    """Patient key -> the splits it stands in."""
    found: dict[str, set[str]] = {}
    for split, clips in data.splits.items():
        for clip in clips:
            if clip.case is not None:
                key = overlaps.patient_key(data.source, clip.case, clip.recording)
                found.setdefault(key, set()).add(split)
    return found
