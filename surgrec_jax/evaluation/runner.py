"""Probes encoders side by side: baselines, heads, intervals, differences; ends in plain results."""

import dataclasses
import datetime
import functools
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata

import jax
import numpy as np
import tqdm

from surgrec_jax.data.pipeline import ClipSpec
from surgrec_jax.data.records import Source
from surgrec_jax.encoder import Encoder, random_encoder
from surgrec_jax.evaluation import baselines, protocol, results
from surgrec_jax.evaluation.clips import class_names, labelled_clips
from surgrec_jax.evaluation.features import Encode, Features, cached_extract
from surgrec_jax.evaluation.tasks import Task

_PACKAGES = ("jax", "flax", "numpy", "scikit-learn", "grain", "tensorflow-datasets")


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An encoder to probe: its column name and where it came from (text for the report)."""

    name: str
    encoder: Encoder
    checkpoint: str


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to probe; the fields of configs/probe.py of the same names."""

    heads: tuple[str, ...] = ("linear", "knn")
    seeds: int = 3
    init_seeds: int = 2
    clips_per_record: int = 2
    train_resample: str = "cases"
    resamples: int = 2000
    level: float = 0.95

    def __post_init__(self):
        unknown = [head for head in self.heads if head not in protocol.HEADS]
        if unknown or not self.heads:
            raise ValueError(f"heads {self.heads}: choose from {', '.join(protocol.HEADS)}")
        for field in ("seeds", "init_seeds", "clips_per_record", "resamples"):
            if getattr(self, field) < 1:
                raise ValueError(f"{field}={getattr(self, field)}: must be at least 1")
        if self.train_resample not in protocol.RESAMPLE:
            raise ValueError(
                f"train_resample={self.train_resample!r}: choose from {protocol.RESAMPLE}"
            )
        if not 0.5 <= self.level < 1:
            raise ValueError(f"level={self.level}: must be in [0.5, 1), for example 0.95")


@dataclasses.dataclass(frozen=True)
class _Model:
    """A column of the table.

    `encoders`: feature name -> function to features (several for random initialisations);
    `random`: name of the random column it is compared with; `facts`: for the results file.
    """

    name: str
    kind: str
    encoders: dict[str, Encode]
    random: str = ""
    facts: dict = dataclasses.field(default_factory=dict)

    def describe(self) -> dict:
        return {"name": self.name, "kind": self.kind, **self.facts}


def _models(group: Sequence[Candidate], init_seeds: int, suffix: str) -> list[_Model]:
    """Pixels, one random column per distinct architecture, then the candidates of one clip."""
    models = [_Model(f"pixels{suffix}", "pixels", {f"pixels{suffix}": baselines.pixels})]
    shapes: dict[object, list[Candidate]] = {}
    for candidate in group:
        shapes.setdefault(candidate.encoder.config, []).append(candidate)
    random_of = {}
    for alike in shapes.values():
        several = len(shapes) > 1 or suffix
        name = f"random like {alike[0].name}" if several else "random"
        drawn = {
            f"{name} {seed}": random_encoder(like=alike[0].encoder, seed=seed).features
            for seed in range(init_seeds)
        }
        models.append(_Model(name, "random", drawn, facts={"init_seeds": init_seeds}))
        random_of |= {candidate.name: name for candidate in alike}
    for one in group:
        frames, size, fps = one.encoder.clip
        facts = {
            "checkpoint": one.checkpoint,
            "encoder": one.encoder.name,
            "fingerprint": one.encoder.fingerprint,
            "width": one.encoder.width,
            "clip": {"frames": frames, "size": size, "fps": fps},
            "random": random_of[one.name],
        }
        models.append(
            _Model(
                one.name, "encoder", {one.name: one.encoder.features}, random_of[one.name], facts
            )
        )
    return models


def _identity(name: str, like: Encoder, encode: Encode) -> str:
    """What identifies features in the cache: weights and precision, or the baseline's settings."""
    if encode is baselines.pixels:
        return f"pixels {baselines.PIXEL_FRAMES} {baselines.PIXEL_SIZE}"
    encoder = encode.__self__
    return f"{encoder.fingerprint} {encoder.compute}"


def _extract(
    models: Sequence[_Model],
    like: Encoder,
    sources: Mapping[str, Source],
    settings: Settings,
    cache: str | os.PathLike | None,
) -> dict[str, dict[str, Features]]:
    """Split -> feature name -> Features of all models of one clip; pixels become their PCA."""
    frames, size, fps = like.clip
    clip = ClipSpec(frames=frames, fps=fps, size=size, crop="center", flip=False)
    encoders = {name: encode for model in models for name, encode in model.encoders.items()}
    identity = {name: _identity(name, like, encode) for name, encode in encoders.items()}
    view = {**dataclasses.asdict(clip), "clips_per_record": settings.clips_per_record}
    found = {}
    for split, source in sources.items():

        def batches(source=source, split=split) -> Iterator[dict]:
            total = math.ceil(len(source) * settings.clips_per_record / like.batch_size)
            return tqdm.tqdm(
                labelled_clips(source, clip, settings.clips_per_record, batch_size=like.batch_size),
                desc=f"features of {source.name}/{split}",
                total=total,
                disable=None,
            )

        found[split] = cached_extract(
            encoders, identity, batches, data=source.fingerprint, view=view, folder=cache
        )
    train = next(iter(sources))
    for model in models:
        if model.kind == "pixels":
            pca = baselines.fit_pca(found[train][model.name].features)
            for split in found:
                rows = found[split][model.name]
                found[split][model.name] = rows.with_features(pca(rows.features))
    return found


