"""The report's part about one task: bars, audit, confusion, ribbons, hardest cases, all metrics."""

import pathlib
from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark.columns import FINE_TUNED
from surgrec_jax.evaluation.report.frames import data_uri
from surgrec_jax.evaluation.report.overlays import legend
from surgrec_jax.evaluation.report.page import apart, card, html_table
from surgrec_jax.evaluation.report.results import (
    bars_of,
    label_measures,
    metric_rows,
    models_first,
    score_bar,
    task_details,
)
from surgrec_jax.evaluation.report.svg import escape
from surgrec_jax.evaluation.report.svg_tasks import along, class_legend, confusion, ribbons
from surgrec_jax.evaluation.report.units import (
    classes_in_words,
    clips,
    of_depths,
    percent,
)


def task_section(
    task: Mapping, results: Mapping, css: Mapping[str, str], frames: pathlib.Path
) -> str:
    """All about one task as HTML."""
    names, order = models_first(results["models"]), along_videos(task)
    title = f"{task['source']}: {task['name']}"
    test = task["counts"]["test"]
    about = (
        f"{task['metric'].replace('_', ' ')}, unit {task['unit']}; {classes_in_words(task)}; "
        f"test: {test['cases']:d} cases, {test['videos']:d} videos, {test['clips']:d} "
        f"{clips(task)}; "
        f"training: {task['counts']['train']['cases']:d} cases"
    )
    return (
        f'<section><h3>{escape(title)}</h3><span class="sub">{escape(about)}</span>'
        f"{_chips(task, results)}"
        f'<div class="grid2">{_bars(task, names, css)}{_confusion(task, order)}</div>'
        f"{_ribbons(task, order, names)}{_hardest(task, frames)}"
        f"{task_details(task, names)}</section>"
    )


def _chips(task: Mapping, results: Mapping) -> str:
    """The audit's verdict, and what was left out, as small labels."""
    chips = []
    verdict = results["audit"].get(task["source"], {})
    if "failed" in verdict:
        chips.append(("bad", f"audit failed: {verdict['failed']}"))
    findings = verdict.get("findings", [])
    track = task["track"].rstrip("*")
    for finding in findings:
        label, colon, _ = finding["text"].partition(":")
        if finding["rule"] == "unseen_classes" and colon and not label.startswith(track):
            continue  # about another label of the data set
        chips.append(("bad", f"{finding['rule'].replace('_', ' ')}: {finding['text']}"))
    if verdict and not chips:
        chips.append(("good", "audit: no rule broken"))
    chips += [("bad", f"splits leak: {text}") for text in task["leaks"]]
    if task["unseen_test_classes"]:
        unseen = ", ".join(task["unseen_test_classes"])
        chips.append(
            ("bad", f"classes of test without a training example, kept as errors: {unseen}")
        )
    for role, counts in task["counts"].items():
        if counts["unlabelled_clips"]:
            text = f"{role}: {counts['unlabelled_clips']:d} clips without label left out"
            if counts["unlabelled_videos"]:
                text += f", {counts['unlabelled_videos']:d} videos wholly"
            chips.append(("", text))
    return "<div>" + "".join(
        f'<span class="chip {css}">{escape(text)}</span>' for css, text in chips
    ) + "</div>"  # fmt: skip


def _bars(task: Mapping, names, css: Mapping[str, str]) -> str:
    row, entries = next(iter(task["heads"].items()))
    drawn = [score_bar(name, entries[name], css[name]) for name in names if name in entries]
    metric = escape(task["metric"].replace("_", " "))
    text = "Whiskers: interval over test cases. Dots: seeds. Dashed: majority class."
    return card(
        f'<b class="small">{escape(row)}, {metric}</b>{bars_of(drawn)}'
        f'<span class="sub">{text}</span>'
    )


def along_videos(task: Mapping) -> list[int]:
    """The classes of a task in their order along its annotated videos, then the others."""
    seen = along([entry["truth"] for entry in task["details"]["ribbons"] if entry["truth"]])
    return [*seen, *(k for k in range(len(task["classes"])) if k not in seen)]


