"""Opens the sources and batches of `config.data`."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from ml_collections import ConfigDict

from data_builders.common.build.build import build
from surgrec_jax.config.build import objective_kind
from surgrec_jax.data.loading import faults, pipeline
from surgrec_jax.data.loading.augment import RandAugment
from surgrec_jax.data.loading.clips import LABEL_FRAMES, ClipSpec
from surgrec_jax.data.sampling import mixture
from surgrec_jax.data.sampling.manifest import Manifest, read_manifest
from surgrec_jax.evaluation.features.clips import class_names
from surgrec_jax.evaluation.tasks.task import Task
from surgrec_jax.objectives import Question
from surgrec_jax.records.locate import find_version
from surgrec_jax.records.names import SourceName, parse_sources
from surgrec_jax.records.source import Source, open_source
from surgrec_jax.safety.errors import ConfigError

# This source needs no download: it is built where it is missing.
BUILT_IN = "phantom_surgery"
# The configs' own folder is made where it is missing; any other missing folder was mistyped.
DATA_DIR = "data"


def open_named(name: SourceName, data_dir: str, *, skip_damaged: bool = False) -> Source:
    """Opens a prepared source; builds phantom surgery where it is missing, and says so.

    Args:
        skip_damaged: see `open_source`.

    Raises:
        FileNotFoundError: it is not prepared; the message has the command that builds it.
        ConfigError: phantom surgery would be built in a missing folder, not the configs' own.
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
        return find_version(Path(data_dir), name.name, name.config).is_dir()
    except FileNotFoundError:
        return False


def open_sources(config: ConfigDict) -> list[Source]:
    """Opens the training sources of `config.data`."""
    names, skip = parse_sources(config.data.sources), config.data.max_bad_share > 0
    return [open_named(name, config.data.data_dir, skip_damaged=skip) for name in names]


def check_unchanged(config: ConfigDict, sources: list[Source], meta: dict[str, Any]) -> None:
    """Refuses data that were rebuilt under the run; damaged shards are told where they are read.

    Raises:
        ConfigError: fingerprints differ from those of the checkpoint, and nobody allowed it.
    """
    own = [entry for entry in meta["sources"] if "through" not in entry]
    before = {(e["name"], e.get("config", ""), e.get("split")): e.get("fingerprint") for e in own}
    changed = [
        f"{source.label} ({was[:12]} -> {source.fingerprint[:12]})"
        for source in sources
        if (was := before.get((source.name, source.config, source.split)))
        and source.whole
        and was != source.fingerprint
    ]
    if not changed:
        return
    if not config.data.get("allow_changed"):
        raise ConfigError(
            f"data were built anew since the last checkpoint: {', '.join(changed)}. Restore them, "
            "begin again in another --workdir, or go on with them as they are by "
            "--config.data.allow_changed"
        )
    logging.warning("the run goes on with data that were built anew: %s", ", ".join(changed))


def open_manifest(config: ConfigDict, sources: list[Source]) -> Manifest | None:
    """Opens the manifest of `config.data`; None where there is none.

    Raises:
        ConfigError: the sources have weights besides.
        DataError, FileNotFoundError: the manifest cannot be used, or is not of these sources.
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
    """The clips that the model sees."""
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
    """The operations of `data.rand_augment`; None where a config has none."""
    how = config.data.get("rand_augment")
    return RandAugment(**how) if how and how.count else None


def open_question(config: ConfigDict) -> Question | None:
    """The labels of the training sources that the objective learns; None where it needs none.

    Raises:
        ConfigError: no such objective, frame or label, or sources whose classes differ.
    """
    if not objective_kind(config).needs_labels:
        return None
    return question_of(config, open_sources(config))


def question_of(config: ConfigDict, sources: list[Source]) -> Question:
    """The labels that `track` and `frame` of the objective's section mean, see `open_question`.

    The track is a label track, a per-video label, or a pattern ("instrument_*") of binary tracks;
    the frame is the one of a clip whose label is learned.
    """
    name = config.objective
    track, frame = config[name].track, config[name].frame
    if frame not in LABEL_FRAMES:
        raise ConfigError(f"{name}.frame={frame!r}: choose from {LABEL_FRAMES}")
    questions = []
    for source in sources:
        metric = "mean_average_precision" if "*" in track else "balanced_accuracy"
        task, names = Task("fine-tuning", source.name, track, metric=metric), class_names(source)
        questions.append(Question(task.tracks(names), task.classes(names), frame))
    for source, other in zip(sources[1:], questions[1:], strict=True):
        if other != questions[0]:
            raise ConfigError(
                f"{name}.track={track!r} has the classes {', '.join(other.classes)} in "
                f"{source.name} and {', '.join(questions[0].classes)} in {sources[0].name}; "
                "fine-tune on sources with the same classes"
            )
    return questions[0]


def training_batches(
    config: ConfigDict,
    sources: list[Source],
    first: int,
    last: int,
    manifest: Manifest | None = None,
    workdir: Path | None = None,
    question: Question | None = None,
    alone: bool = False,
) -> pipeline.Batches:
    """Opens this process's part of the batches of steps `first` to `last`, to be closed.

    With `alone` its part is the whole, whatever other processes there are.

    Records are drawn as the manifest says; without one sources are drawn by their weights, or as
    records ** temperature where none has a weight. Records that cannot be used are replaced and
    counted in `.bad`, up to data.max_bad_share of a source, and listed in the workdir.
    """
    data = config.data
    process, processes = (0, 1) if alone else (jax.process_index(), jax.process_count())
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
        process_count=processes,
        num_workers=data.num_workers,
        num_threads=data.num_threads,
        bad=bad,
        timeout_s=data.timeout_s,
        labels=() if question is None else question.tracks,
        label_frame="centre" if question is None else question.frame,
    )


def pictured(
    config: ConfigDict, sources: list[Source], manifest: Manifest | None, question: Question | None
) -> np.ndarray | None:
    """Decodes the clips of a run's pictures, uint8 [n, T, S, S, 3]: those of its first draws.

    They are the same in every process, and when a run goes on; None for a run without pictures.
    """
    if not config.images.every:
        return None
    config = config.copy_and_resolve_references()
    config.batch_size, config.data.repeats, config.data.num_workers = config.images.clips, 1, 0
    with training_batches(config, sources, 0, 1, manifest, None, question, True) as batches:
        return next(batches)["video"]


def take_shown(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Takes the step's inputs out of a batch; the rest are ids of its clips."""
    return {key: batch.pop(key) for key in ("video", "label") if key in batch}
