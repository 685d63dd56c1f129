"""Tasks about label maps: the tokens of each column at the frames that have a map, its answers."""

import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from surgrec_jax.data.loading.clips import ClipSpec, clip_of
from surgrec_jax.data.loading.pipeline import clips_up_to
from surgrec_jax.evaluation.benchmark.columns import Column, Group, identity
from surgrec_jax.evaluation.features.cache import cached_extract
from surgrec_jax.evaluation.features.extraction import Encode, Features
from surgrec_jax.evaluation.features.maps import Maps, read_maps
from surgrec_jax.evaluation.heads.map_heads import MAP_HEADS
from surgrec_jax.evaluation.heads.rules import Settings
from surgrec_jax.evaluation.heads.run_head import Answer
from surgrec_jax.evaluation.heads.run_map_head import constant_map, run_map_head
from surgrec_jax.evaluation.tasks.labelled_maps import LabelledMaps, classes_of
from surgrec_jax.evaluation.tasks.task import RefusedTaskError, Task
from surgrec_jax.frozen.encoder import Encoder
from surgrec_jax.records.source import Source
from surgrec_jax.safety.errors import DataError

LEVELS = " levels"  # after a column's name: the tokens of several of its layers
PIXEL_GRID = 28  # side of the grid of colours and places, the tokens of the pixels column


def read(task: Task, sources: Mapping[str, Source], settings: Settings) -> dict[str, Maps]:
    """Split -> the maps of a task, at one size for all encoders.

    Raises:
        RefusedTaskError: a split has no such map, or whole encoders are to be trained.
    """
    if settings.rules.finetune:
        raise RefusedTaskError(
            f"task {task.name}: protocol {settings.protocol} does not train on label maps"
        )
    found = {}
    for split in task.splits:
        classes_of(task, sources[split].maps)
        maps = read_maps(sources[split], task.track, settings.map_side, settings.maps_per_record)
        if not len(maps):
            raise RefusedTaskError(
                f"task {task.name}: no frame of {task.source} in split {split} has a map "
                f"{task.track!r}"
            )
        found[split] = maps
    return found


def extract(
    group: Group,
    columns: Sequence[Column],
    sources: Mapping[str, Source],
    maps: Mapping[str, Maps],
    settings: Settings,
    cache: str | os.PathLike | None,
) -> dict[str, dict[str, Features]]:
    """Split -> feature name -> tokens [n, h w, D] of the frames that have a map.

    A frame is shown as the last one of a clip; an encoder's tokens are those of the last tubelet,
    and where a head takes them those of several layers [n, h w, levels D], by the name + LEVELS.
    """
    clip = clip_of(group.clip)
    kinds = {MAP_HEADS[head].levels for head in settings.map_heads}
    given = [one for column in columns for levels in kinds for one in _outputs(column, levels)]
    outputs = {name: encode for name, encode, _ in given}
    texts = {name: text for name, _, text in given}
    features = {}
    for split, of_split in maps.items():
        view = dataclasses.asdict(clip) | {"squeezed": True, "ends": _digest(of_split.ends)}
        features[split] = cached_extract(
            outputs,
            texts,
            functools.partial(_batches, sources[split], clip, of_split.ends, group.like.batch_size),
            records=len(of_split),
            data=sources[split].fingerprint,
            view=view,
            folder=cache,
            tokens=frozenset(outputs),
        )
    return features


def answer_maps(
    labelled: LabelledMaps,
    column: Column,
    features: Mapping[str, Mapping[str, Features]],
    settings: Settings,
) -> dict[str, Answer]:
    """Row of the table -> answer of a column.

    Raises:
        UserError: as `run_map_head`.
    """
    if column.kind == "vlm":
        raise DataError("a language model is not asked for maps")
    rows = settings.rows(labelled.task)
    if column.kind == "majority":
        return dict.fromkeys((row for row, _, _ in rows), constant_map(labelled))
    answers = {}
    for row, head, share in rows:
        parts = [
            run_map_head(
                head,
                labelled,
                {
                    split: features[split][_name(name, column, MAP_HEADS[head].levels)].features
                    for split in labelled.task.splits
                },
                _grid(encode),
                seeds=range(settings.seeds),
                resample=settings.train_resample,
                share=share,
            )
            for name, encode in column.encoders.items()
        ]
        answers[row] = functools.reduce(Answer.joined, parts)
    return answers


def last_tokens(encoder: Encoder, video: np.ndarray, levels: bool = False) -> np.ndarray:
    """Tokens of the last tubelet of clips, float32 [B, h w, D], or [B, h w, levels D] of levels."""
    _, h, w = encoder.config.grid
    return (encoder.levels if levels else encoder.tokens)(video)[:, -h * w :]


def colours_and_places(video: np.ndarray) -> np.ndarray:
    """Mean colours of a grid over the last frame, and their places: float32 [B, PIXEL_GRID^2, 5].

    Args:
        video: uint8 [B, T, H, W, 3].
    """
    size = PIXEL_GRID, PIXEL_GRID
    small = np.stack([cv2.resize(v, size, interpolation=cv2.INTER_AREA) for v in video[:, -1]])
    places = np.stack(np.mgrid[:PIXEL_GRID, :PIXEL_GRID], -1) / PIXEL_GRID
    places = np.broadcast_to(places, (len(video), *places.shape))
    tokens = np.concatenate([small / 255.0, places], -1).astype(np.float32)
    return tokens.reshape(len(video), -1, 5)


def _outputs(column: Column, levels: bool) -> Iterator[tuple[str, Encode, str]]:
    """Of each encoder of a column: name of its tokens, the function to them, what identifies it."""
    for name, encode in column.encoders.items():
        key = _name(name, column, levels)
        if column.kind == "pixels":
            yield key, colours_and_places, f"colours and places {PIXEL_GRID}"
        else:
            function = functools.partial(last_tokens, encode.__self__, levels=levels)
            what = "last tokens of levels" if levels else "last tokens"
            yield key, function, f"{identity(encode)}, {what}"


def _name(encoder: str, column: Column, levels: bool) -> str:
    """The name of an encoder's tokens; the pixels have no layers, so theirs are always the same."""
    return encoder + LEVELS if levels and column.kind != "pixels" else encoder


def _grid(encode: Encode) -> tuple[int, int]:
    """(h, w) of the tokens of a column's encoder."""
    owner = getattr(encode, "__self__", None)
    return owner.config.grid[1:] if isinstance(owner, Encoder) else (PIXEL_GRID, PIXEL_GRID)


def _batches(
    source: Source, clip: ClipSpec, ends: np.ndarray, batch_size: int, stretch: range
) -> Iterator[dict]:
    here = ends[stretch.start : stretch.stop]
    with clips_up_to(source, clip, here, batch_size=batch_size) as batches:
        yield from batches


def _digest(ends: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(ends).tobytes()).hexdigest()[:16]
