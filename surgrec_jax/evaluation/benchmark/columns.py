"""The columns of a table: encoders and the baselines of their shape; and their features."""

import dataclasses
import math
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tqdm

from surgrec_jax.data.loading.clips import clip_of
from surgrec_jax.evaluation.features import baselines
from surgrec_jax.evaluation.features.cache import cached_extract
from surgrec_jax.evaluation.features.clips import (
    crops_apart,
    labelled_clips,
    labelled_starts,
    spread_over_videos,
)
from surgrec_jax.evaluation.features.extraction import Encode, Features
from surgrec_jax.evaluation.heads.registry import HEADS
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.frozen.classifier import Classifier
from surgrec_jax.frozen.encoder import Encoder, random_encoder
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import ConfigError

TOKENS = " tokens"  # after a column's name: its tokens, beside its pooled features
PROBABILITIES = " probabilities"  # its classifier's, where it was fine-tuned
FINE_TUNED = "fine-tuned"  # the row of the table that classifiers stand in
KINDS = ("majority", "pixels", "random", "encoder", "vlm")  # in the order of the table


@dataclasses.dataclass(frozen=True)
class Candidate:
    """An encoder to compare.

    Attributes:
        name: of its column.
        checkpoint: where it came from, a text for the report.
        classifier: its own, where it was fine-tuned.
    """

    name: str
    encoder: Encoder
    checkpoint: str
    classifier: Classifier | None = None


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of the table.

    Attributes:
        kind: one of KINDS.
        encoders: feature name -> function to features (several for random initialisations).
        random: name of the random column it is compared with.
        facts: for the results file.
        classifier: of a fine-tuned encoder; answers the task it was trained on.
    """

    name: str
    kind: str
    encoders: dict[str, Encode] = dataclasses.field(default_factory=dict)
    random: str = ""
    facts: dict = dataclasses.field(default_factory=dict)
    classifier: Classifier | None = None

    def describe(self) -> dict:
        return {"name": self.name, "kind": self.kind, **self.facts}

    def identity(self) -> dict[str, str]:
        """Feature name -> a text that identifies what gives the features, besides the clips."""
        return {name: identity(encode) for name, encode in self.outputs().items()}

    def outputs(self, tokens: bool = False) -> dict[str, Encode]:
        """Feature name -> function: pooled features, tokens if wanted, class probabilities."""
        outputs = dict(self.encoders)
        if tokens and self.kind != "pixels":  # whose principal components are its token
            outputs |= {name + TOKENS: e.__self__.tokens for name, e in self.encoders.items()}
        if self.classifier:
            outputs[self.name + PROBABILITIES] = self.classifier.probabilities
        return outputs


@dataclasses.dataclass(frozen=True)
class Group:
    """Encoders that take the same clip, with the baselines of that clip.

    Attributes:
        like: one of the encoders.
        columns: majority first.
    """

    clip: tuple[int, int, float]
    like: Encoder
    columns: tuple[Column, ...]

    @property
    def label(self) -> str:
        return "{}x{}@{:g}".format(*self.clip)


MAJORITY = Column("majority", "majority")


def groups(candidates: Sequence[Candidate], settings: Settings) -> list[Group]:
    """The encoders by clip, each group with its own pixels and random columns.

    Raises:
        ConfigError: no encoder, two of one name, or one whose clip is not the one asked for.
    """
    names = [candidate.name for candidate in candidates]
    if len(set(names)) < len(names) or not names:
        raise ConfigError(f"encoders need different names, got {', '.join(names) or 'none'}")
    taken = sorted({"majority", "pixels", "random"} & set(names))
    if taken:
        raise ConfigError(f"the name {taken[0]!r} belongs to a baseline; give another as NAME=RUN")
    by_clip: dict[tuple, list[Candidate]] = {}
    for one in candidates:
        if settings.clip and tuple(one.encoder.clip) != tuple(settings.clip):
            one = _resized(one, settings)
        by_clip.setdefault(tuple(one.encoder.clip), []).append(one)
    made = []
    for clip, alike in by_clip.items():
        suffix = " {}x{}@{:g}".format(*clip) if len(by_clip) > 1 else ""
        columns = (MAJORITY, *_columns(alike, settings.init_seeds, suffix))
        made.append(Group(clip, alike[0].encoder, columns))
    return made


def _resized(one: Candidate, settings: Settings) -> Candidate:
    """A candidate for the clip asked for; raises ConfigError where it cannot be taken so."""
    if not settings.resize or one.classifier:
        remedy = "" if one.classifier else ", or resize positions by --config.resize=interpolate"
        raise ConfigError(
            "{} takes clips of {}x{}@{:g}, asked for are {}x{}@{:g}: leave `clip` empty to show "
            "every encoder clips of its own{}".format(
                one.name, *one.encoder.clip, *settings.clip, remedy
            )
        )
    encoder = one.encoder.resized(*settings.clip, settings.resize)
    return dataclasses.replace(one, encoder=encoder)


def ordered(groups: Sequence[Group]) -> list[Column]:
    """All columns of the groups in the order of the table, the majority once."""
    columns = {column.name: column for group in groups for column in group.columns}
    return sorted(columns.values(), key=lambda column: KINDS.index(column.kind))


def _columns(group: Sequence[Candidate], init_seeds: int, suffix: str) -> list[Column]:
    """Pixels, one random column per distinct architecture, then the candidates of one clip."""
    columns = [Column(f"pixels{suffix}", "pixels", {f"pixels{suffix}": baselines.pixels})]
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
        columns.append(Column(name, "random", drawn, facts={"init_seeds": init_seeds}))
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
        facts |= {key: one.encoder.meta[key] for key in ("resized",) if key in one.encoder.meta}
        encoders = {one.name: one.encoder.features}
        if one.classifier:
            facts["fine-tuned on"] = list(one.classifier.tracks)
        columns.append(
            Column(one.name, "encoder", encoders, random_of[one.name], facts, one.classifier)
        )
    return columns


def identity(encode: Encode) -> str:
    """A text that identifies features in the cache: weights and precision, or settings."""
    if encode is baselines.pixels:
        return f"pixels {baselines.PIXEL_FRAMES} {baselines.PIXEL_SIZE}"
    owner = encode.__self__  # an Encoder or a Classifier
    compute = getattr(owner, "encoder", owner).compute
    return f"{owner.fingerprint} {compute} {encode.__name__}"


def extract(
    group: Group,
    columns: Sequence[Column],
    sources: Mapping[str, Source],
    settings: Settings,
    cache: str | os.PathLike | None,
) -> dict[str, dict[str, Features]]:
    """Split -> feature name -> Features of columns of one clip; pixels become their PCA.

    Args:
        group: gives the clip.
        columns: those of its columns whose features are wanted.
        sources: split -> source, the training split first.
        cache: folder of cached features, None = no cache.
    """
    tokens = any(HEADS[head].tokens for head in settings.heads)
    outputs = {
        name: encode for column in columns for name, encode in column.outputs(tokens).items()
    }
    features = {}
    for split, source in sources.items():
        clips = _Clips(source, split, group, settings)
        features[split] = cached_extract(
            outputs,
            {name: identity(encode) for name, encode in outputs.items()},
            clips.batches,
            records=len(clips.records),
            data=source.fingerprint,
            view=clips.view,
            folder=cache,
            tokens=frozenset(name + TOKENS for column in columns for name in column.encoders),
        )
    train = next(iter(sources))
    for column in columns:
        if column.kind == "pixels" and not settings.folds:
            project_pixels(features, column.name, train)
    return features


class _Clips:
    """The clips of a split that a group of encoders is shown.

    Attributes:
        view: a JSON-able description of how the clips are cut.
        records: int [n], the records that give clips.
    """

    def __init__(self, source: Source, split: str, group: Group, settings: Settings):
        self.source, self.title = source, f"{source.name}/{split}"
        self.clip = clip_of(group.clip)
        self.crops, self.apart = settings.crops, settings.clips_per_video > 0
        self.batch_size, self.starts = max(1, group.like.batch_size // self.crops), None
        if self.apart:
            per = {"clips_per_video": settings.clips_per_video}
            self.records, self.counts = spread_over_videos(
                source, self.clip, settings.clips_per_video
            )
        elif not settings.clips_per_record:
            per = {"clips_per_record": 0}
            self.records, self.starts = labelled_starts(source, self.clip)
            self.counts = np.array([len(starts) for starts in self.starts])
        else:
            per = {"clips_per_record": settings.clips_per_record}
            self.records = np.arange(len(source))
            self.counts = np.full(len(source), settings.clips_per_record)
        self.view = {**dataclasses.asdict(self.clip), **per, "crops": self.crops}

    def batches(self, stretch: range) -> Iterator[dict]:
        """Batches of the clips of some of the records, under a progress bar."""
        here = slice(stretch.start, stretch.stop)
        batches = labelled_clips(
            self.source,
            self.clip,
            self.counts[here],
            crops=self.crops,
            batch_size=self.batch_size,
            records=self.records[here],
            starts=self.starts and self.starts[here],
        )
        if self.apart and self.crops > 1:
            batches = map(crops_apart, batches)
        return tqdm.tqdm(
            batches,
            desc=f"features of {self.title}, records {stretch.start}-{stretch.stop} of "
            f"{len(self.records)}",
            total=math.ceil(self.counts[here].sum() / self.batch_size),
            disable=None,
        )


def project_pixels(features: Mapping[str, dict[str, Features]], name: str, train: str) -> None:
    """Turns pixels, in place, into their principal components, fitted on the split `train`.

    As tokens they are one token a clip.
    """
    pca = baselines.fit_pca(features[train][name].features)
    for of_split in features.values():
        rows = of_split[name].with_features(pca(of_split[name].features))
        of_split[name] = rows
        of_split[name + TOKENS] = rows.with_features(rows.features[:, None])
