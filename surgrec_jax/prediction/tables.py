"""Predictions as tables of comma-separated values."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from surgrec_jax.prediction.answers import PRESENT, Answers, Segment


def predictions(
    answers: Answers,
    classes: Sequence[str],
    multi_label: bool,
    truth: np.ndarray | None = None,
) -> str:
    """A row per instant: time, class, the annotated one where there is any, and probabilities.

    Nine digits give a float32 back as it was. Of several that may apply, `class` has all of at
    least one half, with semicolons.
    """
    head = ["time", "class", *(["annotated"] if truth is not None else []), *classes]
    rows = []
    for i, (time, scores) in enumerate(zip(answers.times, answers.scores, strict=True)):
        leads = scores >= PRESENT if multi_label else np.arange(len(scores)) == scores.argmax()
        row = [f"{time:.3f}", _named(classes, leads)]
        if truth is not None:
            row.append(_named(classes, truth[i] == (1 if multi_label else np.arange(len(scores)))))
        rows.append([*row, *(f"{p:.9g}" for p in scores)])
    return _text(head, rows)


def _named(classes: Sequence[str], chosen: np.ndarray) -> str:
    return "; ".join(name for name, here in zip(classes, chosen, strict=True) if here)


def segments(found: Sequence[Segment], classes: Sequence[str]) -> str:
    """A row per segment: start and end in seconds, class, mean probability."""
    rows = [
        [f"{s.start:.3f}", f"{s.end:.3f}", classes[s.label], f"{s.confidence:.4f}"] for s in found
    ]
    return _text(["start", "end", "class", "confidence"], rows)


def _text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([head, *rows])
    return out.getvalue()
