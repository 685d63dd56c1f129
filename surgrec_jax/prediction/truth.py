"""Annotations beside predictions: read as `video_folder` reads them, scored as evaluations score.

Which table names which video, which clock its times are on, and that no label goes beyond its
video, is decided by the builder's own code.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_builders.common.build.lengths import measure
from data_builders.common.labels.table_columns import TableOptions
from data_builders.common.labels.tracks import Intervals
from data_builders.common.video.container import DEFAULT, DecodeSpec
from data_builders.video_folder import extents
from data_builders.video_folder.folder import find_videos
from data_builders.video_folder.table import VideoRows, read_table
from surgrec_jax.evaluation.metrics import registry
from surgrec_jax.evaluation.tasks.own_tasks import PRESENCE
from surgrec_jax.prediction.answers import Answers
from surgrec_jax.prediction.model import Model
from surgrec_jax.records.errors import safe_text
from surgrec_jax.records.schema import UNLABELLED
from surgrec_jax.safety.errors import DataError


@dataclasses.dataclass(frozen=True)
class Truth:
    """The annotations of some videos, as the columns of a model.

    Attributes:
        rows: path of a video -> its rows.
        ids: track -> class name -> id: the model's column, or 1 and 0 for present and absent.
    """

    rows: Mapping[Path, VideoRows]
    ids: Mapping[str, Mapping[str, int]]
    several: bool

    def labels(self, path: Path, answers: Answers) -> np.ndarray | None:
        """Labels at the pictures that the answers are about: int64 [n], or [n, K] for several.

        -1 is unlabelled; None where nothing is said of the video.
        """
        rows = self.rows.get(path)
        if rows is None or not (set(self.ids) & {*rows.intervals, *rows.labels}):
            return None
        columns = [self._column(rows, track, answers) for track in self.ids]
        return np.stack(columns, 1) if self.several else columns[0]

    def said_of(self, path: Path) -> str:
        """A text that is equal exactly where the labels of a video are."""
        rows = self.rows.get(path)
        return repr(rows and (rows.labels, rows.intervals, rows.clocks, self.ids))

    def _column(self, rows: VideoRows, track: str, answers: Answers) -> np.ndarray:
        ids = self.ids[track]
        if track in rows.labels:
            return np.full(len(answers.times), ids[rows.labels[track]], np.int64)
        if not rows.intervals.get(track):
            return np.full(len(answers.times), UNLABELLED, np.int64)
        starts, ends, values, _ = zip(*rows.intervals[track], strict=True)
        spans = Intervals(starts, ends, [ids[v] for v in values], clock=rows.clocks[track])
        return spans.along(answers.shown.astype(np.float64), answers.numbers)


def read_truth(
    labels: Path,
    videos: Sequence[Path],
    model: Model,
    options: TableOptions,
    folder: Path | None = None,
    decode: DecodeSpec = DEFAULT,
) -> Truth:
    """Reads what a file of labels says of some videos.

    Args:
        labels: a table or an export of a labelling program, or a folder of them.
        videos: files, or folders of pictures.
        model: whose tracks and classes are looked for.
        options: how tables are read.
        folder: where the paths in the table start; None for the folder that all videos share.
        decode: of the builders' reader, for lengths.

    Raises:
        DataError: no label of these tracks, a class that the model does not know, or a video
            outside of the folder.
        BuildError: the file cannot be read, names no such video, or goes beyond one.
    """
    folder = (folder or _shared(videos)).resolve()
    names = {}
    for path in videos:
        if not path.resolve().is_relative_to(folder):
            raise DataError(f"{safe_text(path)} does not lie in --manual_dir {safe_text(folder)}")
        names[path] = path.resolve().relative_to(folder).as_posix()
    found = find_videos(folder, lambda path, why: None, decode.native_fps).videos
    known = {path.relative_to(folder).as_posix() for path in found} | set(names.values())
    table = read_table(labels, sorted(known), options)
    rows = {path: table.videos[name] for path, name in names.items() if name in table.videos}
    wanted = {
        track: {s.value for of in rows.values() for s in of.intervals.get(track, ())}
        | {of.labels[track] for of in rows.values() if track in of.labels}
        for track in model.tracks
    }
    if not any(wanted.values()):
        there = ", ".join(sorted({*table.tracks, *table.video_labels})) or "none"
        raise DataError(
            f"{safe_text(labels)} has no label {', '.join(model.tracks)} of these videos (labels "
            f"there: {there}); name the column as the model's training data did"
        )
    ids = {track: _ids(labels, track, values, model) for track, values in wanted.items()}
    timed = {
        names[path]: (dataclasses.replace(of, intervals=dict(of.intervals)), (path,))
        for path, of in rows.items()
        if of.intervals and path.exists()
    }
    extents.fit(timed, False, functools.partial(measure, decode_spec=decode))
    fitted = {
        path: timed[names[path]][0] if names[path] in timed else of for path, of in rows.items()
    }
    return Truth(fitted, ids, model.multi_label)


def _shared(videos: Sequence[Path]) -> Path:
    """The folder that holds all videos."""
    return Path(os.path.commonpath([path.resolve().parent for path in videos]))


def _ids(labels: Path, track: str, values: set[str], model: Model) -> dict[str, int]:
    if model.multi_label:
        for pair in PRESENCE:
            if {value.casefold() for value in values} <= set(pair):
                return {value: pair.index(value.casefold()) for value in values}
        raise DataError(
            f"{safe_text(labels)}: the values of {track} are {', '.join(sorted(values))}; absent "
            "and present are asked for"
        )
    unknown = sorted(values - set(model.classes))
    if unknown:
        raise DataError(
            f"{safe_text(labels)}: {track} {unknown[0]!r} is no class of the model, which knows "
            f"{', '.join(model.classes)}; write the classes as its training data did"
        )
    return {name: model.classes.index(name) for name in values}


def score(
    labels: np.ndarray, scores: np.ndarray, videos: np.ndarray, times: np.ndarray
) -> dict[str, float | None]:
    """Every metric of the evaluation that fits, over labelled instants; None where undefined.

    Args:
        labels: int [n], or [n, K]; -1 = unlabelled. scores: float [n, C].
        videos: text [n]. times: float [n], seconds.
    """
    several = labels.ndim == 2
    known = (labels >= 0).any(1) if several else labels >= 0
    if not known.any():
        return {}
    order = registry.Order(videos[known], times[known])
    values = {
        metric: float(registry.score(metric, labels[known], scores[known], order=order))
        for metric in registry.metrics_for(several, along_video=not several)
    }
    return {name: None if np.isnan(value) else value for name, value in values.items()}
