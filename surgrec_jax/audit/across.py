"""Audit of several data sets together: shared patients, and test patients seen in pretraining."""

import functools
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

from surgrec_jax.audit import content, patients
from surgrec_jax.audit.catalogue import CATALOGUE
from surgrec_jax.audit.descriptors import DescribedVideo, described_videos
from surgrec_jax.audit.rules import Audited, Clip, Finding
from surgrec_jax.records.prepared import Prepared

UNKNOWN = "?"  # the source of weights that do not say what they were trained on
RULE = "pretraining_on_test"
CANNOT_TELL = "pretraining_unknown"


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
        elif _one_population(first, second) and all(keys):
            text = "may share patients: one source, whose two configurations name cases otherwise"
            out.append(Finding("overlap", name, text))
        elif known and not _told_apart(known, *keys):
            out.append(Finding("overlap", name, f"may share patients: {known[0]}"))
        elif not known and not (_public(first) and _public(second)):
            cases = [_cases(data, data.splits) for data in (first, second)]
            if same := sorted(cases[0] & cases[1]):
                text = f"may share patients: {len(same)} cases have the same name in both"
                out.append(Finding("overlap", name, text, len(same), tuple(same)))
    return out


def pretraining_on_test(
    pretraining: Sequence[tuple[Audited, str]], tests: Sequence[Audited]
) -> list[Finding]:
    """Pretraining (data set, split) pairs that hold test patients of `tests`.

    Patients are told by what their owners call them, and recordings by their pictures, where both
    data sets can be read: two names for the same files hide nothing. What can be compared in
    neither way is a finding of its own. A data set without splits stands for a source of which
    only the name is known. Pictures are not compared within one data set, whose cases its builder
    has told apart (the audit's near-duplicates do that).

    Raises:
        BuildError: a record cannot be read.
    """
    out = []
    for used, split in pretraining:
        for data in tests:
            if used.source == UNKNOWN:
                text = "may hold test patients: what this checkpoint was trained on is not known"
                out.append(Finding(RULE, f"{used.name} -> {data.name}", text, sure=False))
                continue
            name = f"{used.name}@{split} -> {data.name}"
            found = _by_patients(name, used, split, data)
            out += found + _by_recordings(name, used, split, data, found)
    return out


def _by_patients(name: str, used: Audited, split: str, data: Audited) -> list[Finding]:
    """The findings of the patients that two sources are known to share."""
    all_mine, all_theirs = _patients(used), _patients(data)
    mine = {key for key, where in all_mine.items() if split in where}
    theirs = {key for key, where in all_theirs.items() if "test" in where}
    both, known = mine & theirs, patients.known_overlap(used.source, data.source)
    if both:
        text = f"{len(both)} of {len(theirs)} test patients were pretrained on"
        cases = {
            clip.case
            for clip in data.splits["test"]
            if clip.case is not None and _key(data, clip) in both
        }
        return [Finding(RULE, name, text, len(both), tuple(sorted(cases)))]
    if _one_population(used, data) and not (
        mine and theirs and all_mine.keys() & all_theirs.keys()
    ):  # not read, or two configurations that name cases otherwise
        text = "the same source; its splits could not be compared"
    elif known and not _told_apart(known, mine, theirs):
        text = f"may hold test patients: {known[0]}"
    else:
        return []
    return [Finding(RULE, name, text, sure=False)]


def _told_apart(known: tuple[str, bool], first: Collection[str], second: Collection[str]) -> bool:
    """Whether the patients of two sources that overlap can be matched by their keys."""
    by_id = all(key.startswith(patients.YOUTUBE) for key in (*first, *second))
    return (known[1] or by_id) and bool(first) and bool(second)


def _by_recordings(
    name: str, used: Audited, split: str, data: Audited, found: Sequence[Finding]
) -> list[Finding]:
    """The findings of file names, case names and pictures, beyond what was `found`."""
    known = {case for finding in found if finding.sure for case in finding.cases}
    tests = [clip for clip in data.splits.get("test", ()) if clip.case not in known]
    if data.splits.get("test") and not tests:
        return []  # all are found
    if _same_data_set(used, data):
        return []
    total, out = len(data.splits.get("test", ())), []
    seen = looked = None
    if tests and split in used.splits and used.prepared and data.prepared:
        looked = content.compare(
            _described(data.prepared, data.tested), described_videos(used.prepared, [split])
        )
        seen = {v: c for v, c in looked.seen.items() if c not in known}
        alike = {v: c for v, c in looked.alike.items() if c not in known}
        if seen:
            text = f"{len(seen)} of {total} test videos were pretrained on, by their pictures"
            out.append(Finding(RULE, name, text, len(seen), _sorted(seen)))
        if alike:
            text = f"{len(alike)} of {total} test videos look like pretraining videos, and hold "
            text += "too few different pictures to be sure"
            out.append(Finding(RULE, name, text, len(alike), _sorted(alike), sure=False))
    if not (_public(used) and _public(data)):
        names = _cases(used, [split]), {clip.recording for clip in used.splits.get(split, ())}
        told = set().union(*(finding.cases for finding in out))
        same = {
            clip.key: clip.case
            for clip in tests
            if clip.case not in told and (clip.case in names[0] or clip.recording in names[1])
        }
        if same:
            text = f"{len(same)} of {total} test videos have the case or file name of pretraining "
            text += "videos, whose pictures differ" if looked else "videos"
            out.append(Finding(RULE, name, text, len(same), _sorted(same), sure=False))
        if looked is None and not out and not found:
            text = "its data could not be read: whether it holds test patients cannot be told"
            out.append(Finding(CANNOT_TELL, name, text, sure=False))
    if looked and looked.blank:
        blank = {v: c for v, c in looked.blank.items() if c not in known}
        text = f"{len(blank)} of {total} test videos show nothing that could be compared"
        out.append(Finding(CANNOT_TELL, name, text, len(blank), _sorted(blank), sure=False))
    return out


@functools.lru_cache(maxsize=2)
def _described(prepared: Prepared, splits: tuple[str, ...]) -> list[DescribedVideo]:
    return list(described_videos(prepared, list(splits)))


def _same_data_set(first: Audited, second: Audited) -> bool:
    if first.prepared and second.prepared:
        return first.prepared.directory.resolve() == second.prepared.directory.resolve()
    return False


def _public(data: Audited) -> bool:
    """Whether a source is one whose name says which videos it holds."""
    own = CATALOGUE.get(data.source)
    return data.source in patients.known_names() or (own is not None and own.licence != "yours")


def _cases(data: Audited, splits: Iterable[str]) -> set[str]:
    found = {clip.case for split in splits for clip in data.splits.get(split, ())}
    return found - {None}


def _sorted(cases: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(set(cases.values())))


def _patients(data: Audited) -> dict[str, set[str]]:
    """Patient key -> the splits it stands in."""
    found: dict[str, set[str]] = {}
    for split, clips in data.splits.items():
        for clip in clips:
            if clip.case is not None:
                found.setdefault(_key(data, clip), set()).add(split)
    return found


def _one_population(first: Audited, second: Audited) -> bool:
    """Whether two data sets are of one source, and not known to be of other patients of it."""
    if first.source != second.source:
        return False
    names = {patients.population(data.source, data.name) for data in (first, second)}
    return len(names) == 1 or first.source in names


def _key(data: Audited, clip: Clip) -> str:
    population = patients.population(data.source, data.name)
    return patients.patient_key(population, clip.case, clip.recording)
