"""The benchmark as one self-contained HTML page: no script, nothing loaded from outside."""

import json
import pathlib
from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark.names import clip_text
from surgrec_jax.evaluation.benchmark.results import caption, not_scored
from surgrec_jax.evaluation.report.page import (
    apart,
    card,
    details,
    html_table,
    page,
    pairs,
    points,
)
from surgrec_jax.evaluation.report.results import (
    bars_of,
    colours,
    findings,
    interval_bar,
    models_first,
    score_cells,
    span,
    task_cell,
    verdict,
)
from surgrec_jax.evaluation.report.svg import escape
from surgrec_jax.evaluation.report.tasks import task_section
from surgrec_jax.evaluation.report.units import percent


def build(results: Mapping, frames: pathlib.Path) -> str:
    """The page of results made by `summarise.summarise`.

    Args:
        results: as plain data; all text in it is escaped here.
        frames: folder of the pictures that `details["hardest"]` names.
    """
    names, css = models_first(results["models"]), colours(results["models"])
    protocol = results["protocol"]
    body = [
        "<h1>Video encoders on surgical tasks</h1>",
        f"<p><b>{escape(verdicts(results))}</b></p>",
        f'<p class="soft">Protocol {escape(protocol["title"])}. Tasks: {len(results["tasks"])}, '
        f"data sets: {len({t['source'] for t in results['tasks']})}. "
        f"{escape(results['created'][:10])}.</p>",
        "".join(f'<p><span class="badge">{escape(note)}</span></p>' for note in results["notes"]),
        _findings(results),
        _domains(results, css),
        _tables(results, names, css),
        _not_scored(results),
        _overlap(results),
        _language(results, names),
        _pairs(results),
        "<h2>Task by task</h2>",
        _legend(results, css),
    ]
    for domain in dict.fromkeys(task["domain"] for task in results["tasks"]):
        chosen = [task for task in results["tasks"] if task["domain"] == domain]
        if len({task["domain"] for task in results["tasks"]}) > 1:
            body.append(f"<h2>{escape(domain.capitalize())}</h2>")
        body += [task_section(task, results, css, frames) for task in chosen]
    body.append(_made(results))
    return page("Benchmark of video encoders", "\n".join(part for part in body if part))


def verdicts(results: Mapping) -> str:
    """One sentence on top: on how many tasks each encoder is better than a random one."""
    said = []
    first = [next(iter(task["heads"].values())) for task in results["tasks"]]
    for name in (m["name"] for m in results["models"] if m["kind"] == "encoder"):
        entries = [row[name] for row in first if "minus_random" in row.get(name, {})]
        found = [verdict(entry) for entry in entries]
        if found:
            better, worse = found.count("better"), found.count("worse")
            shown = "" if better else "not shown to be "
            count = f"{better} of {len(found)} tasks" if better else f"any of {len(found)} tasks"
            count = count if len(found) > 1 else "the only task"
            said.append(f"{name} is {shown}better than a random encoder on {count}")
            said[-1] += f", and worse on {worse}" if worse else ""
    return f"{'; '.join(said)}." if said else ""


def _findings(results: Mapping) -> str:
    """The findings in words, whatever they are."""
    if not results["tasks"]:
        return "<p>No task could be scored.</p>"
    return points(findings(results, next(iter(results["tasks"][0]["heads"]))))


def _domains(results: Mapping, css: Mapping[str, str]) -> str:
    """Bars of the mean over the tasks of a domain, for the leading row."""
    if not results["domains"] or len(results["tasks"]) < 2:
        return ""
    first = next(iter(results["tasks"][0]["heads"]))
    panels = []
    several = len({task["domain"] for task in results["tasks"]}) > 1
    for entry in (e for e in results["domains"] if e["row"] == first):
        rows = [interval_bar(name, value, css[name]) for name, value in entry["columns"].items()]
        count = f"{entry['tasks']} task{'s' if entry['tasks'] > 1 else ''}"
        title = "all tasks" if entry["domain"] == "all" else entry["domain"]
        if entry["domain"] != "all" and not several:
            continue  # the same as all
        head = f'<h3>{escape(title)}</h3><span class="sub">mean of {count}</span>'
        panels.append(card(head + bars_of(rows)))
    return (
        f"<h2>{'By domain' if several else 'Over all tasks'}</h2>"
        f'<p class="soft small">{escape(first)} row. Mean of the headline scores, with the '
        "interval over the cases of every data set. Headline scores of different "
        "tasks are different measures: the mean orders columns, it is no accuracy. Where one of "
        "them is a rank correlation, a constant answer has none, and the majority no bar.</p>"
        f'<div class="fixed">{"".join(panels)}</div>'
    )


