"""The report's part about probe results: table, findings in words, bars with intervals, details."""

from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark.results import caption
from surgrec_jax.evaluation.heads.rules import RULES
from surgrec_jax.evaluation.metrics import bootstrap
from surgrec_jax.evaluation.report.page import apart, card, details, html_table, points
from surgrec_jax.evaluation.report.svg import Bar, bars, escape
from surgrec_jax.evaluation.report.units import (
    classes_in_words,
    clips,
    multi_label,
    percent,
    with_unit,
)

NARROW = 0.05  # half-width of an interval that shows something by holding 0
MODEL_COLOURS = 6  # classes m0..m5 of the page's style
_HYPER = {"linear": "chosen L2", "ridge": "chosen L2", "knn": "chosen k"}


def colours(models: Sequence[Mapping]) -> dict[str, str]:
    """The CSS class of each model of a results file; encoders are numbered, baselines named."""
    encoders = [model["name"] for model in models if model["kind"] == "encoder"]
    return {
        m["name"]: m["kind"] if m["kind"] in ("majority", "pixels", "random", "vlm")
        else f"m{encoders.index(m['name']) % MODEL_COLOURS}"
        for m in models
    }  # fmt: skip


BASELINES = ("majority", "pixels", "random")


def models_first(models: Sequence[Mapping]) -> list[str]:
    """The names of a results file's columns, encoders before baselines."""
    return [m["name"] for m in sorted(models, key=lambda m: m["kind"] in BASELINES)]


def bars_of(rows: Sequence[Bar]) -> str:
    """Bars of the models, with the baselines as one band behind them, and what the band is."""
    behind = [row for row in rows if row.css in BASELINES]
    models = [row for row in rows if row.css not in BASELINES]
    if not models:  # nothing for the band to stand behind
        models, behind = behind, []
    floor = next((row.value for row in rows if row.css == "majority"), None)
    named = ", ".join(f"{row.label} {_in_hundred(row.value)}" for row in behind)
    band = f'<span class="sub">Band: {escape(named)}.</span>' if named else ""
    return bars(models, floor, behind=behind) + band


def _in_hundred(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.1f} %"


def metric_name(task: Mapping) -> str:
    return escape(task["metric"].replace("_", " "))


def label_measures(task: Mapping) -> tuple[str, ...]:
    """What a class of a task is scored by."""
    if task["unit"] == "pixel":
        return "dice", "iou", "nsd"
    return ("average_precision",) if multi_label(task) else ("recall",)


def span(interval: Mapping, sign: str = "") -> str:
    if interval["low"] is None:
        return "no interval: fewer than 2 cases"
    return f"[{percent(interval['low'], sign)}, {percent(interval['high'], sign)}]"


def verdict(entry: Mapping) -> str:
    """The paired difference to random: "better", "worse", or "open" where its interval holds 0."""
    difference = entry["minus_random"]
    if difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return "open"
    return "better" if difference["low"] > 0 else "worse"


def small_test(task: Mapping, difference: Mapping, level: float) -> str:
    """What a test that is too small to tell needs; empty where its interval is narrow enough."""
    if difference["low"] is None:
        return f"{task['counts']['test']['cases']} test cases, which are too few for an interval"
    interval = bootstrap.Interval(**difference)
    if interval.high - interval.low <= 2 * NARROW:
        return ""
    return (
        f"{interval.cases} test cases, ±{percent(NARROW)} needs about "
        f"{bootstrap.cases_needed(interval, NARROW, level)}"
    )


