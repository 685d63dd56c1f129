"""Predicts one video after another into a folder; what is done stays done."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.frames import ReadReport
from surgrec_jax.prediction import overlay, page, tables, truth
from surgrec_jax.prediction.answers import Answers, Smoothing, answer_video, segments_of
from surgrec_jax.prediction.model import Model
from surgrec_jax.records.errors import BadInput
from surgrec_jax.safety import files, untrusted
from surgrec_jax.safety.errors import DataError

VERSION = 1  # raise when the meaning of what is written changes
DONE = "prediction.json"  # is written last, and makes a video done


@dataclasses.dataclass(frozen=True)
class Job:
    """How videos are predicted.

    Attributes:
        rate: answers per second.
        out: the folder of the answers, one folder per video in it.
        annotated: annotations to show and score beside, or None.
        checkpoint: where the model came from, a text for the page.
        overlay: whether a copy of each video with its answers is written, see `overlay`.
    """

    model: Model
    rate: float
    smoothing: Smoothing
    decode: DecodeSpec
    out: Path
    annotated: truth.Truth | None = None
    checkpoint: str = ""
    overlay: bool = False

    def predict(self, path: Path, name: str) -> str:
        """Writes what is asked of a video, unless it is there; returns a line about it.

        Raises:
            BadInput: the video cannot be read.
            OSError: the answers cannot be written.
        """
        line, film = self._answer(path, name), self.out / name / overlay.NAME
        if self.overlay and not film.is_file():
            told = overlay.read_tables(film.parent, self.model.classes)
            overlay.write(film, path, told, self.decode)
        return line

    def _answer(self, path: Path, name: str) -> str:
        """Writes the answers to a video, unless they are there; returns a line about them."""
        folder = self.out / name
        key = self._key(path)
        if (before := _done(folder, key)) is not None:
            return f"{before}, kept"
        report = ReadReport()
        answers = answer_video(path, self.model, self.rate, report, self.decode)
        labels = None if self.annotated is None else self.annotated.labels(path, answers)
        smoothed = self.smoothing(answers.times, answers.scores)
        found = segments_of(answers.times, smoothed, answers.end, self.model.multi_label)
        metrics = _metrics(labels, answers, smoothed, name)
        notes = [*report.problems, *_short(report, self.model)]
        notes += _far(answers, self.model)
        if self.annotated is not None and labels is None:
            notes.append("no label of it in the given annotations")
        for old in (DONE, overlay.NAME):
            (folder / old).unlink(missing_ok=True)
        classes, several = self.model.classes, self.model.multi_label
        rows = tables.predictions(answers, classes, several, labels)
        files.write_text(folder / "predictions.csv", rows)
        files.write_text(folder / "segments.csv", tables.segments(found, classes))
        shown = page.Shown(
            title=name,
            classes=classes,
            multi_label=several,
            answers=answers,
            smoothed=smoothed,
            segments=found,
            online=self.model.online and self.smoothing.online,
            smoothing=str(self.smoothing),
            facts=self._facts(report),
            notes=notes,
            truth=labels,
            metrics=metrics,
            calibration=None if self.model.head is None else self.model.head.facts,
        )
        files.write_text(folder / "index.html", page.build(shown))
        line = (
            f"{name}: {page.clock(answers.end)} of video, {len(answers.times)} answers, "
            f"{len(found)} segments in {folder / 'index.html'}"
        )
        if "top1" in metrics:
            line += f"; {100 * metrics['top1'][1]:.1f} % right"
        done = {"version": VERSION, "key": key, "line": line, "notes": notes, "metrics": metrics}
        files.write_json(folder / DONE, done)
        return "".join([line, *(f"\n  {note}" for note in notes)])

    def _key(self, path: Path) -> dict[str, Any]:
        """All that the answers to a video depend on, as JSON values."""
        key = {
            "version": VERSION,
            "file": _identity(path),
            "model": self.model.fingerprint,
            "storing": dataclasses.asdict(self.model.storing),
            "rate": self.rate,
            "smoothing": dataclasses.asdict(self.smoothing),
            "decode": dataclasses.asdict(self.decode),
            "annotated": None if self.annotated is None else self.annotated.said_of(path),
        }
        return json.loads(json.dumps(key))

    def _facts(self, report: ReadReport) -> dict[str, object]:
        clip, record = self.model.clip, self.model.storing.record
        return {
            "model": self.model.name,
            "checkpoint": self.checkpoint,
            "fingerprint": self.model.fingerprint,
            "clip": f"{clip.frames} frames of {clip.size} pixels, {clip.fps:g} a second",
            "label learnt": f"{', '.join(self.model.tracks)}, of a clip's {self.model.frame} frame",
            "answers": f"{self.rate:g} a second",
            "stored as": f"at most {record.fps:g} pictures a second, short side "
            f"{record.short_side}, JPEG quality {record.jpeg_quality}",
            "video": f"{report.native_width} x {report.native_height}, "
            f"{report.native_fps:.4g} frames a second, {report.frames_read} decoded",
            "notes of the reader": "; ".join(report.notes) or "none",
        }


def _identity(path: Path) -> list:
    """The name, size and time of change of a file, or of all files of a folder.

    Raises:
        BadInput: there is no such file.
    """
    try:
        files_in = sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]
        return [[p.name, (s := p.stat()).st_size, s.st_mtime_ns] for p in files_in]
    except OSError as error:
        raise BadInput(path, f"cannot be read: {error.strerror}") from error


def _done(folder: Path, key: dict[str, Any]) -> str | None:
    """The line of a video that is done for this key; None where it is to be predicted."""
    written = (folder / name for name in (DONE, "predictions.csv", "segments.csv", "index.html"))
    if not all(path.is_file() for path in written):
        return None
    try:
        stored = untrusted.read_json(folder / DONE)
    except DataError:  # it is written anew
        return None
    return str(stored.get("line", "")) if stored.get("key") == key else None


def _short(report: ReadReport, model: Model) -> list[str]:
    """A sentence for a video that is shorter than a clip."""
    span = (model.clip.frames - 1) / model.clip.fps
    if report.duration >= span:
        return []
    return [
        f"the video is {report.duration:.2f} s long, shorter than the model's clip of "
        f"{span:.2f} s: its last picture is repeated"
    ]


def _far(answers: Answers, model: Model) -> list[str]:
    """A sentence for a video that is far from what the head was trained on."""
    if model.head is None or not model.head.near.far_off(answers.distance):
        return []
    near = model.head.near
    helped = (
        f" (if they are like its training cases too; {near.validation_cases} validation cases "
        f"alone vouch for {100 * near.rate_of_validation:.0f} %)"
    )
    return [
        f"it lies far from all that the model was trained on ({model.head.facts['source']}): its "
        f"answers mean little, however certain; at most {100 * near.rate:.0f} % of that data set's "
        f"own videos would be called far{helped if near.training_cases else ''}"
    ]


def _metrics(
    labels: np.ndarray | None, answers: Answers, smoothed: np.ndarray, name: str
) -> dict[str, tuple[float | None, float | None]]:
    """Metric -> (of the scores as they are, of the smoothed ones); {} without annotation."""
    if labels is None:
        return {}
    videos = np.full(len(answers.times), name)
    plain, smooth = (
        truth.score(labels, scores, videos, answers.times) for scores in (answers.scores, smoothed)
    )
    return {metric: (plain[metric], smooth[metric]) for metric in plain}
