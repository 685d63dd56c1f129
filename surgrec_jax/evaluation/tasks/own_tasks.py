"""Tasks of a data set that none is declared for, such as a hospital's: one per label it has."""

import os
import pathlib
from collections.abc import Mapping, Sequence

from surgrec_jax.data.loading.clips import spread
from surgrec_jax.evaluation.tasks.task import KINDS, Task
from surgrec_jax.records.info import read_info
from surgrec_jax.records.locate import find_version, sources
from surgrec_jax.records.source import DamagedRecordError, Source, open_source
from surgrec_jax.safety.errors import DataError

Labels = Mapping[str, Sequence[str]]

# (class 0, class 1) of a label that says whether something is there.
PRESENCE = {("absent", "present"), ("no", "yes"), ("false", "true"), ("0", "1"), ("n", "y")}
# Kinds that ask for several labels at once; one label by such a name is of none of them.
_SEVERAL = ("instruments", "triplets")
_INSTRUMENTS = ("instrument", "tool")  # prefixes of labels that are
_SAMPLES = 32  # records whose domain is looked at


def own_tasks(data_dir: str | os.PathLike, source: str) -> tuple[tuple[Task, ...], str]:
    """The tasks of a prepared data set, and a sentence that names them and the labels left out.

    Args:
        data_dir: root of the prepared data sets.
        source: name of the data set, or name/config.

    Raises:
        DataError: it is not prepared, lacks a split, or has no label to make a task of; the message
            has the remedy.
    """
    name, _, config = source.partition("/")
    try:
        info = read_info(find_version(pathlib.Path(data_dir), name, config or None))
    except FileNotFoundError as error:
        raise DataError(f"no tasks are declared for {source!r}, and {error}") from error
    lacking = [s for s in Task.splits if s not in info.splits or not info.splits[s].num_examples]
    if lacking:
        raise DataError(
            f"{source} has no video in split {', '.join(lacking)}, so nothing can be scored on it; "
            + _remedy(name, "--split 0.8,0.1,0.1, or a column split in --labels TABLE.csv")
        )
    opened = open_source(data_dir, name, config=config or None, split=Task.splits[0])
    domain = _domain(opened, info.features["domain"].names)
    made, left_out = from_labels(source, opened.tracks, opened.video_labels, domain)
    silent = f"; left out: {', '.join(left_out)}" if left_out else ""
    if not made:
        raise DataError(
            f"{source} has no label to make a task of{silent}; "
            + _remedy(name, "--labels TABLE.csv or --class_from subfolder")
        )
    words = ", ".join(f"{task.name} (unit {task.unit})" for task in made)
    return made, f"tasks of {source} from its labels: {words}{silent}"


def from_labels(
    source: str, tracks: Labels, video_labels: Labels, domain: str = "any"
) -> tuple[tuple[Task, ...], list[str]]:
    """A task per label, and the labels that give none, each with the reason.

    A track is recognised along the video (unit "frame"), a per-video label is of unit "video"; both
    are scored by balanced accuracy. Labels of presence that share what stands before the first
    underscore (`instrument_hook`, `instrument_scissors`) are one multi-label task by that name,
    scored by mean average precision, per clip or per video.

    Args:
        source: name of the data set.
        tracks, video_labels: label -> class names.
        domain: of its videos.
    """
    tasks, left_out = [], []
    available = {**video_labels, **tracks}
    groups = _groups(tracks, video_labels)
    for name in sorted(available):
        prefix, group = name.partition("_")[0], f"{name.partition('_')[0]}_*"
        along = name in tracks
        if along and tuple(video_labels.get(name, tracks[name])) != tuple(tracks[name]):
            left_out.append(f"{name} (other classes in rows with times than in rows without)")
        elif prefix in groups and name != prefix:
            if any(task.track == group for task in tasks):
                continue
            kind = "instruments" if prefix in _INSTRUMENTS else "other"
            metric, unit = "mean_average_precision", "clip" if along else "video"
            tasks.append(Task(prefix, source, group, metric, unit, kind=kind, domain=domain))
        elif len(available[name]) < 2:
            left_out.append(f"{name} (one class: {', '.join(available[name])})")
        else:
            kind = name if name in KINDS and name not in _SEVERAL else "other"
            unit = "frame" if along else "video"
            tasks.append(Task(name, source, name, unit=unit, kind=kind, domain=domain))
    return tuple(tasks), left_out


def _remedy(name: str, options: str) -> str:
    if name in sources() and name != "video_folder":
        return "its builder gives none, so it is for pretraining"
    return f"build it again (data_builders build video_folder) with --overwrite and {options}"


def _groups(tracks: Labels, video_labels: Labels) -> set[str]:
    """Prefixes of several labels that all are of presence, and all tracks or all per video."""
    members: dict[str, list[str]] = {}
    for name in {*tracks, *video_labels}:
        prefix, underscore, _ = name.partition("_")
        if underscore:
            members.setdefault(prefix, []).append(name)
    return {
        prefix
        for prefix, names in members.items()
        if len(names) > 1
        and prefix not in {*tracks, *video_labels}  # which names a task of its own
        and any(
            all(name in one and name not in other and _presence(one[name]) for name in names)
            for one, other in ((tracks, video_labels), (video_labels, tracks))
        )
    }


def _presence(classes: Sequence[str]) -> bool:
    return tuple(name.casefold() for name in classes) in PRESENCE


def _domain(source: Source, names: Sequence[str]) -> str:
    """The one domain of records spread over the source; "any" for several, or where unknown."""
    domains = set()
    for index in spread(len(source), _SAMPLES):
        try:
            domains.add(source.record(index).domain)
        except DamagedRecordError:
            continue  # whoever asks for its clips says so
    (first, *more) = domains or {-1}
    return "any" if more or first < 0 else names[first]
