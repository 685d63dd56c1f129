"""Faults of the splits and labels of data sets: facts and findings, without printing."""

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from surgrec_jax.audit import published_faults, surgrec_v1
from surgrec_jax.audit.catalogue import CATALOGUE
from surgrec_jax.audit.published_faults import Fault
from surgrec_jax.records.errors import safe_text
from surgrec_jax.records.prepared import Prepared, class_names, read_videos

SMALL_TEST = 100
RULES = {
    "shared_cases": "a case stands in train and in another split",
    "shared_recordings": "a video or trial stands in train and in another split",
    "val_equals_test": "the validation split is the test split",
    "duplicate_rows": "a clip stands twice in one split",
    "unknown_cases": "cases are not known, so that a clean split cannot be checked",
    "unknown_patients": "the owner does not tell which cases are one patient",
    "missing_cases": "fewer cases than the owner publishes",
    "missing_splits": "no train or no test split, or an empty one",
    "small_test": "fewer than 100 test clips: one clip is more than a percent",
    "no_class": "clips are labelled with what is no class of the owner",
    "ordinal_labels": "labels are positions in the video, not classes",
    "negative_clips": "clips carry the label of a class they do not show",
    "misnamed": "the clips are of another data set than the release says",
    "trivial_scores": "a published score is what a constant answer reaches",
    "two_views": "views of one event count as several test clips",
    "unseen_classes": "a class of the test split does not occur in train",
    "near_duplicates": "videos look alike (only with --duplicates)",
    "overlap": "patients stand in several data sets",
    "pretraining_on_test": "a pretraining source holds somebody's test patients",
    "pretraining_unknown": "whether pretraining holds test patients cannot be told",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """A broken rule.

    Attributes:
        rule: its name.
        name: the data set.
        text: a sentence.
        count: the number it is about.
        cases: the cases that it is about, where they can be named.
        sure: False where it only may be so.
    """

    rule: str
    name: str
    text: str
    count: int = 1
    cases: tuple[str, ...] = ()
    sure: bool = True

    def sentence(self, at_most: int = 20) -> str:
        """The text with the names of up to `at_most` cases."""
        more = len(self.cases) - at_most
        named = ", ".join(self.cases[:at_most]) + (f" and {more} more" if more > 0 else "")
        return f"{self.text} (cases {safe_text(named)})" if named else self.text


@dataclasses.dataclass(frozen=True)
class Clip:
    """The case and recording of a clip or video, and its label counts by label name."""

    key: str
    case: str | None
    recording: str | None
    labels: Mapping[str, Mapping[int, int]]


@dataclasses.dataclass
class Audited:
    """A data set's splits as clips; `published` for a folder of the SurgRec release.

    Attributes:
        name: title for the reader.
        source: name of the source, for overlaps.
        splits, classes: clips in order by split, and class names by label name.
        prepared: the data set with its pictures; None for split files and mere names.
        tested: the splits as stored whose clips stand in "test".
    """

    name: str
    source: str
    splits: dict[str, list[Clip]]
    classes: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    published: surgrec_v1.Published | None = None
    prepared: Prepared | None = None
    tested: tuple[str, ...] = ("test",)

    def all_tested(self) -> "Audited":
        """The same data set with all its clips as test."""
        every = [clip for clips in self.splits.values() for clip in clips]
        return dataclasses.replace(self, splits={"test": every}, tested=tuple(self.splits))


def from_split_files(folder: str, files: Mapping[str, Path]) -> Audited:
    """Reads a folder of published split files; raises as `surgrec_v1.read_split`."""
    entry = surgrec_v1.BY_FOLDER.get(folder)
    splits = {}
    for split, rows in surgrec_v1.read_folder(dict(files)).items():
        splits[split] = [
            Clip(
                key=row.path,
                case=entry.case_of(row.path) if entry else None,
                recording=entry.recording_of(row.path) if entry else None,
                labels={"label": {row.label: 1}},
            )
            for row in rows
        ]
    classes = {"label": entry.classes} if entry else {}
    return Audited(folder, entry.source if entry else folder, splits, classes, entry)


def from_prepared(prepared: Prepared) -> Audited:
    """Reads a prepared data set, a clip per stored video; raises as `read_videos`."""
    stored = read_videos(prepared.directory)
    order = [s for s in surgrec_v1.SPLITS if s in stored]
    order += sorted(set(stored) - set(order))
    splits = {
        split: [Clip(v.video_id, v.case_id, v.video_id, v.labels) for v in stored[split].values()]
        for split in order
    }
    published = None
    if prepared.config == "surgrec_v1":
        published = surgrec_v1.BY_SOURCE.get(prepared.name)
    classes = class_names(prepared.directory)
    return Audited(prepared.title, prepared.name, splits, classes, published, prepared)


def facts(data: Audited) -> dict[str, Any]:
    """Counts of a data set as plain JSON values.

    Returns:
        rows, cases, recordings: per split (cases and recordings None where unknown).
        val_equals_test: True, False, or None without a val or test split.
        shared: "train/test" and so on -> names of the cases in both; shared_recordings likewise.
        straddling, all_cases: cases in more than one split (val left out where it is test), of all.
        labels: per label name the `majority` of it.
    """
    sets = {split: {clip.key: clip for clip in clips} for split, clips in data.splits.items()}
    same = None
    if data.splits.get("val") and data.splits.get("test"):
        val, test = (
            sorted((clip.key, str(clip.labels)) for clip in data.splits[split])
            for split in ("val", "test")
        )
        same = val == test
    cases = {split: _names(clips, "case") for split, clips in data.splits.items()}
    recordings = {split: _names(clips, "recording") for split, clips in data.splits.items()}
    counted = [split for split in cases if not (same and split == "val")]
    seen = collections.Counter(case for split in counted for case in cases[split] or ())
    names = {name for clips in data.splits.values() for clip in clips for name in clip.labels}
    return {
        "rows": {split: len(clips) for split, clips in data.splits.items()},
        "cases": {split: None if c is None else len(c) for split, c in cases.items()},
        "recordings": {split: None if r is None else len(r) for split, r in recordings.items()},
        "val_equals_test": same,
        "duplicates": {s: len(clips) - len(sets[s]) for s, clips in data.splits.items()},
        "shared": _shared(cases),
        "shared_recordings": _shared(recordings),
        "straddling": sum(1 for count in seen.values() if count > 1),
        "all_cases": len(seen),
        "labels": {name: majority(data, name) for name in sorted(names)},
    }


def majority(data: Audited, name: str) -> dict[str, Any]:
    """The score of a constant predictor on the test split.

    Returns:
        train_majority: the commonest class id in train (the lowest of equals) and train_tied, how
            many classes are as common; test_rate: percent of test it is right on; test_majority and
            test_majority_rate: the same for the class that is commonest in test itself. None
            without labels in the split.
    """
    totals = {}
    for split in ("train", "test"):
        totals[split] = collections.Counter()
        for clip in data.splits.get(split, ()):
            totals[split].update(clip.labels.get(name, {}))
    train, test = totals["train"], totals["test"]
    size = sum(test.values())

    def rate(class_id):
        return 100 * test[class_id] / size if size and class_id is not None else None

    best, best_test = _commonest(train), _commonest(test)
    names = data.classes.get(name, ())
    return {
        "train_majority": best,
        "train_majority_name": names[best] if best is not None and best < len(names) else None,
        "train_tied": sum(1 for n in train.values() if n == train[best]) if train else 0,
        "test_rate": rate(best),
        "test_majority": best_test,
        "test_majority_rate": rate(best_test),
        "test_size": size,
        "unseen": sorted(set(test) - set(train)),
    }


def findings(data: Audited, fact: Mapping[str, Any]) -> list[Finding]:
    """The rules that a data set breaks by itself."""
    faults = [_split_faults(data, fact), _case_faults(data, fact), _shared_faults(fact)]
    faults.append(_class_faults(data, fact))
    if data.published:
        faults.append(published_faults.faults(data, fact))
    return [Finding(rule, data.name, *rest) for rule, *rest in itertools.chain(*faults)]


def _split_faults(data: Audited, fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Splits that are missing, small, doubled or the same."""
    for split in ("train", "test"):
        if not data.splits.get(split):
            yield "missing_splits", f"the {split} split is missing or empty", 1
    if 0 < (tests := fact["rows"].get("test", 0)) < SMALL_TEST:
        unit = "clips" if data.published else "videos"
        yield "small_test", f"{tests} test {unit}: one is {100 / tests:.1f} percent", tests
    for split, count in fact["duplicates"].items():
        if count:
            yield "duplicate_rows", f"{count} rows of {split} stand there more than once", count
    if fact["val_equals_test"]:
        yield "val_equals_test", f"val and test are the same {fact['rows']['test']} clips", 1


def _case_faults(data: Audited, fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Cases or patients that are not known."""
    if any(count is None for count in fact["cases"].values()):
        unknown = sum(clip.case is None for clips in data.splits.values() for clip in clips)
        yield "unknown_cases", f"the cases of {unknown} clips are unknown", unknown
    elif data.source in CATALOGUE and not CATALOGUE[data.source].patients:
        yield "unknown_patients", "the owner does not tell which cases are one patient", 1


def _shared_faults(fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Cases and recordings that stand in several splits."""
    for rule, shared, count_of, what in (
        ("shared_cases", fact["shared"], fact["cases"], "cases"),
        ("shared_recordings", fact["shared_recordings"], fact["recordings"], "recordings"),
    ):
        for pair, both in shared.items():
            first, second = pair.split("/")
            if rule == "shared_recordings" and both == fact["shared"].get(pair):
                continue  # the case is the recording
            if both and not (fact["val_equals_test"] and "val" in pair):
                text = f"{len(both)} of {count_of[second]} {what} of {second} are also in {first}"
                yield rule, text, len(both)
    if fact["straddling"] > len(fact["shared"].get("train/test", ())):
        of = f"{fact['straddling']} of {fact['all_cases']} cases"
        yield "shared_cases", f"{of} stand in more than one split", fact["straddling"]


def _class_faults(data: Audited, fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Classes of the test split that do not occur in train."""
    for name, label in fact["labels"].items():
        if label["unseen"] and data.splits.get("train"):
            unseen = ", ".join(map(str, label["unseen"]))
            yield "unseen_classes", f"{name}: test has classes {unseen}", len(label["unseen"])


def _names(clips: Sequence[Clip], field: str) -> set[str] | None:
    names = {getattr(clip, field) for clip in clips}
    return None if None in names else names


def _shared(names: Mapping[str, set[str] | None]) -> dict[str, list[str]]:
    return {
        f"{first}/{second}": sorted(names[first] & names[second])
        for first, second in itertools.combinations(names, 2)
        if names[first] is not None and names[second] is not None
    }


def _commonest(counts: Mapping[int, int]) -> int | None:
    return min(counts, key=lambda k: (-counts[k], k)) if counts else None
