"""How much of a data set is labelled: counted while records are made, told in the build's summary.

A count is {"tracks": {track: {id: seconds}}, "videos": {label: {id: videos}}}, with ids as text,
for it is kept as JSON beside shards; the id -1 is what is unlabelled.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Counts = dict[str, dict[str, dict[str, float]]]
_SHOWN = 12  # classes of one track that a summary names


def add_frames(counts: Counts, labels: Mapping[str, np.ndarray], seconds: float) -> None:
    """Adds the stored frames of one record; each stands for `seconds` of video."""
    for name, ids in labels.items():
        found = zip(*np.unique(ids, return_counts=True), strict=True)
        of_track = {str(int(value)): float(number) * seconds for value, number in found}
        merge(counts, {"tracks": {name: of_track}})


def add_video(counts: Counts, labels: Mapping[str, Any]) -> None:
    """Adds the labels of one whole video."""
    merge(counts, {"videos": {name: {str(int(value)): 1} for name, value in labels.items()}})


def merge(counts: Counts, more: Counts) -> None:
    """Adds `more` to `counts`."""
    for kind, names in more.items():
        for name, values in names.items():
            of_name = counts.setdefault(kind, {}).setdefault(name, {})
            for key, value in values.items():
                of_name[key] = of_name.get(key, 0) + value


def named(
    counts: Counts, tracks: Mapping[str, Sequence[str]], videos: Mapping[str, Sequence[str]]
) -> Counts:
    """The same with class names in place of ids; "" is what is unlabelled."""
    classes = {"tracks": tracks, "videos": videos}
    return {
        kind: {
            name: {
                "" if int(key) < 0 else classes[kind][name][int(key)]: value
                for key, value in sorted(values.items(), key=lambda pair: int(pair[0]))
            }
            for name, values in names.items()
        }
        for kind, names in counts.items()
    }


def lines(counts: Counts) -> list[str]:
    """The counts (by name) as lines for a terminal."""
    out = []
    for kind, unit in (("tracks", " s"), ("videos", "")):
        for name, values in counts.get(kind, {}).items():
            total = sum(values.values())
            classes = [(label, value) for label, value in values.items() if label]
            shown = [f"{label} {value:.4g}{unit}" for label, value in classes[:_SHOWN]]
            if len(classes) > _SHOWN:
                rest = sum(value for _, value in classes[_SHOWN:])
                shown.append(f"{len(classes) - _SHOWN} more classes {rest:.4g}{unit}")
            share = values.get("", 0) / total if total else 0.0
            what = "videos, " if kind == "videos" else ""
            given = ", ".join(shown) or "no label"
            out.append(f"  {name}: {what}{given}; {100 * share:.3g} % unlabelled")
    return ["labels:", *out] if out else []
