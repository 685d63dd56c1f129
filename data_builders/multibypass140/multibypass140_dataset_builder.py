"""MultiBypass140: 140 gastric bypasses of two hospitals with phases and steps."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.common.labels.annotations import Ids, by_name, class_id, read_json
from data_builders.common.labels.from_tables import interval_track, presence_track
from data_builders.common.labels.tables import Row
from data_builders.common.labels.tracks import Intervals
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.multibypass140.classes import OVERLAYS, PHASES, STEPS
from data_builders.multibypass140.folds import CENTRES, FOLDS, PATTERN, SPLITS, fold_of
from surgrec_jax.records.errors import BadInput, BuildError

Spans = list[tuple[float, float, int, Row]]
PHASE_IDS = by_name(PHASES + OVERLAYS)
STEP_IDS = by_name([f"s{k}_{name}" for k, name in enumerate(STEPS)])


class Builder(VideoDatasetBuilder):
    """MultiBypass140: 140 gastric bypasses, 12 phases, 46 steps; split by the official fold 0."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the videos (BernBypass70/, StrasBypass70/) and the folder labels/ of "
        "https://github.com/CAMMA-public/MultiBypass140, with labels_by70 and labels_by70_splits."
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {
        "phase": PHASES,
        "step": STEPS,
        **dict.fromkeys(OVERLAYS, ("absent", "present")),
    }
    VIDEO_LABELS: ClassVar = {
        "centre": tuple(CENTRES.values()),
        **{f"fold_{fold}": SPLITS for fold in range(FOLDS)},
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"([BS]BP\d{2})\.mp4",
            annotations={"labels": r"labels_by70/([BS]BP\d{2})\.mp4\.json"},
            others={"lists": PATTERN},
        )
        centres = sorted({CENTRES[video[0]] for video in found["video"]})
        folds = [
            {k: v for centre in centres for k, v in fold_of(found["lists"], fold, centre).items()}
            for fold in range(FOLDS)
        ]
        items = []
        for video, path in found["video"].items():
            if not any(name[0] == video[0] for name in folds[0]):
                folder = f"labels/{CENTRES[video[0]]}/labels_by70_splits/labels"
                raise BuildError(
                    f"{self.name}: {folder} with the lists of fold 0 is missing (train/"
                    "1fps_100_0.pickle, val/1fps_0.pickle, test/1fps_0.pickle); it is in "
                    "https://github.com/CAMMA-public/MultiBypass140."
                )
            if video not in folds[0]:
                self.leave_out(path, f"{video} is in no list of fold 0")
                continue
            items.append(
                self.item(
                    video,
                    path,
                    folds[0][video],
                    labels=found["labels"].get(video),
                    folds=[fold.get(video) for fold in folds],
                )
            )
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        path = item.needed("labels", f"labels_by70/{item.video_id}.mp4.json")
        data = read_json(path)
        phases, steps = (
            _spans(path, data, "phases", PHASE_IDS),
            _spans(path, data, "steps", STEP_IDS),
        )
        end = max(end for _, end, _, _ in phases)
        tracks = {
            # Overlays lie over a phase, so that the phase goes on below them, as in the pickles.
            "phase": interval_track([span for span in phases if span[2] < len(PHASES)]),
            "step": interval_track(steps),
        }
        for k, name in enumerate(OVERLAYS, start=len(PHASES)):
            tracks[name] = _overlay([span[:2] for span in phases if span[2] == k], end)
        labels = {"centre": list(CENTRES).index(item.video_id[0])}
        for fold, split in enumerate(item.extra["folds"]):
            labels[f"fold_{fold}"] = -1 if split is None else SPLITS.index(split)
        return OpenedVideo(item.path, tracks, labels, extents=[Extent(path, end, whole=False)])


def _overlay(spans: list[tuple[float, float]], end: float) -> Intervals:
    """1 within the spans, 0 elsewhere up to `end`, where the annotation ends."""
    track = presence_track(spans)
    kept = track.starts < end
    return Intervals(track.starts[kept], np.minimum(track.ends[kept], end), track.values[kept])


def _spans(path: Path, data: object, key: str, ids: Ids) -> Spans:
    """The intervals under `key`, in seconds; on disk they are half-open, in milliseconds."""
    entries = data.get(key) if isinstance(data, dict) else None
    if not isinstance(entries, list) or not entries:
        raise BadInput(path, f"has no list {key!r} with intervals")
    spans = []
    for k, entry in enumerate(entries):
        row = Row(path, None, {})
        try:
            start, end = entry["start"], entry["end"]
            name, number = entry["label_name"], entry["label_id"]
        except (TypeError, KeyError):
            raise row.error(f"{key}[{k}] needs start, end, label_name and label_id") from None
        times = (start, end)
        if not all(type(t) in (int, float) and math.isfinite(t) and t >= 0 for t in times):
            raise row.error(f"{key}[{k}]: {start!r} to {end!r} are not milliseconds")
        if class_id(row, str(name), ids) != number:
            raise row.error(f"{key}[{k}]: {name!r} has label_id {number!r}, not its id")
        spans.append((start / 1000, end / 1000, number, row))
    return spans
