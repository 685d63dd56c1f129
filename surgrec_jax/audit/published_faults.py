"""Faults of the published SurgRec clips that follow from their names, labels and scores."""

import collections
import re
from collections.abc import Iterator, Mapping
from typing import Any

from surgrec_jax.audit import published_scores

Fault = tuple[str, str, int]  # rule, sentence, the number it is about


def faults(data, fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of an `audit.Audited` folder of the release, beyond those that any data set can have.

    Args:
      data: its `published` is the folder's entry.
      fact: what `audit.facts` says of it.
    """
    entry = data.published
    clips = list({clip.key: clip for part in data.splits.values() for clip in part}.values())
    label = {clip.key: next(iter(clip.labels["label"])) for clip in clips}
    if entry.misnamed:
        yield "misnamed", entry.misnamed, 1
    for name, why in entry.no_class:
        count = sum(label[clip.key] == entry.classes.index(name) for clip in clips)
        if count:
            yield "no_class", f"{count} of {len(clips)} clips have the label {name!r}: {why}", count
    if entry.negative:
        count = sum(entry.negative in f"/{clip.key}" for clip in clips)
        if count:
            where = f"{count} of {len(clips)} clips are from {entry.negative.strip('/')!r} folders"
            yield "negative_clips", f"{where}, labelled otherwise", count
    if entry.ordinal:
        yield from _ordinal(entry, clips, label)
    if entry.event:
        test = [entry.event_of(clip.key) for clip in data.splits.get("test", ())]
        extra = len(test) - len(set(test))
        if extra:
            yield "two_views", f"{len(test)} test clips show {len(set(test))} events", extra
    known = {clip.case for clip in clips} - {None}
    if entry.owner_cases and known and len(known) < entry.owner_cases:
        text = f"{len(known)} of the owner's {entry.owner_cases} cases are there{_parts(known)}"
        yield "missing_cases", text, entry.owner_cases - len(known)
    yield from _trivial(entry.folder, fact)


def _ordinal(entry, clips, label) -> Iterator[Fault]:
    """Labels that are positions: number - 1 throughout, and what is missing is always the end."""
    numbers = collections.defaultdict(set)
    for clip in clips:
        position = entry.position_of(clip.key)
        if position is None or position != label[clip.key]:
            return
        numbers[clip.case].add(position)
    short = sum(len(found) < len(entry.classes) for found in numbers.values())
    gaps = sum(found != set(range(len(found))) for found in numbers.values())
    if short and not gaps:
        text = f"{short} of {len(numbers)} cases lack the last ones"
        yield "ordinal_labels", f"labels are positions in the video: {text}", short


def _trivial(folder: str, fact: Mapping[str, Any]) -> Iterator[Fault]:
    """Published scores that equal, to the last digit, what the commonest training class reaches."""
    rate = fact["labels"].get("label", {}).get("test_rate")
    if names := published_scores.equal_to(folder, rate):
        what = f"{rate:.2f} is what always answering the commonest class of train reaches"
        yield "trivial_scores", f"{', '.join(names)}: {what}", len(names)


def _parts(cases: set[str]) -> str:
    """How many cases of each centre, where their names begin with it."""
    counts = collections.Counter(re.match(r"[A-Za-z]*", case)[0] for case in cases)
    if not 1 < len(counts) <= 3 or "" in counts:
        return ""
    return f" ({', '.join(f'{count} {name}' for name, count in sorted(counts.items()))})"
