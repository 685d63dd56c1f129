"""One self-contained HTML page about training runs and their probe.

`python -m surgrec_jax.evaluation.report --runs RUN [RUN ...] --probe RESULTS.json --out PAGE.html`
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark import results as results_lib
from surgrec_jax.evaluation.report.page import apart, card, details, page, pairs
from surgrec_jax.evaluation.report.results import MODEL_COLOURS, in_words, results_section
from surgrec_jax.evaluation.report.run_logs import RunLog, read_run
from surgrec_jax.evaluation.report.svg import Curve, curves, escape
from surgrec_jax.objectives import OBJECTIVES
from surgrec_jax.safety import files, paths, untrusted
from surgrec_jax.safety.errors import ConfigError, run_command
from surgrec_jax.safety.terminal import command_parser

LOGARITHMIC = ("grad_norm",)  # of values that differ by factors
PERCENT = ("probe/", "data_wait")  # prefixes of keys whose values are shares
# (title, keys of metrics.jsonl, one chart per run instead of all runs in one)
_CURVES = (
    ("training loss", "loss", True),
    ("feature standard deviation (collapse: falls to 0)", "feature_std", False),
    ("effective rank of features (collapse: falls to 1)", "effective_rank", False),
    ("mean cosine between clips (collapse: rises to 1)", "mean_cosine", False),
    ("gradient norm", "grad_norm", False),
    ("learning rate", "lr", False),
    ("clips per second", "clips_per_s", False),
    ("share of time waiting for data", "data_wait", False),
)


def curves_section(runs: Sequence[RunLog]) -> str:
    """Loss, collapse monitors, throughput and online probes of the runs."""
    css = {run.name: f"m{i % MODEL_COLOURS}" for i, run in enumerate(runs)}

    def chart(title: str, key: str, chosen: Sequence[RunLog]) -> str:
        factor, unit = (100, " %") if key.startswith(PERCENT) else (1, "")
        lines = [
            Curve(r.name, steps, [factor * value for value in values], css[r.name])
            for r in chosen
            if key in r.curves
            for steps, values in (r.curves[key],)
        ]
        # A probe is named probe/SOURCE/TRACK/HEAD, what chance scores chance/SOURCE/TRACK.
        floors = "chance/" + key.removeprefix("probe/").rpartition("/")[0]
        floor = next((100 * r.curves[floors][1][-1] for r in chosen if floors in r.curves), None)
        drawn = curves(lines, log=key in LOGARITHMIC, reference=floor, unit=unit)
        return card(f"<h3>{escape(title)}</h3>{drawn}") if drawn else ""

    panels = []
    for title, key, separate in _CURVES:
        if separate:  # losses of different objectives are no common scale
            panels += [chart(f"{run.name}: {title}", key, [run]) for run in runs]
        else:
            panels.append(chart(title, key, runs))
    probes = sorted({key for run in runs for key in run.curves if key.startswith("probe/")})
    panels += [chart(key.removeprefix("probe/").replace("/", " · "), key, runs) for key in probes]
    drawn = "".join(panels)
    if not drawn:
        return ""
    legend = "".join(f'<span class="{css[run.name]}">{escape(run.name)}</span>' for run in runs)
    probe_note = (
        '<p class="soft small">The charts named after a task are online probes: balanced accuracy '
        'on validation cases with '
        "fixed hyper-parameters, made during training. Dashed: chance, a constant answer.</p>"
        if probes else ""
    )  # fmt: skip
    return (
        f'<h2>Training</h2><div class="legend">{legend}</div><p class="soft small">Over training '
        "steps.</p>"
        f'<div class="grid3">{drawn}</div>{probe_note}'
    )


def pictures_section(runs: Sequence[RunLog]) -> str:
    """Images the runs wrote (reconstructions, feature maps), a row of steps per run."""
    parts = []
    for run in runs:
        objective = OBJECTIVES.get(str((run.config or {}).get("objective")))
        rows = ", ".join(objective.rows) if objective else ""
        figures = []
        for picture in run.pictures:
            step = f"step {picture.step:,}" if picture.step >= 0 else ""
            text = escape(", ".join(filter(None, [step, picture.name])) or run.name)
            figures.append(
                card(
                    f'<figure><figcaption><b>{text}</b></figcaption><img src="{picture.uri}" '
                    f'alt="{text}"></figure>'
                )
            )
        if figures:
            about = f": {escape(rows)}" if rows else ""
            parts.append(
                f'<p class="soft"><b>{escape(run.name)}</b>{about}. The same clips at every step.'
                f'</p><div class="fixed pictures">{"".join(figures)}</div>'
            )
    return f"<h2>What they see</h2>{''.join(parts)}" if parts else ""


def runs_section(runs: Sequence[RunLog], results: Mapping | None, facts: Mapping) -> str:
    """Configs, environments, what was missing, and how the probe was done."""
    parts = ["<h2>How it was made</h2>"]
    if facts:
        parts.append(pairs(dict(facts)))
    for run in runs:
        folded = ""
        for title, value in (
            ("configuration", run.config),
            ("environment, one entry per start", run.environment),
        ):
            if value is not None:
                text = json.dumps(value, indent=1, sort_keys=True, default=str)
                folded += details(title, f"<pre>{escape(text)}</pre>")
        notes = "".join(f'<p class="soft small">{escape(note)}</p>' for note in run.notes)
        parts.append(apart(f"<h3>{escape(run.name)}</h3>{folded}{notes}"))
    if results is not None:
        shown = {
            k: results[k]
            for k in ("created", "seconds", "data", "protocol", "environment", "models")
        }
        text = json.dumps(shown, indent=1, sort_keys=True)
        block = details("protocol, models and versions", f"<pre>{escape(text)}</pre>")
        parts.append(apart(f"<h3>probe</h3>{block}"))
    return "".join(parts)


def build_report(
    runs: Sequence[RunLog],
    results: Mapping | None,
    *,
    title: str,
    lead: str = "",
    facts: Mapping = {},
) -> str:
    """The page as HTML text.

    Args:
        runs: training runs; may be empty.
        results: content of a results.json, or None.
        title, lead: plain text above everything.
        facts: more names and values for the last section (machine, total duration, ...).
    """
    body = [f"<h1>{escape(title)}</h1>"]
    if lead:
        body.append(f"<p>{escape(lead)}</p>")
    if results is not None:
        body.append(f"<p><b>{escape(in_words(results))}</b></p>")
        body.append(results_section(results))
    body += [pictures_section(runs), curves_section(runs), runs_section(runs, results, facts)]
    return page(title, "\n".join(part for part in body if part))


def write_report(path: str | os.PathLike, text: str) -> pathlib.Path:
    """Writes the page whole or not at all.

    Raises:
        ConfigError: the path is a folder. OSError: it cannot be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the page in it, e.g. {path / 'index.html'}")
    files.write_text(path, text)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; see the module's docstring."""
    parser = command_parser("surgrec_jax.evaluation.report", __doc__)
    parser.add_argument("--runs", nargs="*", default=[], help="workdirs of training runs")
    parser.add_argument("--probe", help="results.json of surgrec_jax.probe")
    parser.add_argument("--out", required=True, help="the page to write")
    parser.add_argument("--title", default="surgrec_jax: quickstart")
    parser.add_argument("--lead", default="", help="a sentence under the title")
    parser.add_argument(
        "--fact", action="append", default=[], metavar="NAME=VALUE", help="repeatable"
    )
    args = parser.parse_args(argv)
    wrong = [fact for fact in args.fact if "=" not in fact]
    if wrong:
        parser.error(f"--fact {wrong[0]!r} is not NAME=VALUE")

    def work() -> int:
        paths.check_arguments(vars(args), allowed=("title", "lead", "fact"))
        results = results_lib.read_json(args.probe) if args.probe else None
        runs = [read_run(folder) for folder in args.runs]
        facts = dict(fact.split("=", 1) for fact in args.fact)
        with untrusted.interpreting(" or ".join(filter(None, [args.probe, *args.runs]))):
            text = build_report(runs, results, title=args.title, lead=args.lead, facts=facts)
        written = write_report(args.out, text)
        if results is not None:
            print(in_words(results))
        print(written)
        return 0

    return run_command("surgrec_jax.evaluation.report", work, failed=2)