def _tables(results: Mapping, names: Sequence[str], css: Mapping[str, str]) -> str:
    parts = [f'<h2>All scores</h2><p class="soft">{escape(caption(results))}</p>']
    rows = list(dict.fromkeys(row for task in results["tasks"] for row in task["heads"]))
    several = len({task["source"] for task in results["tasks"]}) > 1
    for number, row in enumerate(rows):
        lines = []
        for task in results["tasks"]:
            entries = task["heads"].get(row)
            if entries is None:
                continue
            source = f'<span class="sub">{escape(task["source"])}</span>' if several else ""
            lines.append([source + task_cell(task), *score_cells(entries, names, css)])
        block = html_table([row, *names], lines)
        parts.append(apart(block) if number == 0 else details(row, card(block)))
    return "".join(parts)


def _not_scored(results: Mapping) -> str:
    """Everything that is missing, refused or failed; it is never a zero in a table."""
    parts = [f"<h3>{title}</h3>{points(lines)}" for title, lines in not_scored(results).items()]
    return f"<h2>Not scored</h2>{card(''.join(parts))}" if parts else ""


def _overlap(results: Mapping) -> str:
    """The encoders that were pretrained on test cases, and those that were not."""
    rows = []
    css = {"none": "good", "found": "bad", "possible": "bad"}
    for model, of_model in results["overlap"].items():
        for source, entry in of_model.items():
            status = entry["status"]
            chip = f'<span class="chip {css.get(status, "")}">{escape(status)}</span>'
            text = f'<span class="small" style="white-space:normal">{escape(entry["text"])}</span>'
            rows.append([escape(model), escape(source), chip, text])
    if not rows:
        return ""
    table = html_table(["model", "data set", "test cases in pretraining", ""], rows)
    return f"<h2>Pretraining and test cases</h2>{card(table)}"


def _language(results: Mapping, names: Sequence[str]) -> str:
    """Accuracy, spread over phrasings and unparseable answers of vision-language models."""
    rows = []
    for task in results["tasks"]:
        for name in (n for n in names if "vlm" in task.get("extra", {}).get(n, {})):
            facts, row = task["extra"][name]["vlm"], task["extra"][name]["row"]
            entry = task["heads"][row][name]
            leader = task["heads"][row].get(task["details"]["leader"])
            each = [percent(value) for value in entry["seeds"]]
            bad = [100 * share for share in facts["unparseable"]]
            quote = next(iter(facts["examples"]), "")
            quote = (
                f'<span class="sub">e.g. “{escape(clip_text(quote, 44))}”</span>' if quote else ""
            )
            gaps = f'<span class="sub">{facts["missing"]:d} without answer</span>'
            rows.append([
                f'<b>{escape(task["name"])}</b><span class="sub">{escape(task["source"])}, '
                f"{escape(task['metric'].replace('_', ' '))}</span>",
                escape(name),
                f"<b>{percent(entry['mean'])}</b>"
                f'<span class="sub">{span(entry["interval"])}</span>',
                f"{escape(', '.join(each))}",
                f"{min(bad):.1f} to {max(bad):.1f} %{quote}",
                f"{facts['units']:d} of {facts['total']:d}{gaps if facts['missing'] else ''}",
                "-" if leader is None else
                f"{percent(leader['mean'])}<span class='sub'>{escape(task['details']['leader'])}"
                "</span>",
            ])  # fmt: skip
    if not rows:
        return ""
    head = [
        *("task", "model", "score", "each phrasing", "unparseable", "asked"),
        "best probe",
    ]
    return (
        "<h2>Vision-language models</h2>"
        '<p class="soft">The same test units, asked in words; an answer that is not exactly what '
        "was asked for is an error. The score is the mean over phrasings.</p>"
        f"{card(html_table(head, rows))}"
    )


def _pairs(results: Mapping) -> str:
    """Encoders against each other."""
    rows = []
    for pair in results["pairs"]:
        if pair["value"] is None and "reason" not in pair:
            continue
        css = "soft"
        if pair.get("low") is not None and not pair["low"] <= 0 <= pair["high"]:
            css = "up" if pair["low"] > 0 else "down"
        rows.append([
            escape(f"{pair['source']}: {pair['task']}"),
            escape(pair["row"]),
            escape(f"{pair['first']} - {pair['second']}"),
            escape(pair["reason"]) if "reason" in pair else
            f'<span class="{css}">{percent(pair["value"], "+")}</span> {span(pair, "+")}',
        ])  # fmt: skip
    if not rows:
        return ""
    table = html_table(["task", "row", "difference", "points, paired interval over cases"], rows)
    return details("Encoders against each other (paired bootstrap)", card(table))


def _legend(results: Mapping, css: Mapping[str, str]) -> str:
    entries = "".join(
        f'<span class="{css[name]}">{escape(name)}</span>'
        for name in models_first(results["models"])
    )
    return f'<div class="legend">{entries}</div>'


def _made(results: Mapping) -> str:
    shown = {
        k: results[k]
        for k in ("created", "seconds", "protocol", "environment", "models", "data", "audit")
    }
    text = json.dumps(shown, indent=1, sort_keys=True)
    block = details("settings, versions, models, fingerprints", f"<pre>{escape(text)}</pre>")
    facts = pairs({"seconds": results["seconds"], **results["environment"]})
    return f"<h2>How it was made</h2>{card(facts + block)}"
