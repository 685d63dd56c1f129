"""Small SVG charts as text: bars with intervals, and curves.

Colours come from the page's CSS, so they follow dark mode.
"""

import dataclasses
import html
import itertools
import math
from collections.abc import Sequence

from surgrec_jax.evaluation.benchmark.names import clip_names


def escape(value: object) -> str:
    """Text for HTML or SVG, attribute values included."""
    return html.escape(str(value), quote=True)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers (1, 2 or 5 times a power of ten apart) within low..high."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        raise ValueError(f"no ticks in {low}..{high}")
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """A number for a tick or a tooltip."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3 or abs(value) >= 1e5:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')}e{int(exponent)}"
    return f"{value:.4g}"


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten within low..high, with 2 and 5 times them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    powers = range(first, last + 1, -(-(last - first) // 7) or 1)
    steps = (1, 2, 5) if high / low <= 100 else (1,)
    found = [float(f"{m}e{power}") for power in powers for m in steps]
    return [tick for tick in found if low <= tick <= high]


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar: value and interval in percent (None: not defined), a dot per seed, a CSS class."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    dots: Sequence[float]
    css: str


def bars(
    rows: Sequence[Bar], reference: float | None, width: int = 400, behind: Sequence[Bar] = ()
) -> str:
    """Horizontal bars from 0 to 100 % with whiskers; a dashed line at `reference`.

    Args:
        behind: bars that are drawn as one band behind the others, from the lowest to the highest
            of their values, with a line at each.
    """
    left, right, top, pitch = 118, 66, 6, 30
    height = top + pitch * len(rows) + 24
    bottom = top + pitch * len(rows)

    def x(value: float) -> float:
        return left + (width - left - right) * min(max(value, 0.0), 100.0) / 100

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="bars">']
    for tick in range(0, 101, 20):
        parts.append(
            f'<line class="grid" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text class="tick" x="{x(tick):.1f}" y="{bottom + 15}" '
            f'text-anchor="middle">{tick}{" %" if tick == 100 else ""}</text>'
        )
    known = [bar for bar in behind if bar.value is not None]
    if known:
        first, last = (x(f(bar.value for bar in known)) for f in (min, max))
        parts.append(
            f'<rect class="band" x="{first:.1f}" y="{top}" width="{max(2.0, last - first):.1f}" '
            f'height="{bottom - top}"/>'
        )
    for bar in known:
        parts.append(
            f'<g class="{escape(bar.css)}"><title>{escape(_bar_title(bar))}</title><path '
            f'class="line" d="M{x(bar.value):.1f} {top}V{bottom}"/></g>'
        )
    names = clip_names([row.label for row in rows], 17)
    for i, row in enumerate(rows):
        middle = top + pitch * (i + 0.5)
        parts.append(f'<g class="{escape(row.css)}"><title>{escape(_bar_title(row))}</title>')
        parts.append(
            f'<text class="name" x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">'
            f"{escape(names[i])}</text>"
        )
        if row.value is None:
            parts.append(
                f'<text class="tick" x="{left + 6}" y="{middle + 4:.1f}">undefined</text></g>'
            )
            continue
        parts.append(
            f'<rect class="bar" x="{left}" y="{middle - 9:.1f}" width="{x(row.value) - left:.1f}" '
            'height="18" rx="2"/>'
        )
        for dot in row.dots:
            parts.append(f'<circle class="dot" cx="{x(dot):.1f}" cy="{middle + 5:.1f}" r="2"/>')
        end = max(row.value, *row.dots) if row.dots else row.value
        if row.low is not None and row.high is not None:
            low, high, end = x(row.low), x(row.high), max(row.high, end)
            parts.append(
                f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} '
                f"{middle - 4:.1f}v8"
                f'M{high:.1f} {middle - 4:.1f}v8"/>'
            )
        parts.append(
            f'<text class="value" x="{x(end) + 6:.1f}" '
            f'y="{middle + 4:.1f}">{row.value:.1f} %</text></g>'
        )
    if reference is not None:
        at = x(reference)
        parts.append(
            f'<line class="reference" x1="{at:.1f}" x2="{at:.1f}" y1="{top}" y2="{bottom}"/>'
        )
    return "".join([*parts, "</svg>"])


def _bar_title(row: Bar) -> str:
    text = f"{row.label}: " + ("undefined" if row.value is None else f"{row.value:.2f} %")
    if row.low is not None and row.high is not None:
        text += f", interval {row.low:.2f} to {row.high:.2f}"
    if row.dots:
        text += "; seeds " + ", ".join(f"{dot:.2f}" for dot in row.dots)
    return text


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve: name for the tooltip, finite points, a CSS class for the colour."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    css: str


def _thin(curve: Curve, limit: int = 300) -> tuple[list[float], list[float]]:
    """At most `limit` points: means of equal stretches."""
    count = len(curve.x)
    if count <= limit:
        return list(curve.x), list(curve.y)
    edges = [count * i // limit for i in range(limit + 1)]
    spans = list(itertools.pairwise(edges))
    return tuple([sum(v[a:b]) / (b - a) for a, b in spans] for v in (curve.x, curve.y))


def curves(
    series: Sequence[Curve],
    width: int = 360,
    height: int = 190,
    *,
    log: bool = False,
    reference: float | None = None,
    unit: str = "",
) -> str:
    """Line chart over steps, with y in the range of the data; empty text if there is no point.

    Args:
        log: y grows by factors; only where every value is above 0.
        reference: y of a dashed line.
        unit: follows the numbers of y.
    """
    series = [curve for curve in series if len(curve.x)]
    if not series:
        return ""
    lines = [(curve, *_thin(curve)) for curve in series]
    xs, ys = [v for _, x, _ in lines for v in x], [v for _, _, y in lines for v in y]
    ys += [] if reference is None else [reference]
    log = log and min(ys) > 0
    scaled = math.log10 if log else float
    x_low, x_high, y_low, y_high = min(xs), max(xs), scaled(min(ys)), scaled(max(ys))
    if x_high == x_low:
        x_low, x_high = x_low - 1, x_high + 1
    pad = 0.06 * (y_high - y_low) or 0.1 * abs(y_high) or 1.0
    y_low, y_high = y_low - pad, y_high + pad
    left, right, top, bottom = 50, width - 10, 8, height - 22

    def at(x: float, y: float) -> tuple[float, float]:
        return (
            left + (right - left) * (x - x_low) / (x_high - x_low),
            bottom - (bottom - top) * (scaled(y) - y_low) / (y_high - y_low),
        )

    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" class="curves">']
    for tick in log_ticks(10**y_low, 10**y_high) if log else ticks(y_low, y_high, 4):
        y = at(x_low, tick)[1]
        parts.append(
            f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="tick" x="{left - 6}" y="{y + 4:.1f}" '
            f'text-anchor="end">{short(tick)}{unit}</text>'
        )
    if reference is not None:
        y = at(x_low, reference)[1]
        parts.append(f'<path class="reference" d="M{left} {y:.1f}H{right}"/>')
    for tick in ticks(x_low, x_high, 4):
        x = left + (right - left) * (tick - x_low) / (x_high - x_low)
        anchor = "end" if x > right - 12 else "middle"
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{height - 6}" '
            f'text-anchor="{anchor}">{short(tick)}</text>'
        )
    for curve, x, y in lines:
        points = [at(a, b) for a, b in zip(x, y, strict=True)]
        path = "L".join(f"{a:.1f} {b:.1f}" for a, b in points)
        title = (
            f"{curve.name}: {short(curve.y[0])} at {short(curve.x[0])}, "
            f"{short(curve.y[-1])} at {short(curve.x[-1])}"
        )
        parts.append(f'<g class="{escape(curve.css)}"><title>{escape(title)}</title>')
        parts.append(f'<path class="line" d="M{path}"/>')
        marks = points if len(points) <= 12 else points[-1:]
        parts += [f'<circle class="mark" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in marks]
        parts.append("</g>")
    return "".join([*parts, "</svg>"])
