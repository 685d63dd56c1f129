"""Opens the online probes of `config.probe`: what a run is scored by while it trains."""

import contextlib
import dataclasses
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from surgrec_jax.default_data import say, title
from surgrec_jax.evaluation.features.clips import labelled_clips
from surgrec_jax.evaluation.online import LabelledClips, OnlineProbe, OnlineScore
from surgrec_jax.evaluation.tasks.own_tasks import from_labels
from surgrec_jax.inputs import clip_spec, open_named, question_of
from surgrec_jax.objectives import Question
from surgrec_jax.records.names import SourceName, parse_sources
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import ConfigError, DataError, UserError


def open_probes(
    config: ConfigDict, question: Question | None = None
) -> list[OnlineProbe | OnlineScore]:
    """Opens a probe per source of `config.probe`, with its clips already decoded.

    In fine-tuning it is the classifier's score on the validation split. Where no sources are named,
    those of `config.data` that can be scored are; one that cannot is said to be left out.

    Raises:
        UserError: a source that is named cannot be scored.
    """
    if not config.probe.every:
        return []
    named, probes, left_out = config.probe.sources, [], []
    names = {title(name): name for name in parse_sources(named or config.data.sources)}
    for text, name in names.items():
        try:
            opened = _open_score(config, name, question) if question else _open_probe(config, name)
        except UserError as error:
            if named:
                raise
            left_out.append(f"{text}: {error}")
        else:
            probes.append(opened)
            say(f"scores every {config.probe.every} steps: {opened.describe()}")
    if left_out:
        say(f"not scored while it trains: {'; '.join(left_out)}")
    return probes


def _labelled(
    config: ConfigDict, name: SourceName, split: str, tracks: Sequence[str], frame: str = "centre"
) -> tuple[Source, LabelledClips]:
    """Opens a split and decodes config.probe.clips clips spread over it, labelled at a frame."""
    source = open_named(dataclasses.replace(name, split=split), config.data.data_dir)
    records = np.linspace(0, len(source) - 1, min(config.probe.clips, len(source)))
    with contextlib.closing(
        labelled_clips(source, clip_spec(config), records=np.unique(records.round().astype(int)))
    ) as batches:
        return source, LabelledClips.collect(batches, tracks, frame)


def _open_score(config: ConfigDict, name: SourceName, question: Question) -> OnlineScore:
    source, clips = _labelled(config, name, "val", question.tracks, question.frame)
    if question_of(config, [source]) != question:
        raise ConfigError(f"probe.sources: {source.name} has other classes than data.sources")
    return OnlineScore(name.name, clips, question.tracks, len(question.classes))


def _open_probe(config: ConfigDict, name: SourceName) -> OnlineProbe:
    source = open_named(dataclasses.replace(name, split="train"), config.data.data_dir)
    tracks = [track.strip() for track in config.probe.tracks.split(",") if track.strip()]
    unknown = [track for track in tracks if track not in source.tracks]
    if unknown:
        raise ConfigError(
            f"probe.tracks: {source.name} has no track {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(source.tracks) or 'none'}"
        )
    wanted = tracks or _in_time(source)
    clips = {}
    for split in ("train", "val"):
        source, clips[split] = _labelled(config, name, split, wanted)
    if not tracks:  # nobody asked for a label that these clips have one class of
        wanted = [t for t in wanted if all(_classes(c.labels[t]) > 1 for c in clips.values())]
    if not wanted:
        raise DataError("no label in time has two classes in both its train and its val split")
    num_classes = {track: len(source.tracks[track]) for track in wanted}
    return OnlineProbe(name.name, clips["train"], clips["val"], num_classes)


def _in_time(source: Source) -> list[str]:
    """The labels along videos, but for those of one thing's presence among several."""
    made, _ = from_labels(source.name, source.tracks, {})
    tracks = [task.track for task in made if task.unit == "frame"]
    if not tracks:
        raise DataError("it has no label in time")
    return tracks


def _classes(labels: np.ndarray) -> int:
    return len(np.unique(labels[labels >= 0]))
