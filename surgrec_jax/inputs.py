"""From `config.data` and `config.probe` to opened sources, batches and online probes."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from data_builders.common.build.build import build
from surgrec_jax.config import ConfigError, objective_kind
from surgrec_jax.data.loading import faults, pipeline
from surgrec_jax.data.loading.augment import RandAugment
from surgrec_jax.data.loading.clips import LABEL_FRAMES, ClipSpec
from surgrec_jax.data.sampling import mixture
from surgrec_jax.data.sampling.manifest import Manifest, read_manifest
from surgrec_jax.evaluation.features.clips import class_names, labelled_clips
from surgrec_jax.evaluation.online import LabelledClips, OnlineProbe, OnlineScore
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.objectives import Question
from surgrec_jax.records.locate import find_version
from surgrec_jax.records.source import Source, open_source

# The source that needs no download: built where it is asked for and not there.
BUILT_IN = "phantom_surgery"
# Of all configs: made where it is missing; any other folder that is missing was mistyped.
DATA_DIR = "data"


@dataclasses.dataclass(frozen=True)
class SourceName:
    """A source as configs write it: name[/config][@split][=weight]."""

    name: str
    config: str | None
    split: str
    weight: float | None

    @property
    def text(self) -> str:
        """The source without its weight, always with its split."""
        return self.name + (f"/{self.config}" if self.config else "") + f"@{self.split}"


def parse_sources(text: str) -> list[SourceName]:
    """Sources of a comma-separated list, e.g. "cholec80=2,phantom_surgery/tiny@train".

    Raises:
        ConfigError: a part that is not of this form, no source, weights on some sources only, or
            weights that are negative, not finite or all zero.
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
        if weight is not None and not 0 <= weight < math.inf:
            raise ConfigError(f"source {part!r}: the weight must be finite and not negative")
        names.append(SourceName(match[1], match[2], match[3] or "train", weight))
    if len({name.weight is None for name in names}) > 1:
        raise ConfigError(f"sources {text!r}: give every source a weight, or none")
    if all(name.weight == 0 for name in names):
        raise ConfigError(f"sources {text!r}: all weights are zero; at least one must be positive")
    return names


def open_named(name: SourceName, data_dir: str, *, skip_damaged: bool = False) -> Source:
    """Opens a prepared source; builds phantom surgery where it is missing, and says so.

    Args:
        skip_damaged: see `open_source`.

    Raises:
        FileNotFoundError: not prepared; the message has the command that builds it. ConfigError:
            phantom surgery would be built in a folder that is not there, nor the configs' own.
    """
    try:
        return open_source(data_dir, name.name, name.config, name.split, skip_damaged=skip_damaged)
    except FileNotFoundError:
        if name.name != BUILT_IN or jax.process_count() > 1 or _is_prepared(name, data_dir):
            raise
    if not Path(data_dir).is_dir() and data_dir != DATA_DIR:
        raise ConfigError(
            f"data_dir={data_dir}: there is no such folder; make it first where {BUILT_IN} is to "
            "be built in it"
        )
    print(f"{BUILT_IN} is not in {data_dir}: building it (phantom data, not clinical)")
    build(BUILT_IN, data_dir=data_dir, config=name.config)
    return open_source(data_dir, name.name, name.config, name.split)


def _is_prepared(name: SourceName, data_dir: str) -> bool:
    try:
        return find_version(Path(data_dir), name.name, name.config, None).is_dir()
    except FileNotFoundError:
        return False


def open_sources(config: ConfigDict) -> list[Source]:
    """The training sources of `config.data`."""
    names, skip = parse_sources(config.data.sources), config.data.max_bad_share > 0
    return [open_named(name, config.data.data_dir, skip_damaged=skip) for name in names]


def open_manifest(config: ConfigDict, sources: list[Source]) -> Manifest | None:
    """The manifest of `config.data`, None where there is none.

    Raises:
        ConfigError: sources with weights besides. DataError, FileNotFoundError: a manifest that
            cannot be used, or is not of these sources.
    """
    if not config.data.manifest:
        return None
    names = parse_sources(config.data.sources)
    if names[0].weight is not None:
        raise ConfigError(
            f"data.sources {config.data.sources!r} has weights and so has data.manifest; give one"
        )
    manifest = read_manifest(Path(config.data.manifest))
    manifest.check_sources([name.text for name in names], sources)
    return manifest


def clip_spec(config: ConfigDict) -> ClipSpec:
    """The clip the model sees."""
    data, model = config.data, config.model
    return ClipSpec(
        frames=model.num_frames,
        fps=data.fps,
        size=model.image_size,
        crop=data.crop,
        flip=data.flip,
        augment=_augmentation(config),
    )


def _augmentation(config: ConfigDict) -> RandAugment | None:
    """`data.rand_augment`, where a config has it and asks for any operation."""
    how = config.data.get("rand_augment")
    return RandAugment(**how) if how and how.count else None


def open_question(config: ConfigDict) -> Question | None:
    """What the objective asks of the training sources' labels; None where it needs none.

    Raises:
        ConfigError: no such objective, frame or label, or sources with other classes.
    """
    if not objective_kind(config).needs_labels:
        return None
    return question_of(config, open_sources(config))


