"""From `config.data` and `config.probe` to opened sources, batches and online probes."""

from __future__ import annotations

import dataclasses
import re

import jax
import numpy as np
from ml_collections import ConfigDict

from data_builders.common.build import build
from surgrec_jax.config import ConfigError
from surgrec_jax.data import mixture, pipeline
from surgrec_jax.data.clips import ClipSpec
from surgrec_jax.data.records import Source, open_source
from surgrec_jax.evaluation.online import LabelledClips, OnlineProbe

# The source that needs no download: built where it is asked for and not there.
BUILT_IN = "phantom_surgery"


@dataclasses.dataclass(frozen=True)
class SourceName:
    """A source as configs write it: name[/config][@split][=weight]."""

    name: str
    config: str | None
    split: str
    weight: float | None


def parse_sources(text: str) -> list[SourceName]:
    """Sources of a comma-separated list, e.g. "cholec80=2,phantom_surgery/tiny@train".

    Raises:
        ConfigError: a part that is not of this form, no source, or weights on some sources only.
    """
    names = []
    for part in (p.strip() for p in text.split(",")):
        match = re.fullmatch(r"(\w+)(?:/([\w.-]+))?(?:@(\w+))?(?:=([\d.eE+-]+))?", part)
        if not match:
            raise ConfigError(f"source {part!r} is not of the form name[/config][@split][=weight]")
        try:
            weight = float(match[4]) if match[4] else None
        except ValueError:
            raise ConfigError(f"source {part!r}: {match[4]!r} is not a number") from None
        names.append(SourceName(match[1], match[2], match[3] or "train", weight))
    if len({name.weight is None for name in names}) > 1:
        raise ConfigError(f"sources {text!r}: give every source a weight, or none")
    return names


def open_named(name: SourceName, data_dir: str) -> Source:
    """Opens a prepared source; builds phantom surgery where it is missing, and says so.

    Raises:
        FileNotFoundError: not prepared; the message has the command that builds it.
    """
    try:
        return open_source(data_dir, name.name, name.config, name.split)
    except FileNotFoundError:
        if name.name != BUILT_IN or jax.process_count() > 1:
            raise
    print(f"{BUILT_IN} is not in {data_dir}: building it (phantom data, not clinical)")
    build(BUILT_IN, data_dir=data_dir, config=name.config)
    return open_source(data_dir, name.name, name.config, name.split)


def open_sources(config: ConfigDict) -> list[Source]:
    """The training sources of `config.data`."""
    return [open_named(n, config.data.data_dir) for n in parse_sources(config.data.sources)]


def clip_spec(config: ConfigDict) -> ClipSpec:
    """The clip the model sees."""
    data, model = config.data, config.model
    return ClipSpec(
        frames=model.num_frames,
        fps=data.fps,
        size=model.image_size,
        crop=data.crop,
        flip=data.flip,
    )


def training_batches(
    config: ConfigDict, sources: list[Source], first: int, last: int
) -> pipeline.Batches:
    """This process's part of the batches of steps `first` to `last`, closable.

    Sources are drawn by their weights, or as records ** temperature where none has a weight.
    """
    data = config.data
    weights = [name.weight for name in parse_sources(data.sources)]
    if weights[0] is None:
        sizes = [len(source) for source in sources]
        weights = list(mixture.temperature_shares(sizes, data.temperature))
    return pipeline.train_batches(
        sources,
        weights,
        clip_spec(config),
        batch_size=config.batch_size,
        seed=config.seed,
        start_step=first,
        num_steps=last,
        repeats=data.repeats,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        num_workers=data.num_workers,
        num_threads=data.num_threads,
    )


def open_probes(config: ConfigDict) -> list[OnlineProbe]:
    """One probe per source of `config.probe`, with the clips it looks at already decoded."""
    tracks = [track.strip() for track in config.probe.tracks.split(",")]
    return [_open_probe(config, name, tracks) for name in parse_sources(config.probe.sources)]


def _open_probe(config: ConfigDict, name: SourceName, tracks: list[str]) -> OnlineProbe:
    clips = {}
    for split in ("train", "val"):
        source = open_named(dataclasses.replace(name, split=split), config.data.data_dir)
        chosen = np.linspace(0, len(source) - 1, min(config.probe.clips, len(source)))
        with pipeline.eval_clips(
            source,
            clip_spec(config),
            tracks,
            records=np.unique(chosen.round().astype(np.int64)),
            num_threads=config.data.num_threads,
        ) as batches:
            clips[split] = LabelledClips.collect(batches, tracks)
    num_classes = {track: len(source.tracks[track]) for track in tracks}
    return OnlineProbe(name.name, clips["train"], clips["val"], num_classes)
