"""One HTML page about a predicted video: ribbon, durations, key frames, where it was unsure."""

import base64
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from surgrec_jax.evaluation.metrics.classes import confusion_matrix, per_class
from surgrec_jax.evaluation.metrics.videos import segments as runs
from surgrec_jax.evaluation.report.page import card, details, html_table, page, pairs
from surgrec_jax.evaluation.report.svg import Curve, curves, escape
from surgrec_jax.evaluation.report.svg_tasks import class_legend, confusion, ribbons
from surgrec_jax.prediction.answers import PRESENT, UNSURE, Answers, Segment, unsure

COLUMNS = 500  # the most stretches that the ribbon of confidence is drawn in
MAX_CLASSES = 24  # a larger confusion matrix is not legible
KEY_FRAMES = 3
STRETCHES = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """What a page shows.

    Attributes:
        title: of the video.
        classes: names of the columns.
        multi_label: whether several may apply.
        answers: as the model gave them.
        smoothed: float64 [n, C].
        segments: of the smoothed scores.
        online: whether nothing of the future was seen.
        smoothing: its name.
        facts: name -> value, for the end of the page.
        notes: sentences that come first.
        truth: int64 [n] or [n, K], or None.
        calibration: facts of a kept head, or None.
        metrics: name -> (of the scores as they are, of the smoothed ones).
    """

    title: str
    classes: Sequence[str]
    multi_label: bool
    answers: Answers
    smoothed: np.ndarray
    segments: Sequence[Segment]
    online: bool
    smoothing: str
    facts: Mapping[str, object]
    notes: Sequence[str] = ()
    truth: np.ndarray | None = None
    calibration: Mapping | None = None
    metrics: Mapping[str, tuple[float | None, float | None]] = dataclasses.field(
        default_factory=dict
    )