def question_of(config: ConfigDict, sources: list[Source]) -> Question:
    """What `track` and `frame` of the objective's section ask of sources, see `open_question`.

    The track is a label track, a per-video label, or a pattern ("instrument_*") of binary tracks;
    the frame is that of a clip whose label is asked for.
    """
    name = config.objective
    track, frame = config[name].track, config[name].frame
    if frame not in LABEL_FRAMES:
        raise ConfigError(f"{name}.frame={frame!r}: choose from {LABEL_FRAMES}")
    asked = []
    for source in sources:
        metric = "mean_average_precision" if "*" in track else "balanced_accuracy"
        task, names = Task("fine-tuning", source.name, track, metric=metric), class_names(source)
        asked.append(Question(task.tracks(names), task.classes(names), frame))
    for source, other in zip(sources[1:], asked[1:], strict=True):
        if other != asked[0]:
            raise ConfigError(
                f"{name}.track={track!r} has the classes {', '.join(other.classes)} in "
                f"{source.name} and {', '.join(asked[0].classes)} in {sources[0].name}; "
                "fine-tune on sources with the same classes"
            )
    return asked[0]


def training_batches(
    config: ConfigDict,
    sources: list[Source],
    first: int,
    last: int,
    manifest: Manifest | None = None,
    workdir: Path | None = None,
    question: Question | None = None,
) -> pipeline.Batches:
    """This process's part of the batches of steps `first` to `last`, closable.

    Records are drawn as the manifest says; without one sources are drawn by their weights, or as
    records ** temperature where none has a weight. Records that cannot be used are replaced and
    counted in `.bad`, up to data.max_bad_share of a source, and listed in the workdir.
    """
    data = config.data
    process = jax.process_index()
    path = workdir and workdir / (f"process{process}-{faults.FILE}" if process else faults.FILE)
    bad = faults.BadRecords({s.label: len(s) for s in sources}, data.max_bad_share, path)
    weights = [name.weight for name in parse_sources(data.sources)]
    if manifest is not None:
        weights = None
    elif weights[0] is None:
        sizes = [len(source) for source in sources]
        weights = list(mixture.temperature_shares(sizes, data.temperature))
    return pipeline.train_batches(
        sources,
        weights,
        clip_spec(config),
        batch_size=config.batch_size,
        seed=config.seed,
        sampler=manifest.sampler(config.seed) if manifest is not None else None,
        start_step=first,
        num_steps=last,
        repeats=data.repeats,
        process_index=process,
        process_count=jax.process_count(),
        num_workers=data.num_workers,
        num_threads=data.num_threads,
        bad=bad,
        timeout_s=data.timeout_s,
        labels=() if question is None else question.tracks,
        label_frame="centre" if question is None else question.frame,
    )


def take_shown(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes out of a batch what the step sees; the rest says where it comes from."""
    return {key: batch.pop(key) for key in ("video", "label") if key in batch}


def open_probes(
    config: ConfigDict, question: Question | None = None
) -> list[OnlineProbe | OnlineScore]:
    """One probe per source of `config.probe`, with the clips it looks at already decoded; in
    fine-tuning, the classifier's score on the validation split."""
    if question is not None:
        named = parse_sources(config.probe.sources)
        return [_open_score(config, name, question) for name in named]
    tracks = [track.strip() for track in config.probe.tracks.split(",")]
    return [_open_probe(config, name, tracks) for name in parse_sources(config.probe.sources)]


def _labelled(
    config: ConfigDict, name: SourceName, split: str, tracks: Sequence[str], frame: str = "centre"
) -> tuple[Source, LabelledClips]:
    """A split, and config.probe.clips clips spread over it with the labels of a frame."""
    source = open_named(dataclasses.replace(name, split=split), config.data.data_dir)
    chosen = np.linspace(0, len(source) - 1, min(config.probe.clips, len(source)))
    with contextlib.closing(
        labelled_clips(source, clip_spec(config), records=np.unique(chosen.round().astype(int)))
    ) as batches:
        return source, LabelledClips.collect(batches, tracks, frame)


def _open_score(config: ConfigDict, name: SourceName, question: Question) -> OnlineScore:
    source, clips = _labelled(config, name, "val", question.tracks, question.frame)
    if question_of(config, [source]) != question:
        raise ConfigError(f"probe.sources: {source.name} has other classes than data.sources")
    return OnlineScore(name.name, clips, question.tracks, len(question.classes))


def _open_probe(config: ConfigDict, name: SourceName, tracks: list[str]) -> OnlineProbe:
    source = open_named(dataclasses.replace(name, split="train"), config.data.data_dir)
    unknown = [track for track in tracks if track not in source.tracks]
    if unknown:
        raise ConfigError(
            f"probe.tracks: {source.name} has no track {', '.join(map(repr, unknown))}; "
            f"it has {', '.join(source.tracks) or 'none'}"
        )
    clips = {}
    for split in ("train", "val"):
        source, clips[split] = _labelled(config, name, split, tracks)
    num_classes = {track: len(source.tracks[track]) for track in tracks}
    return OnlineProbe(name.name, clips["train"], clips["val"], num_classes)
