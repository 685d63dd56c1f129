"""A self-contained HTML page about a manifest: numbers of draws, with real frames."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from surgrec_jax.curation import mixing, sheets
from surgrec_jax.curation.balance import Leaf, entropy
from surgrec_jax.curation.cluster import Tree
from surgrec_jax.curation.shards import Facts
from surgrec_jax.data.sampling.manifest import Manifest, order_path
from surgrec_jax.evaluation.report import summary as html
from surgrec_jax.evaluation.report.page import card, details, html_table, page, pairs
from surgrec_jax.evaluation.report.svg import Bar, Curve, bars, curves, escape
from surgrec_jax.records.source import Source
from surgrec_jax.safety import untrusted

_MOST_BARS = 12
_BY = ("source", "domain", "case")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The draws of the planned run.

    Attributes:
        draws: number of draws of the whole run.
        of_leaf, of_record: int64 [K] and float64 [R], draws of leaves, and of records on average.
    """

    draws: int
    of_leaf: np.ndarray
    of_record: np.ndarray


def plan_draws(manifest: Manifest, leaves: Leaf, draws: int) -> Plan:
    """Counts the draws of leaves and records among the first `draws` draws."""
    of_leaf = manifest.sampler(0).counts(draws)
    order = untrusted.read_array(order_path(manifest.path), mmap=True)
    times = np.bincount(
        order, minlength=len(leaves.leaf_of)
    )  # number of times a record is in its leaf
    in_leaf = leaves.leaf_of >= 0
    of_record = np.zeros(len(times))
    leaf = leaves.leaf_of[in_leaf]
    of_record[in_leaf] = times[in_leaf] * of_leaf[leaf] / manifest.leaves.sizes[leaf]
    return Plan(draws, of_leaf, of_record)


def write_report(
    path: Path,
    manifest: Manifest,
    leaves: Leaf,
    tree: Tree | None,
    *,
    facts: Facts,
    sources: Sequence[Source],
    planned_draws: int,
    clusters: int,
    frames: int,
    size: int,
) -> Path:
    """Writes the page.

    Args:
        tree: the clusters, None for groups alone: its distances order the frames.
        clusters, frames, size: number of contact sheets, frames on each, and height in pixels.
    """
    plan = plan_draws(manifest, leaves, planned_draws)
    shown = sheets.spread(len(manifest.leaves), clusters)
    phantom = all("phantom" in name for name in manifest.source_names)
    badge = '<p><span class="badge">Phantom data, not clinical</span></p>' if phantom else ""
    body = [
        "<h1>What the corpus is, and what training draws from it</h1>",
        badge,
        f"<p><b>{escape(verdict(manifest, plan, facts))}</b></p>",
        _summary(manifest, plan),
        "<h2>Mixture before and after</h2>",
        _mixture(facts, manifest.source_names, plan),
        "<h2>How often</h2>",
        _often(manifest, plan),
        f"<h2>Clusters</h2>{_cluster_intro(len(shown), len(manifest.leaves), tree)}",
        '<div class="grid2">',
        *[
            _cluster(int(j), manifest, leaves, tree, facts, sources, plan, frames, size)
            for j in shown
        ],
        "</div>",
        "<h2>How it was made</h2>",
        card(_made(manifest)),
    ]  # fmt: skip
    return html.write_report(path, page("surgrec_jax: curation", "\n".join(body)))


def verdict(manifest: Manifest, plan: Plan, facts: Facts) -> str:
    """One sentence: whether the draws are more even than the corpus, and what that costs.

    It is of domains where there are several, else of sources, and of cases; of the rarest domain
    or source, and of how often the most drawn record comes.
    """
    kind, (group, names) = next(
        (kind, found)
        for kind in ("domain", "source", "case")
        if len((found := mixing.group_of(kind, facts, manifest.source_names))[1]) > 1
        or kind == "case"
    )
    before, after = _shares(group, names, plan)
    said = f"The draws are {_evenness(kind, before, after)}"
    if kind != "case":
        cases = mixing.group_of("case", facts, manifest.source_names)
        said += f", and {_evenness('case', *_shares(*cases, plan))}"
    if len(names) <= _MOST_BARS:
        rarest = min(np.flatnonzero(before), key=lambda i: before[i])
        said += (
            f"; {names[rarest].removesuffix('@train')}, the rarest, is {_percent(before[rarest])} "
            f"of the records and {_percent(after[rarest])} of the draws"
        )
    most, equal = plan.of_record.max(), plan.draws / len(plan.of_record)
    return (
        f"{said}; the most drawn record comes {_times(most)} times, with equal weights each would "
        f"{_times(equal)}."
    )


