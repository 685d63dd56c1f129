"""The HTML page around a report: style, light and dark, no script, nothing loaded from outside."""

from collections.abc import Iterable

from surgrec_jax.evaluation.report.svg import escape

STYLE = """
:root { color-scheme: light dark; --bg: #fbfbf9; --card: #ffffff; --fg: #1d2226; --soft:
  #5d666e; --line: #e2e3df; --good: #1a7f4b; --bad: #b3402a; --note: #fff4d6; --note-fg:
  #6b4e00; --shade: #1d222638; --majority: #a9afb5; --pixels: #b58f5d; --random: #737d86;
  --m0: #2468b2; --m1:
  #d9730d; --m2: #1c8f7a; --m3: #8b5bb8; --m4: #c2457b; --m5: #6b8e23; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171a; --card: #1c2024; --fg: #e6e8ea;
  --soft: #9aa4ad; --line: #333a40; --good: #4fc587; --bad: #ef8a70; --note: #3a3014; --note-fg:
  #f2d58a; --shade: #000000c0; --majority: #6d757d; --pixels: #c9a673; --random: #98a3ad;
  --m0: #6aaaf0; --m1:
  #f29a4a; --m2: #45c7ae; --m3: #bd94e6; --m4: #f07fae; --m5: #a9cc5c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--bg); color: var(--fg); font: 15px/1.55 system-ui,
  -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1200px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -0.01em; overflow-wrap:
  anywhere; }
h2 { font-size: 19px; margin: 44px 0 6px; }
h3 { font-size: 15px; margin: 0 0 4px; }
p { margin: 6px 0; max-width: 78ch; }
.soft { color: var(--soft); }
small, .small { font-size: 13px; }
.badge { display: inline-block; background: var(--note); color: var(--note-fg); border-radius:
  4px; padding: 2px 10px; font-weight: 600; font-size: 13px; }
/* Shades at the edges say that there is more: they stay, and what covers them scrolls along. */
.card { background: linear-gradient(90deg, var(--card) 50%, transparent) 0 0 / 48px 100% no-repeat
  local, linear-gradient(270deg, var(--card) 50%, transparent) 100% 0 / 48px 100% no-repeat local,
  linear-gradient(90deg, var(--shade), transparent) 0 0 / 20px 100% no-repeat scroll,
  linear-gradient(270deg, var(--shade), transparent) 100% 0 / 20px 100% no-repeat scroll,
  var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px 18px; overflow-x:
  auto; }
.grid2 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(430px, 100%), 1fr));
  gap: 16px; margin-top: 14px; }
.grid3 { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(320px, 100%), 1fr));
  gap: 16px; margin-top: 14px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 2px; }
thead th { color: var(--soft); font-weight: 600; font-size: 13px; }
tbody tr:last-child td { border-bottom: 0; }
td b { font-size: 16px; }
td.self { text-align: left; }
.sub { display: block; color: var(--soft); font-size: 12px; line-height: 1.45; }
.up { color: var(--good); font-weight: 600; }
.down { color: var(--bad); font-weight: 600; }
ul.findings { margin: 10px 0 0; padding-left: 20px; max-width: 105ch; }
ul.findings li { margin: 4px 0; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 8px; font-size: 13px; }
.legend span::before { content: ""; display: inline-block; width: 11px; height: 11px;
  border-radius: 2px; margin-right: 6px; background: var(--c); vertical-align: -1px; }
.meter { display: block; position: relative; height: 4px; margin: 4px 0 2px auto; width: 96px;
  background: var(--line); border-radius: 2px; }
.meter b { display: block; height: 4px; max-width: 100%; background: var(--c);
  border-radius: 2px; }
.meter i { position: absolute; top: -3px; height: 10px; border-left: 2px solid var(--fg); }
svg { display: block; width: 100%; height: auto; }
svg.bars, svg.confusion { max-width: 500px; }
svg .band { fill: var(--soft); opacity: .16; }
svg text { fill: var(--fg); font-size: 12px; }
svg.ribbons, .wide svg { min-width: 860px; }
svg .tick { fill: var(--soft); font-size: 11px; }
svg .grid { stroke: var(--line); }
svg .bar { fill: var(--c); opacity: .82; }
svg .dot { fill: var(--card); stroke: var(--fg); stroke-width: .8; }
svg .whisker { stroke: var(--fg); stroke-width: 1.4; fill: none; }
svg .value { font-weight: 600; }
svg .reference { stroke: var(--fg); stroke-dasharray: 3 3; opacity: .55; }
svg .line { fill: none; stroke: var(--c); stroke-width: 1.8; stroke-linejoin: round; }
svg .mark { fill: var(--c); }
.majority { --c: var(--majority); }
.pixels { --c: var(--pixels); }
.random { --c: var(--random); }
.vlm { --c: var(--m5); }
.m0 { --c: var(--m0); }
.m1 { --c: var(--m1); }
.m2 { --c: var(--m2); }
.m3 { --c: var(--m3); }
.m4 { --c: var(--m4); }
.m5 { --c: var(--m5); }
figure { margin: 0; }
figure img { max-width: 100%; height: auto; display: block; border-radius: 4px; image-rendering:
  auto; }
figcaption { color: var(--soft); font-size: 13px; margin-top: 6px; }
.chip { display: inline-block; border: 1px solid var(--line); border-radius: 10px; padding: 0 9px;
  margin: 2px 4px 2px 0; font-size: 12px; color: var(--soft); }
.chip.bad { color: var(--bad); border-color: var(--bad); }
.chip.good { color: var(--good); border-color: var(--good); }
.thumbs { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 12px; }
.thumbs figcaption { font-size: 12px; line-height: 1.35; }
.frames { display: flex; gap: 8px; margin-top: 6px; }
.frames figure { flex: 1 1 0; max-width: 120px; }
.frames figcaption { font-size: 11px; line-height: 1.35; margin-top: 4px; overflow-wrap: anywhere; }
.maps { flex-direction: column; }
.maps figure { max-width: 460px; }
.legend.plain span::before { content: none; }
.ramp { display: inline-block; width: 110px; height: 9px; border-radius: 2px; margin: 0 4px; }
.cases > div { min-width: 0; overflow-wrap: anywhere; }
.cases { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(310px, 100%), 1fr));
  gap: 4px 22px; }
.fixed { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(430px, 100%), 1fr));
  gap: 16px; margin-top: 14px; }
svg .cell { fill: var(--m0); }
svg text.on { fill: #ffffff; }
section { margin-top: 26px; }
details { margin-top: 10px; }
summary { cursor: pointer; font-weight: 600; }
pre { font: 12px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; overflow: auto;
  max-height: 420px; margin: 8px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 8px 0 0;
  font-size: 13px; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 600px) { .pictures img { max-width: none; width: 560px; }
  main { padding: 20px 12px 40px; } .card { padding: 12px; }
  h2 { margin-top: 32px; } th, td { padding: 7px 6px; } body { font-size: 14px; }
  th:first-child, td:first-child { position: sticky; left: -12px; background: var(--card);
  padding-left: 12px; white-space: normal; min-width: 104px; max-width: 34vw; } }
@media print { .card { break-inside: avoid; } }
"""


def page(title: str, body: str) -> str:
    """A whole HTML document. `title` is escaped here; `body` is HTML made of escaped parts."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def card(content: str) -> str:
    """A framed box of HTML."""
    return f'<div class="card">{content}</div>'


def apart(content: str) -> str:
    """A framed box of HTML with room above it."""
    return f'<div style="margin-top:14px">{card(content)}</div>'


def points(lines: Iterable[str]) -> str:
    """A list of sentences, which are plain text; nothing where there is none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="findings">{items}</ul>' if items else ""


def details(summary: str, content: str) -> str:
    """A folded part; `summary` is plain text, `content` HTML."""
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def pairs(values: dict) -> str:
    """A list of names and values, all escaped."""
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in values.items())
    return f"<dl>{rows}</dl>"


def html_table(head: list[str], rows: list[list[str]]) -> str:
    """A table; `head` is plain text, cells are HTML."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
