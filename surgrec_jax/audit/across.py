"""Audit of several data sets together: shared patients, and test patients seen in pretraining."""

import itertools
from collections.abc import Sequence

from surgrec_jax.audit import patients
from surgrec_jax.audit.rules import Audited, Finding

UNKNOWN = "?"  # the source of weights that do not say what they were trained on


def across(sets: Sequence[Audited]) -> list[Finding]:
    """Patients that stand in several of the data sets."""
    out = []
    for first, second in itertools.combinations(sets, 2):
        known = patients.known_overlap(first.source, second.source)
        keys = [_patients(data) for data in (first, second)]
        both = sorted(set(keys[0]) & set(keys[1]))
        name = f"{first.name} + {second.name}"
        if both:
            apart = sum(("test" in keys[0][k]) != ("test" in keys[1][k]) for k in both)
            text = f"{len(both)} shared patients, {apart} of them in the test split of one only"
            out.append(Finding("overlap", name, text, len(both)))
        elif first.source == second.source and all(keys):
            text = "may share patients: one source, whose two configurations name cases otherwise"
            out.append(Finding("overlap", name, text))
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
        all_mine = _patients(used)
        mine = {key for key, where in all_mine.items() if split in where}
        for data in tests:
            all_theirs = _patients(data)
            theirs = {key for key, where in all_theirs.items() if "test" in where}
            name, both = f"{used.name}@{split} -> {data.name}", mine & theirs
            known = patients.known_overlap(used.source, data.source)
            if used.source == UNKNOWN:
                name = f"{used.name} -> {data.name}"
                text = "may hold test patients: what this checkpoint was trained on is not known"
                out.append(Finding("pretraining_on_test", name, text))
            elif both:
                text = f"{len(both)} of {len(theirs)} test patients were pretrained on"
                out.append(Finding("pretraining_on_test", name, text, len(both)))
            elif used.source == data.source and not (
                mine and theirs and all_mine.keys() & all_theirs.keys()
            ):  # not read, or two configurations that name cases otherwise
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
                key = patients.patient_key(data.source, clip.case, clip.recording)
                found.setdefault(key, set()).add(split)
    return found