def _probe_task(
    task: Task,
    classes: Mapping[str, Sequence[str]],
    models: Sequence[_Model],
    found: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> tuple[dict, dict[str, np.ndarray]]:
    """One task, all models of one clip: its part of the results and its predictions."""
    any_features = {split: next(iter(named.values())) for split, named in found.items()}
    problem = protocol.build_problem(task, classes, any_features)
    labels, cases = problem.units(problem.test)
    predictions = {"labels": labels, "case_id": cases}
    heads: dict[str, dict] = {}
    for head in settings.heads:
        answers = {"majority": protocol.majority(problem)}
        for model in models:
            parts = [
                protocol.run_head(
                    head,
                    problem,
                    {split: found[split][name].features for split in task.splits},
                    seeds=range(settings.seeds),
                    resample=settings.train_resample,
                )
                for name in model.encoders
            ]
            answers[model.name] = functools.reduce(protocol.Answer.joined, parts)
            predictions[f"{head}/{model.name}"] = answers[model.name].scores.astype(np.float32)
        samples = {n: results.resample(problem, a, settings.resamples) for n, a in answers.items()}
        random_of = {model.name: samples.get(model.random) for model in models}
        heads[head] = {
            name: results.summarise(
                problem, answer, samples[name], random_of.get(name), settings.level
            )
            for name, answer in answers.items()
        }
    return {**results.describe_problem(problem), "heads": heads}, predictions


def probe(
    candidates: Sequence[Candidate],
    sources: Mapping[str, Source],
    tasks: Sequence[Task],
    settings: Settings,
    *,
    cache: str | os.PathLike | None = None,
) -> tuple[dict, dict[str, np.ndarray]]:
    """Probes encoders and their baselines on tasks of one source.

    Encoders with the same clip are compared on the same clips in one decoding pass. Those with
    another clip (frames, size, rate) have their own pixels and random columns.

    Args:
      candidates: the encoders; names must differ.
      sources: split -> source, the training split first.
      tasks: tasks of that source.
      settings: how.
      cache: folder of cached features, None = no cache.

    Returns:
      results (see results.py for the JSON) and predictions: "<task>/labels", "<task>/case_id" and
      "<task>/<head>/<model>" float32 [seeds, units, classes]; with several clips the key starts
      with "<frames>x<size>@<fps>/".

    Raises:
      LeakedSplitError, ValueError: a task cannot be asked; raised before any head is trained.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names) or not names:
        raise ValueError(f"encoders need different names, got {', '.join(names) or 'none'}")
    start = time.monotonic()
    groups: dict[tuple, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(tuple(candidate.encoder.clip), []).append(candidate)
    first = next(iter(sources.values()))
    classes = class_names(first)
    for task in tasks:
        task.classes(classes)
    described = [{"name": "majority", "kind": "majority"}]
    entries: dict[str, dict] = {}
    predictions = {}
    for clip, group in groups.items():
        label = "{}x{}@{:g}".format(*clip)
        models = _models(group, settings.init_seeds, f" {label}" if len(groups) > 1 else "")
        described += [model.describe() for model in models]
        found = _extract(models, group[0].encoder, sources, settings, cache)
        for task in tasks:
            entry, scores = _probe_task(task, classes, models, found, settings)
            if task.name not in entries:
                entries[task.name] = entry
            for head, columns in entry["heads"].items():
                entries[task.name]["heads"][head] |= columns
            prefix = f"{label}/{task.name}" if len(groups) > 1 else task.name
            predictions |= {f"{prefix}/{key}": value for key, value in scores.items()}
    order = {kind: i for i, kind in enumerate(("majority", "pixels", "random", "encoder"))}
    described.sort(key=lambda model: order[model["kind"]])  # stable: encoders keep their order
    notes = []
    if first.name.startswith("phantom"):
        notes.append("Phantom data, not clinical: procedurally drawn video, not surgery.")
    if len(groups) > 1:
        notes.append("Encoders with another clip are scored on their own clips of the same cases.")
    return {
        "version": results.VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - start, 1),
        "source": first.name,
        "data": {split: source.fingerprint for split, source in sources.items()},
        "protocol": dataclasses.asdict(settings),
        "environment": _environment(),
        "notes": notes,
        "models": described,
        "tasks": list(entries.values()),
    }, predictions


def _environment() -> dict[str, str]:
    versions = {name: metadata.version(name) for name in _PACKAGES}
    device = jax.devices()[0]
    return {"python": platform.python_version(), "device": device.device_kind, **versions}
