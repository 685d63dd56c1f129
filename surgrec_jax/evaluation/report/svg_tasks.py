"""SVG of one task: confusion matrices, and ribbons of classes along videos."""

import colorsys
from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.report.svg import clip_text, escape, ticks


def class_colour(k: int, classes: int) -> str:
    """A colour of class k that stands apart from its neighbours', in light and dark pages."""
    if k >= classes:
        return "#8a8f94"  # no answer
    turn, light = _hue(k, classes)
    return f"hsl({turn:.0f} 52% {light}%)"


def class_rgb(k: int, classes: int) -> tuple[int, int, int]:
    """The colour of class k as red, green and blue of 0 to 255."""
    turn, light = _hue(k, classes)
    red, green, blue = colorsys.hls_to_rgb(round(turn) / 360, light / 100, 0.52)
    return round(255 * red), round(255 * green), round(255 * blue)


def _hue(k: int, classes: int) -> tuple[float, int]:
    """The hue of class k in degrees, and its lightness in percent."""
    turn = (k * 360 / classes) if classes <= 8 else (k * 137.508) % 360
    light = (52, 62, 44)[(k // 8) % 3] if classes > 8 else 56
    return (turn + 205) % 360, light


def class_legend(classes: Sequence[str], used: Sequence[int]) -> str:
    """HTML: names of the used classes beside their colours."""
    names = [*classes, "no answer"]
    return '<div class="legend">' + "".join(
        f'<span style="--c:{class_colour(k, len(classes))}">{escape(names[k])}</span>'
        for k in sorted(set(used))
    ) + "</div>"  # fmt: skip


def confusion(counts: Sequence[Sequence[float]], classes: Sequence[str], width: int = 460) -> str:
    """Rows: true class; columns: predicted class; shade and number: share of the row in percent.

    `counts` is [C, P]; a column beyond the classes is "no answer".
    """
    names = [*classes, "no answer"][: len(counts[0])] if counts else []
    left, top = 150, 26
    size = min(46.0, (width - left - 8) / max(1, len(names)))
    height = top + size * len(classes) + 6
    parts = [f'<svg viewBox="0 0 {width} {height:.0f}" role="img" class="confusion">']
    for j, name in enumerate(names):
        label = str(j + 1) if j < len(classes) else "?"
        parts.append(
            f'<text class="tick" x="{left + size * (j + 0.5):.1f}" y="{top - 8}" '
            f'text-anchor="middle">{label}<title>{escape(name)}</title></text>'
        )
    for i, row in enumerate(counts):
        total = sum(row)
        middle = top + size * (i + 0.5) + 4
        parts.append(
            f'<text x="{left - 8}" y="{middle:.1f}" text-anchor="end">'
            f"{escape(clip_text(classes[i], 17))} {i + 1}</text>"
        )
        for j, count in enumerate(row):
            share = count / total if total else 0.0
            x, y = left + size * j, top + size * i
            title = f"{classes[i]} called {names[j]}: {count:.0f} of {total:.0f}"
            parts.append(
                f'<g><title>{escape(title)}</title><rect class="cell" x="{x + 1:.1f}" '
                f'y="{y + 1:.1f}" width="{size - 2:.1f}" height="{size - 2:.1f}" rx="2" '
                f'fill-opacity="{0.05 + 0.95 * share if total else 0.02:.3f}"/>'
            )
            if size >= 24 and share >= 0.005:
                css = ' class="on"' if share > 0.5 else ""
                parts.append(
                    f'<text{css} x="{x + size / 2:.1f}" y="{middle:.1f}" '
                    f'text-anchor="middle">{100 * share:.0f}</text>'
                )
            parts.append("</g>")
    return "".join([*parts, "</svg>"])


def ribbons(
    truth: Sequence[Sequence[float]],
    predictions: Mapping[str, Sequence[Sequence[float]]],
    classes: Sequence[str],
    width: int = 1060,
) -> str:
    """The annotated classes along a video, where there are any, and each column's predictions.

    Spans are [class, first second, last second], or with a fourth number, how opaque they are.
    """
    left, right, high, low = 130, 8, 20 if truth else -4, 12
    every = [span for row in (truth, *predictions.values()) for span in row]
    start, end = min(s[1] for s in truth or every), max(s[2] for s in truth or every)
    end = max(end, start + 1e-6)
    minutes = end - start > 300
    bottom = 4 + high + 4 + (low + 3) * len(predictions)
    names = [*classes, "no answer"]

    def x(second: float) -> float:
        inside = min(max(second, start), end)
        return left + (width - left - right) * (inside - start) / (end - start)

    def spans(row, y: float, height: float) -> str:
        drawn = []
        for k, first, last, *opaque in row:
            title = f"{names[int(k)]}: {first:.1f} to {last:.1f} s"
            faint = f' fill-opacity="{opaque[0]:.2f}"' if opaque else ""
            drawn.append(
                f'<rect x="{x(first):.1f}" y="{y}" width="{max(0.6, x(last) - x(first)):.1f}" '
                f'height="{height}" fill="{class_colour(int(k), len(classes))}"{faint}>'
                f"<title>{escape(title)}</title></rect>"
            )
        return "".join(drawn)

    parts = [f'<svg viewBox="0 0 {width} {bottom + 20}" role="img" class="ribbons">']
    if truth:
        at = f'x="{left - 8}" y="19" text-anchor="end"'
        parts.append(f'<text class="value" {at}>annotated</text>')
        parts.append(spans(truth, 4, high))
    for n, (name, row) in enumerate(predictions.items()):
        y = 4 + high + 4 + (low + 3) * n
        parts.append(
            f'<text x="{left - 8}" y="{y + 10}" text-anchor="end">'
            f"{escape(clip_text(name, 18))}</text>{spans(row, y, low)}"
        )
    scale = 60 if minutes else 1
    for tick in ticks(start / scale, end / scale, 8):
        parts.append(
            f'<text class="tick" x="{x(tick * scale):.1f}" y="{bottom + 14}" '
            f'text-anchor="middle">{tick:g} {"min" if minutes else "s"}</text>'
        )
    return "".join([*parts, "</svg>"])