def findings(results: Mapping, head: str) -> list[str]:
    """One plain sentence per encoder: its difference to random on each task, whatever it is."""
    sentences = []
    level = results["protocol"]["level"]
    words = {
        "better": "better than random initialisation on",
        "worse": "worse than random initialisation on",
        "open": "no difference shown on",
        "small": "the test is too small to tell on",
        "undefined": "score undefined on",
    }
    several = len({task["source"] for task in results["tasks"]}) > 1
    for model in results["models"]:
        if model["kind"] != "encoder":
            continue
        groups: dict[str, list[str]] = {key: [] for key in words}
        for task in results["tasks"]:
            entry = task["heads"].get(head, {}).get(model["name"])
            if entry is None or "minus_random" not in entry:
                continue  # not measured: the report says so elsewhere
            difference = entry["minus_random"]
            title = f"{task['source']}: {task['name']}" if several else task["name"]
            if difference["value"] is None:
                groups["undefined"].append(title)
                continue
            text = f"{title} ({percent(difference['value'], '+')} {span(difference, '+')}"
            if entry["std"] is not None and abs(difference["value"]) <= entry["std"]:
                text += ", within the seeds' spread"
            found = verdict(entry)
            if found == "open" and (needs := small_test(task, difference, level)):
                found, text = "small", f"{text}; {needs}"
            groups[found].append(text + ")")
        parts = [f"{words[key]} {', '.join(titles)}" for key, titles in groups.items() if titles]
        if parts:
            sentences.append(f"{model['name']}: {'; '.join(parts)}.")
    return sentences


def in_words(results: Mapping) -> str:
    """One sentence for a reader without statistics: what each encoder has learnt, by the table."""
    clauses = []
    for model in results["models"]:
        told: dict[str, list[str]] = {"better": [], "worse": [], "open": []}
        for task in results["tasks"]:
            entry = next(iter(task["heads"].values())).get(model["name"], {})
            if entry.get("minus_random", {}).get("value") is not None:
                told[verdict(entry)].append(task["name"])
        before = "it" if told["better"] else "the same network before training"
        words = {
            "better": "tells {} better than the same network before training",
            "worse": f"tells {{}} worse than {before}",
            "open": f"cannot be told from {before} on {{}}",
        }
        said = [words[key].format(_listed(names)) for key, names in told.items() if names]
        if said:
            clauses.append(f"{model['name']} {_listed(said)}")
    cases = [task["counts"]["test"]["cases"] for task in results["tasks"]]
    return f"On {max(cases)} test cases {'; '.join(clauses)}." if clauses else ""


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def score_cells(entries: Mapping[str, Mapping], names: Sequence[str], css: Mapping) -> list[str]:
    """The cells of a row of the table: scores with intervals, and the majority's as chance."""
    chance = next((entries[n]["mean"] for n in entries if css[n] == "majority"), None)
    return [_score_cell(entries[n], css[n], chance) if n in entries else "-" for n in names]


def _score_cell(entry: Mapping, css: str, chance: float | None) -> str:
    spread = "" if entry["std"] is None else f" ± {percent(entry['std'])}"
    cell = f"<b>{percent(entry['mean'], unit=' %')}</b>{spread}"
    if entry["mean"] is not None and css != "majority":
        at = "" if chance is None else f'<i style="left:{100 * chance:.1f}%" title="chance"></i>'
        filled = f'<b style="width:{100 * max(entry["mean"], 0):.1f}%"></b>'
        cell += f'<span class="meter {css}">{filled}{at}</span>'
    cell += f'<span class="sub">{span(entry["interval"])}</span>'
    difference = entry.get("minus_random")
    if difference is not None and difference["value"] is not None:
        css = {"better": "up", "worse": "down", "open": "soft"}[verdict(entry)]
        cell += (
            f'<span class="sub"><span class="{css}">{percent(difference["value"], "+")}</span> to '
            "random "
            f"{span(difference, '+')}</span>"
        )
    return cell


def task_cell(task: Mapping) -> str:
    test = task["counts"]["test"]
    cell = (
        f'<b>{escape(task["name"])}</b><span class="sub">{metric_name(task)}, '
        f"{classes_in_words(task)}<br>"
        f"{test['cases']:d} test cases, {test['videos']:d} videos, {test['clips']:d} "
        f"{clips(task)}</span>"
    )
    if task["unseen_test_classes"]:
        unseen = escape(", ".join(task["unseen_test_classes"]))
        cell += f'<span class="sub down">not in training: {unseen}</span>'
    return cell


