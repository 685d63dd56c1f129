"""Labelled clips of a prepared source, as the rest of this package takes them."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from surgrec_jax.data.loading.clips import (
    TIME_TOLERANCE,
    decode_clip,
    frame_indices,
    label_frames,
    num_starts,
    spread,
)
from surgrec_jax.data.loading.pipeline import TIMEOUT_S, ClipSpec, eval_clips
from surgrec_jax.records import storage
from surgrec_jax.records.source import DamagedRecordError, Source
from surgrec_jax.safety.errors import DataError

LAST = "@last"  # after a track's name: its label at the clip's last frame


def class_names(source: Source) -> dict[str, tuple[str, ...]]:
    """Label name -> class names of a source: tracks and per-video labels in one dict."""
    return {**source.tracks, **source.video_labels}


def repeated_share(
    source: Source, clip: ClipSpec, samples: int = 32, *, of_videos: bool = False
) -> float:
    """The share of the frames of clips that repeat the one before.

    They do where a clip has more frames per second than are stored, or is longer than the segments.

    Measured on the first and the last clip of `samples` records spread over the source; `of_videos`
    only where a video begins there: `spread_over_videos` avoids the short rest at its end.
    """
    shares = []
    for index in spread(len(source), samples):
        try:
            times = source.record(index).times
        except DamagedRecordError:
            continue  # whoever asks for its clips says so
        if of_videos and times[0] > 0:
            continue
        for start in (0, num_starts(times, clip) - 1):
            chosen = frame_indices(times, start, clip)
            shares.append((np.diff(chosen) == 0).sum() / clip.frames)
    return float(np.mean(shares)) if shares else 0.0


def enlarged_share(source: Source, clip: ClipSpec, samples: int = 32) -> float:
    """Share of records, of `samples` spread ones, whose stored frames are smaller than the clip."""
    one, small = dataclasses.replace(clip, frames=1), []
    for index in spread(len(source), samples):
        try:
            (frame,) = decode_clip(source, index, source.record(index), 0, one)
        except DamagedRecordError:
            continue  # whoever asks for its clips says so
        small.append(min(frame.shape[:2]) < clip.size)
    return float(np.mean(small)) if small else 0.0


def spread_over_videos(
    source: Source, clip: ClipSpec, clips_per_video: int
) -> tuple[np.ndarray, np.ndarray]:
    """Records [n], and how many clips [n] each gives, so that every video has equally many.

    They are spread from a video's beginning to its end, however many records it was cut into.

    Reads every record once, without decoding.
    """
    parts: dict[str, list[tuple[float, float, int]]] = {}
    for number in range(len(source)):
        record = storage.patiently(functools.partial(source.record, number), TIMEOUT_S)
        begin, end = record.times[[0, -1]].tolist()
        parts.setdefault(record.video_id, []).append((begin, end, number))
    counts = np.zeros(len(source), np.int64)
    for of_video in parts.values():
        begin, end, number = np.array(sorted(of_video)).T
        last = max(begin[0], end[-1] - (clip.frames - 1) / clip.fps)
        starts = np.linspace(begin[0], last, clips_per_video)
        place = np.searchsorted(begin, starts + TIME_TOLERANCE, side="right") - 1
        np.add.at(counts, number[place].astype(np.int64), 1)
    records = np.flatnonzero(counts)
    return records, counts[records]


def labelled_starts(source: Source, clip: ClipSpec) -> tuple[np.ndarray, list[np.ndarray]]:
    """Records [n], and the stored frames that clips of each begin at: all that meet a label.

    Such a clip has a label of any track at its centre or its last frame. Labels of whole videos do
    not count. Records without such a clip are left out.

    Reads every record once, without decoding.

    Raises:
        DataError: no clip of the source meets a label.
    """
    records, starts = [], []
    for number in range(len(source)):
        record = storage.patiently(functools.partial(source.record, number), TIMEOUT_S)
        known = np.zeros(len(record.times), bool)
        for ids in record.labels.values():
            known |= np.asarray(ids) >= 0
        at = [label_frames(record.times, clip, which) for which in ("centre", "last")]
        if len(found := np.flatnonzero(known[at[0]] | known[at[1]])):
            records.append(number)
            starts.append(found)
    if not records:
        raise DataError(
            f"{source.name}/{source.split}: no clip has a label by frame; clips_per_record=0 takes "
            "those that have one, 1 or more takes evenly spaced clips"
        )
    return np.array(records), starts


def crops_apart(batch: dict) -> dict:
    """A batch of `labelled_clips` with every crop as a clip of its own, side by side."""
    crops = batch["video"].shape[1]
    rows = jax.tree.map(lambda values: np.repeat(values, crops, 0), {**batch, "video": ()})
    view = rows["view"] * crops + np.tile(np.arange(crops), len(batch["view"]))
    return {**rows, "video": batch["video"].reshape(-1, *batch["video"].shape[2:]), "view": view}


def labelled_clips(
    source: Source, clip: ClipSpec, clips_per_record: int | Sequence[int] = 1, **options: Any
) -> Iterator[dict]:
    """Batches of `eval_clips` whose "labels" hold the label tracks and the per-video labels.

    A track is read at the clip's centre frame and, as "<track>@last", at its last one.

    Args:
        source, clip, clips_per_record, options: as for `eval_clips`: centre crop, evenly spaced
            clips, all records by default.
    """
    with eval_clips(source, clip, clips_per_record, **options) as batches:
        for batch in batches:
            last = {f"{track}{LAST}": ids for track, ids in batch["last_labels"].items()}
            labels = {**batch["labels"], **last}
            for name, ids in batch["video_labels"].items():
                # A label of the frame says more than one of the whole video by the same name.
                labels[name] = (
                    np.where(labels[name] >= 0, labels[name], ids) if name in labels else ids
                )
            yield {**batch, "labels": labels}