def _evenness(kind: str, before: np.ndarray, after: np.ndarray) -> str:
    """Whether shares after are more or less even than before, by their effective numbers."""
    corpus, draws = (f"{entropy(share)[1]:.1f}" for share in (before, after))
    if corpus == draws:
        return f"as even over {kind}s as the corpus (worth {draws} equally frequent ones)"
    more = "more" if float(draws) > float(corpus) else "less"
    return f"{more} even over {kind}s than the corpus (worth {draws} of them, the corpus {corpus})"


def _shares(group: np.ndarray, names: Sequence[str], plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """Shares of groups among the records, and among the draws."""
    before = np.bincount(group, minlength=len(names)) / len(group)
    return before, np.bincount(group, plan.of_record, len(names)) / plan.of_record.sum()


def _percent(x: float) -> str:
    return f"{100 * x:.1f} %" if x >= 0.001 or x == 0 else f"{100 * x:.2g} %"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _times(x: float) -> str:
    return f"{x:,.0f}" if x >= 10 else f"{x:.2g}"


def _summary(manifest: Manifest, plan: Plan) -> str:
    records = len(plan.of_record)
    bits = [
        f"{_count(records, 'record')} of {_count(len(manifest.source_names), 'source')} in "
        f"{len(manifest.leaves):,} leaves ({' › '.join(manifest.content['levels'])}); the planned "
        f"run draws {plan.draws:,} clips, {plan.draws / records:,.1f} per record on average.",
        f"Manifest {manifest.path.name}, hash {manifest.hash[:16]}.",
    ]
    return "".join(f'<p class="soft">{escape(text)}</p>' for text in bits)


def _mixture(facts: Facts, source_names: Sequence[str], plan: Plan) -> str:
    rows, cards = [], []
    for kind in _BY:
        group, names = mixing.group_of(kind, facts, source_names)
        before, after = _shares(group, names, plan)
        cells = [escape(kind), f"{(before > 0).sum():,}"]
        for share in (before, after):
            information, effective = entropy(share)
            cells += [f"{information:.2f}", f"<b>{effective:,.1f}</b>"]
        rows.append(cells)
        few = len(names) <= _MOST_BARS
        chart = _pair_bars(names, before, after) if few else _pair_curves(before, after)
        cards.append(card(f"<h3>by {kind}</h3>{chart}"))
    head = ["", "how many", "entropy of the corpus, bits", "effective number"]
    table = html_table([*head, "entropy of the draws, bits", "effective number"], rows)
    legend = '<div class="legend"><span class="random">corpus</span><span class="m0">drawn</span>'
    note = (
        '<p class="soft small">The effective number is 2 to the entropy of the shares: of how many '
        "equally frequent sources (domains, cases) the mixture is worth.</p>"
    )
    table = f'<div style="margin-top:16px">{card(table)}</div>'
    return f'{legend}</div><div class="grid3">{"".join(cards)}</div>{table}{note}'


def _pair_bars(names: Sequence[str], before: np.ndarray, after: np.ndarray) -> str:
    rows = []
    for name, a, b in zip(names, before, after, strict=True):
        name = name.removesuffix("@train")
        label = name if len(name) <= 14 else f"…{name[-13:]}"  # sources differ at the end
        rows.append(Bar(label, 100 * float(a), None, None, (), "random"))
        rows.append(Bar("", 100 * float(b), None, None, (), "m0"))
    return f"{bars(rows, None, width=380)}<p class='soft small'>share in %</p>"


def _pair_curves(before: np.ndarray, after: np.ndarray) -> str:
    order = np.argsort(-before, kind="stable")
    rank = np.arange(1, len(before) + 1)
    chart = curves(
        [
            Curve("corpus, %", rank, 100 * before[order], "random"),
            Curve("drawn, %", rank, 100 * after[order], "m0"),
        ]
    )
    return f"{chart}<p class='soft small'>share in % over rank in the corpus</p>"


def _often(manifest: Manifest, plan: Plan) -> str:
    draws = np.sort(plan.of_record[plan.of_record > 0])[::-1]
    sizes = np.sort(manifest.leaves.sizes)[::-1]
    rank = np.arange(1, len(draws) + 1)
    charts = [
        card(
            f"<h3>draws per record</h3>{curves([Curve('draws', rank, draws, 'm0')], log=True)}"
            "<p class='soft small'>records from the most to the least often drawn</p>"
        ),
        card(
            "<h3>records per leaf</h3>"
            f"{curves([Curve('records', np.arange(1, len(sizes) + 1), sizes, 'm1')], log=True)}"
            "<p class='soft small'>leaves from the largest to the smallest</p>"
        ),
    ]
    never = int((plan.of_record == 0).sum())
    facts = {
        "most often drawn record": f"{_times(draws[0])} times",
        "median record": f"{_times(float(np.median(draws)))} times",
        "least often drawn record": f"{_times(draws[-1])} times",
        "records never drawn": f"{never:,}",
        "largest and smallest leaf": f"{sizes[0]:,} and {sizes[-1]:,} records",
        "with equal weights": f"{_times(plan.draws / len(plan.of_record))} per record",
    }
    numbers = card(f"<h3>in {plan.draws:,} draws</h3>{pairs(facts)}")
    return f'<div class="grid3">{numbers}{"".join(charts)}</div>'


def _cluster_intro(shown: int, total: int, tree: Tree | None) -> str:
    which = "all leaves" if shown == total else f"{shown} of {total:,} leaves, evenly spaced"
    order = "" if tree is None else " Frames run from the nearest to the centroid to the farthest."
    return f'<p class="soft">{which}; siblings stand together, the larger first.{order}</p>'


def _cluster(j: int, manifest, leaves, tree, facts, sources, plan, frames, size) -> str:
    rows = np.flatnonzero(leaves.leaf_of == j)
    distance = None if tree is None else tree.distance[rows]
    chosen = sheets.choose_records(rows, distance, frames)
    picture = sheets.contact_sheet(sources, manifest.leaves.offsets, chosen, size)
    group, names = mixing.group_of("domain", facts, manifest.source_names)
    count = np.bincount(group[rows], minlength=len(names))
    order = np.argsort(-count, kind="stable")
    who = ", ".join(f"{names[d]} {100 * count[d] / len(rows):.0f} %" for d in order if count[d])
    path = " › ".join(str(n) for n in leaves.paths[j])
    share, each = plan.of_leaf[j] / plan.draws, plan.of_record[rows].mean()
    cases = len(np.unique(facts.case[rows]))
    text = (
        f"{_count(len(rows), 'record')} of {_count(cases, 'case')}, "
        f"{_percent(len(rows) / len(leaves.leaf_of))} of the corpus, {_percent(share)} of the "
        f"draws: each {_times(each)} times. {who}"
    )
    figure = (
        f'<figure><img src="{picture}" alt="frames of leaf {j}">'
        f"<figcaption>{escape(text)}</figcaption></figure>"
    )
    return card(f"<h3>leaf {escape(path)}</h3>{figure}")


def _made(manifest: Manifest) -> str:
    content = manifest.content
    sources = {s["name"]: f"{s['records']:,} records, {s['fingerprint'][:16]}"
               for s in content["sources"]}  # fmt: skip
    encoder = content["inputs"]["embeddings"]["encoder"]
    clip = content["inputs"]["embeddings"]["clip"]
    known = {
        "encoder": f"{encoder['name']} ({encoder['fingerprint']})",
        "clip": f"{clip['frames']} x {clip['size']} at {clip['fps']:g} fps, "
        f"{clip['per_record']} per record",
        **sources,
        "manifest": f"{manifest.path} ({manifest.hash})",
    }
    text = json.dumps(content["inputs"], indent=1, sort_keys=True)
    return pairs(known) + details("inputs", f"<pre>{escape(text)}</pre>")
