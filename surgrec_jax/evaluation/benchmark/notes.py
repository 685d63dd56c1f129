"""The sentences and the versions that stand with every table."""

import itertools
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata

import jax

from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.evaluation.benchmark.answers import unfit
from surgrec_jax.evaluation.benchmark.columns import Group, ordered
from surgrec_jax.evaluation.features.clips import enlarged_share, repeated_share
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.records.source import Source

_REPEATS_TOLD = 0.05  # share of repeated frames that is worth a note
_PACKAGES = ("jax", "flax", "numpy", "grain", "tensorflow-datasets")


def notes(
    sources: Mapping[str, Source],
    groups: Sequence[Group],
    settings: Settings,
    tasks: Iterable[tuple[Task, Sequence[str]]],
) -> list[str]:
    """Sentences that every reader of the table must know.

    Args:
        sources: name -> test split of the data sets.
        groups: the encoders.
        tasks: the tasks of all data sets that were scored, each with its classes.
    """
    sentences = list(settings.rules.notes)
    if any(name.startswith("phantom") for name in sources):
        sentences.append("Phantom data, not clinical: procedurally drawn video, not surgery.")
    if len(groups) > 1:
        sentences.append(
            "Encoders with another clip are scored on their own clips of the same cases."
        )
    if settings.folds:
        sentences.append(
            f"Cross-validation over cases in {settings.folds} folds: every case is tested once, by "
            "heads that were trained on other folds and chosen on the next one. ± and intervals "
            "leave out that folds share training cases."
        )
        for name in (column.name for column in ordered(groups) if column.classifier):
            sentences.append(
                f"{name}'s classifier is not asked: it was trained on cases that are tested here."
            )
        tasks = ()
    for column, (task, classes) in itertools.product(ordered(groups), tasks):
        if why := unfit(column, task, classes):
            sentences.append(f"{why}.")
    for group, (name, source) in itertools.product(groups, sources.items()):
        sentences += _of_clips(group, name, source, settings)
    return sentences


def _of_clips(group: Group, name: str, source: Source, settings: Settings) -> Iterator[str]:
    """Sentences about the frames of a source that clips of a group show."""
    spec = clip_of(group.clip)
    share = repeated_share(source, spec, of_videos=settings.clips_per_video > 0)
    if share > _REPEATS_TOLD:
        yield (
            f"{share:.0%} of the frames of clips {group.label} from {name} repeat the one before: "
            "it stores fewer frames per second, or segments shorter than such a clip."
        )
    if small := enlarged_share(source, spec):
        yield (
            f"{small:.0%} of the records of {name} have frames smaller than clips {group.label}: "
            "they are enlarged."
        )


def environment() -> dict[str, str]:
    """Versions and device, for the results file."""
    versions = {name: metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0]
    return {"python": platform.python_version(), "device": device.device_kind, **versions}