def results_section(results: Mapping) -> str:
    """The table, what it says in words, bars with intervals, and details per task."""
    names, css = models_first(results["models"]), colours(results["models"])
    heads = list(dict.fromkeys(head for task in results["tasks"] for head in task["heads"]))
    what = "fine-tuned" if RULES[results["protocol"]["protocol"]].finetune else "frozen"
    parts = [f"<h2>What the {what} encoders know</h2>"]
    parts += [f'<p><span class="badge">{escape(note)}</span></p>' for note in results["notes"]]
    sources = ", ".join(dict.fromkeys(task["source"] for task in results["tasks"]))
    parts.append(
        f'<p class="soft">Held-out cases of {escape(sources)}. {escape(caption(results))}</p>'
    )
    parts.append(points(findings(results, heads[0])))
    for head in heads:
        rows = [
            [task_cell(task), *score_cells(entries, names, css)]
            for task in results["tasks"]
            if (entries := task["heads"].get(head))
        ]
        parts.append(apart(html_table([f"{head} probe", *names], rows)))
    panels = []
    for task in results["tasks"]:
        entries = task["heads"][heads[0]]
        rows = [score_bar(name, entries[name], css[name]) for name in names if name in entries]
        title = f'<h3>{escape(task["name"])}</h3><span class="sub">{metric_name(task)}</span>'
        panels.append(card(title + bars_of(rows)))
    parts.append(f'<div class="fixed">{"".join(panels)}</div>')
    parts.append(
        f'<p class="soft small">{escape(heads[0])} probe. Whiskers: interval over test cases. '
        "Dots: single seeds. Dashed: majority class. "
        "Band: from the lowest to the highest baseline.</p>"
    )
    parts += [task_details(task, names) for task in results["tasks"]]
    return "".join(parts)


def score_bar(name: str, entry: Mapping, css: str) -> Bar:
    """A bar of a score with its interval and a dot per seed."""
    dots = [100 * v for v in entry["seeds"] if v is not None] if len(entry["seeds"]) > 1 else []
    return interval_bar(name, entry["interval"] | {"value": entry["mean"]}, css, dots)


def interval_bar(name: str, interval: Mapping, css: str, dots: Sequence[float] = ()) -> Bar:
    """A bar of a value with its interval, in percent; None stays None."""
    ends = (interval[key] for key in ("value", "low", "high"))
    return Bar(name, *(None if end is None else 100 * end for end in ends), dots, css)


def _chosen(values: Sequence[float | str]) -> str:
    """HTML: each hyper-parameter once, with how many seeds chose it."""
    words = [value if isinstance(value, str) else f"{value:.3g}" for value in values]
    counted = ", ".join(
        f"{word} ({n})" if (n := words.count(word)) > 1 else word for word in dict.fromkeys(words)
    )
    text = f'<span class="small" style="white-space:normal">{escape(counted)}</span>'
    return text if words else "-"


def metric_rows(entries: Mapping, names: Sequence[str]) -> list[list[str]]:
    """A row of cells for each metric of the first of some columns: its name, and their values."""
    return [
        [
            escape(metric.replace("_", " ")),
            *(with_unit(metric, entries[n]["metrics"][metric]) for n in names),
        ]
        for metric in entries[names[0]]["metrics"]
    ]


def task_details(task: Mapping, all_names: Sequence[str]) -> str:
    """Every metric and class of a task, folded; a table per row of the main one."""
    blocks = []
    for head, entries in task["heads"].items():
        names = [name for name in all_names if name in entries]
        rows = metric_rows(entries, names)
        rows.append([_HYPER.get(head, "chosen"), *(_chosen(entries[n]["chosen"]) for n in names)])
        for label in entries[names[0]]["per_class"]:
            each = [entries[n]["per_class"][label] for n in names]
            of_label = f"of {escape(label)} ({each[0]['support']:d})"
            rows += [
                [
                    f"{escape(measure.replace('_', ' '))} {of_label}",
                    *("-" if e[measure] is None else percent(e[measure], unit=" %") for e in each),
                ]
                for measure in label_measures(task)
            ]
        blocks.append(html_table([head, *names], rows))
    return details(f"{task['name']}: all metrics and classes", card("<br>".join(blocks)))