def clock(seconds: float) -> str:
    """A time as a player shows it: 1:02:03, or 2:03."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def build(shown: Shown) -> str:
    """The page as text."""
    when = "nothing of the future is seen" if shown.online else "looking ahead"
    minutes = f"{clock(shown.answers.end)} of video, {len(shown.answers.times)} answers"
    notes = "".join(f'<p><span class="badge">{escape(note)}</span></p>' for note in shown.notes)
    body = (
        f"<h1>{escape(shown.title)}</h1>"
        f'<p class="soft">{escape(minutes)}; {when}; smoothing: {escape(shown.smoothing)}</p>'
        '<p class="soft small">Predictions of a research model: no medical device, and not for '
        f"decisions about a patient.</p>{notes}{_ribbons(shown)}{_durations(shown)}"
        f"{_unsure(shown)}{_scores(shown)}{_calibration(shown)}{_facts(shown)}"
    )
    return page(shown.title, body)


def _ribbons(shown: Shown) -> str:
    classes, end = shown.classes, shown.answers.end
    used = {segment.label for segment in shown.segments}
    truth, rows = [], {}
    if shown.multi_label:
        for k in sorted(used):
            own = [s for s in shown.segments if s.label == k]
            rows[classes[k]] = [[k, s.start, s.end, _opacity(s.confidence)] for s in own]
    else:
        rows["segments"] = [[s.label, s.start, s.end] for s in shown.segments]
        rows["confidence"] = _faint(shown)
        if shown.truth is not None:
            truth = spans_of(shown.truth, shown.answers.times, end)
            used |= {int(span[0]) for span in truth}
        used |= {span[0] for span in rows["confidence"]}
    if not any(rows.values()):
        return card("<p>No class is present anywhere.</p>")
    best = 100 * shown.smoothed.max(1)
    unit, scale = ("minutes", 60) if end > 300 else ("seconds", 1)
    times = shown.answers.times / scale
    line = curves([Curve("confidence, %", times, best, "m0")], width=1060, height=150)
    text = "Confidence row: the leading class at each instant, the fainter the less sure."
    below = "" if shown.multi_label else f'<span class="sub">{text}</span>'
    return card(
        class_legend(classes, sorted(used))
        + ribbons(truth, rows, classes)
        + below
        + f'<p class="small soft">Probability of the leading class, %, over {unit}</p>'
        + f'<div class="wide">{line}</div>'
    )


def _opacity(confidence: float) -> float:
    return 0.15 + 0.85 * min(max(confidence, 0.0), 1.0)


def _faint(shown: Shown) -> list[list[float]]:
    """The leading class of the scores as they are, in at most COLUMNS stretches or so."""
    times, scores = shown.answers.times, shown.answers.scores
    edges = np.append(times, max(shown.answers.end, times[-1]))
    cuts = np.unique(np.linspace(0, len(times), min(len(times), COLUMNS) + 1).astype(int))
    means = np.add.reduceat(scores.astype(np.float64), cuts[:-1]) / np.diff(cuts)[:, None]
    return [
        [int(mean.argmax()), float(edges[a]), float(edges[b]), _opacity(float(mean.max()))]
        for mean, a, b in zip(means, cuts[:-1], cuts[1:], strict=True)
    ]


def spans_of(labels: np.ndarray, times: np.ndarray, end: float) -> list[list[float]]:
    """[class, first second, last second] of every annotated stretch of labels [n]."""
    edges = np.append(times, max(end, times[-1]))
    return [
        [int(label), float(edges[first]), float(edges[last])]
        for label, first, last in zip(*runs(labels), strict=True)
        if label >= 0
    ]


def _durations(shown: Shown) -> str:
    """A row per class: how long, how often, how sure; with key frames under it."""
    total = max(shown.answers.end - shown.answers.times[0], 1e-9)
    quality = {}
    if shown.truth is not None and shown.truth.ndim == 1:
        quality = per_class(_confusion(shown))
    rows, frames = [], []
    order = dict.fromkeys(s.label for s in sorted(shown.segments, key=lambda s: s.start))
    for k in order:
        own = [s for s in shown.segments if s.label == k]
        length = sum(s.end - s.start for s in own)
        sure = sum((s.end - s.start) * s.confidence for s in own) / max(length, 1e-9)
        row = [
            f"<b>{escape(shown.classes[k])}</b>",
            clock(length),
            f"{100 * length / total:.0f} %",
            str(len(own)),
            clock(own[0].start),
            f"{100 * sure:.0f} %",
        ]
        row += [_percent(quality[key][k]) for key in ("precision", "recall") if quality]
        rows.append(row)
        frames.append(_key_frames(shown, k, own))
    head = ["class", "time", "share", "segments", "first at", "confidence"]
    head += ["precision", "recall"] if quality else []
    pictures = f'<div class="cases">{"".join(frames)}</div>'
    return (
        f"<h2>Durations</h2>{card(html_table(head, rows))}"
        f'<h2>Key frames</h2><p class="soft small">The surest instants of each class, in its '
        f"longest segments.</p>{card(pictures)}"
    )


def _confusion(shown: Shown) -> np.ndarray:
    """The counts [C, C] of annotated (rows) and predicted classes, of labels [n]."""
    known = shown.truth >= 0
    predicted = shown.smoothed[known].argmax(1)
    return confusion_matrix(shown.truth[known], predicted, len(shown.classes))


def _percent(value: float) -> str:
    return "-" if np.isnan(value) else f"{100 * value:.0f} %"


def _key_frames(shown: Shown, k: int, own: Sequence[Segment]) -> str:
    times, figures = shown.answers.times, []
    longest = sorted(own, key=lambda s: s.start - s.end)[:KEY_FRAMES]
    for segment in sorted(longest, key=lambda s: s.start):
        inside = np.flatnonzero((times >= segment.start) & (times < segment.end))
        inside = inside if len(inside) else np.array([len(times) - 1])
        best = int(inside[shown.smoothed[inside, k].argmax()])
        sure = f"{100 * shown.smoothed[best, k]:.0f} %"
        figures.append(_figure(shown, best, clock(times[best]), sure))
    name = escape(shown.classes[k])
    return (
        f'<div><p class="small"><b>{name}</b></p><div class="frames">{"".join(figures)}</div></div>'
    )


def _figure(shown: Shown, i: int, at: str, text: str) -> str:
    data = base64.b64encode(shown.answers.thumbnails[i]).decode()
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="">'
        f"<figcaption>{at}<br>{escape(text)}</figcaption></figure>"
    )


def _unsure(shown: Shown) -> str:
    times, flags = shown.answers.times, unsure(shown.smoothed, shown.multi_label)
    edges = np.append(times, max(shown.answers.end, times[-1]))
    found = [(first, last) for value, first, last in zip(*runs(flags), strict=True) if value]
    how = (
        f"a class has {100 * (PRESENT - UNSURE / 2):.0f} to {100 * (PRESENT + UNSURE / 2):.0f} %"
        if shown.multi_label
        else f"the leading class is less than {100 * UNSURE:.0f} points ahead of the next"
    )
    seconds = sum(edges[last] - edges[first] for first, last in found)
    share = 100 * seconds / max(edges[-1] - edges[0], 1e-9)
    text = (
        f'<p class="soft small">Where {how}: {clock(seconds)} in all, {share:.0f} % of the '
        "video.</p>"
    )
    longest = sorted(found, key=lambda s: edges[s[0]] - edges[s[1]])[:STRETCHES]
    cells = []
    for first, last in sorted(longest):
        mean = shown.smoothed[first:last].mean(0)
        two = np.argsort(-mean, kind="stable")[:2]
        said = ", ".join(f"{shown.classes[k]} {100 * mean[k]:.0f} %" for k in two)
        span = f"{clock(edges[first])} to {clock(edges[last])}"
        cells.append(_figure(shown, (first + last - 1) // 2, span, said))
    pictures = card(f'<div class="thumbs">{"".join(cells)}</div>') if cells else ""
    return f"<h2>Where the model was unsure</h2>{text}{pictures}"


def _scores(shown: Shown) -> str:
    if not shown.metrics:
        return ""
    rows = [
        [escape(name.replace("_", " ")), *(_metric(value) for value in values)]
        for name, values in shown.metrics.items()
        if values != (None, None)
    ]
    table = card(html_table(["metric, %", "as they are", "smoothed"], rows))
    matrix = ""
    if shown.truth.ndim == 1 and len(shown.classes) <= MAX_CLASSES:
        title = "Smoothed: rows annotated, columns predicted, % of the row"
        drawn = confusion(_confusion(shown).tolist(), shown.classes)
        matrix = card(f'<b class="small">{title}</b>{drawn}')
    return f'<h2>Beside the annotation</h2><div class="grid2">{table}{matrix}</div>'


def _metric(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _calibration(shown: Shown) -> str:
    """The reliability diagram of a kept head on its test cases."""
    if shown.calibration is None:
        return ""
    bins, error = shown.calibration["reliability"], shown.calibration["error"]
    percent = [[100 * value for value in bins[key]] for key in ("confidence", "accuracy")]
    drawn = curves(
        [Curve("perfect", [0, 100], [0, 100], "random"), Curve("test cases", *percent, "m0")],
        height=260,
    )
    text = (
        f"Test cases of {shown.calibration['source']}: how often an answer is right (up), by its "
        f"confidence (along), in percent. Temperature {shown.calibration['temperature']:.2f}; "
        f"expected calibration error {100 * error['after']:.1f} %, {100 * error['before']:.1f} % "
        "without it."
    )
    figure = f'<div style="max-width:420px">{drawn}</div>'
    return (
        f'<h2>How far confidence can be believed</h2><p class="soft small">{escape(text)}</p>'
        + (card(figure))
    )


def _facts(shown: Shown) -> str:
    return details("What was asked, and of what", pairs(dict(shown.facts)))