def _confusion(task: Mapping, order: Sequence[int]) -> str:
    matrices, leader = task["details"]["confusion"], task["details"]["leader"]
    if leader not in matrices:
        return _per_label(task)
    columns = [*order, *range(len(order), len(matrices[leader][0]))]  # no answer comes last
    counts = [[matrices[leader][i][j] for j in columns] for i in order]
    return card(
        f'<b class="small">{escape(leader)}: rows true, columns predicted, % of the row</b>'
        f"{confusion(counts, [task['classes'][k] for k in order])}"
    )


def _per_label(task: Mapping) -> str:
    """The scores of each label by itself, where several may apply or a map has them."""
    row, leader = task["details"]["row"], task["details"]["leader"]
    if of_depths(task):
        return _errors(task["heads"][row], leader)
    per_class = task["heads"][row][leader]["per_class"]
    measures = label_measures(task)
    ranked = sorted(per_class.items(), key=lambda item: -item[1]["support"])[:16]
    rows = [
        [
            escape(name),
            f"{of_class['support']:d}",
            *("-" if of_class[m] is None else percent(of_class[m]) for m in measures),
        ]
        for name, of_class in ranked
    ]
    head = [leader, f"test {clips(task)}", *(measure.replace("_", " ") for measure in measures)]
    return card(html_table(head, rows))


def _errors(entries: Mapping, leader: str) -> str:
    """The errors of depths of the leader, beside those of the same depth everywhere."""
    names = [leader, *(name for name in ("majority",) if name in entries and name != leader)]
    return card(html_table(["", *names], metric_rows(entries, names)))


def _ribbons(task: Mapping, order: Sequence[int], names: Sequence[str]) -> str:
    entries = task["details"]["ribbons"]
    if not entries:
        return ""
    used, drawn = [], []
    for entry in entries:
        used += [int(s[0]) for row in (entry["truth"], *entry["predictions"].values()) for s in row]
        title = (
            f"{entry['video']} ({task['details']['leader']}: {percent(entry['accuracy'])} % right)"
        )
        given = entry["predictions"]
        rows = {n: given[n] for n in sorted(given, key=lambda n: _place(n, names))}
        rows.pop("majority", None)  # one colour throughout
        chart = ribbons(entry["truth"], rows, task["classes"], order)
        drawn.append(f'<p class="small soft">{escape(title)}</p>{chart}')
    return apart(
        f'<b class="small">Along test videos, from the worst to the best of '
        f"{escape(task['details']['leader'])}, first seed</b>"
        + class_legend(task["classes"], used, order)
        + "".join(drawn)
    )


def _place(row: str, names: Sequence[str]) -> int:
    """The place of a ribbon: that of its column, also of the column's own classifier."""
    return next(i for i, n in enumerate(names) if row in (n, f"{n}, {FINE_TUNED}"))


def _hardest(task: Mapping, frames: pathlib.Path) -> str:
    cases, pixels = task["details"]["hardest"], task["unit"] == "pixel"
    if not cases:
        return ""
    parts = []
    for case in cases:
        figures = [_figure(example, frames) for example in case["examples"]]
        of = f"{case['units']:d} frames" if pixels else f"{case['units']:d}"
        parts.append(
            f'<div><p class="small"><b>{escape(case["case"])}</b> '
            f'<span class="soft">error {percent(case["error"])} % of {of}</span></p>'
            f'<div class="frames{" maps" * pixels}">{"".join(figures)}</div></div>'
        )
    leader, about = escape(task["details"]["leader"]), ""
    title = f"Hardest test cases of {leader}, its surest errors"
    if pixels:
        title = (
            f"Hardest test cases of {leader}: the picture, the truth over it, the answer over it"
        )
        about = legend(None if of_depths(task) else task["classes"])
    return apart(f'<b class="small">{title}</b>{about}<div class="cases">{"".join(parts)}</div>')


def _figure(example: Mapping, frames: pathlib.Path) -> str:
    """An example: its picture where there is one, what is true of it, and the answer."""
    uri = data_uri(frames, example.get("frame"))
    image = f'<img src="{uri}" alt="">' if uri else ""
    at = "" if example["time"] is None else f" at {example['time']:.0f} s"
    far = f" to {example['farthest_mm']:.0f} mm" if "farthest_mm" in example else ""
    return (
        f"<figure>{image}<figcaption>{escape(example['video'])}{at}<br>true: "
        f"<b>{escape(example['truth'])}</b>{far}<br>answer: {escape(example['answer'])}"
        "</figcaption></figure>"
    )
