"""SVG of one task: confusion matrices, and ribbons of classes along videos."""

from collections.abc import Mapping, Sequence

from surgrec_jax.evaluation.benchmark.names import clip_names
from surgrec_jax.evaluation.report.svg import escape, ticks

# Six stops of matplotlib's viridis (CC0): its lightness rises, so it is told apart without colours.
VIRIDIS = (
    (68, 1, 84),
    (65, 68, 135),
    (42, 120, 142),
    (34, 168, 132),
    (122, 209, 81),
    (253, 231, 37),
)
NO_ANSWER = (138, 143, 148)
MANY = 8  # from so many classes on every second one is paler, so that neighbours stay apart


def palette(classes: int, order: Sequence[int] = ()) -> list[tuple[int, int, int]]:
    """A colour (red, green, blue) per class, then that of no answer.

    Args:
        order: classes as they follow each other along the operation, whose colours run from dark
            to light; those that it lacks come last.
    """
    places = [*dict.fromkeys(order), *(k for k in range(classes) if k not in order)]
    table = [NO_ANSWER] * (classes + 1)
    for place, k in enumerate(places):
        at = (len(VIRIDIS) - 1) * (0.06 + 0.88 * place / max(1, classes - 1))
        stop = min(int(at), len(VIRIDIS) - 2)
        pale = 0.35 if classes > MANY and place % 2 else 0.0
        mixed = [
            (a + (b - a) * (at - stop)) * (1 - pale) + 255 * pale
            for a, b in zip(VIRIDIS[stop], VIRIDIS[stop + 1], strict=True)
        ]
        table[k] = tuple(map(round, mixed))
    return table


def along(truth: Sequence[Sequence[Sequence[float]]]) -> list[int]:
    """The classes of annotated spans of videos, by where in a video they lie on average."""
    places: dict[int, list[float]] = {}
    for spans in truth:
        start, length = spans[0][1], max(spans[-1][2] - spans[0][1], 1e-9)
        for k, first, last, *_ in spans:
            places.setdefault(int(k), []).append(((first + last) / 2 - start) / length)
    return sorted(places, key=lambda k: sum(places[k]) / len(places[k]))


def css_of(colour: Sequence[int]) -> str:
    """A colour (red, green, blue) as CSS has it."""
    return "#{:02x}{:02x}{:02x}".format(*map(int, colour))


def class_legend(classes: Sequence[str], used: Sequence[int], order: Sequence[int] = ()) -> str:
    """HTML: names of the used classes beside their colours, in the order of `palette`."""
    names, colours = [*classes, "no answer"], palette(len(classes), order)
    shown = sorted(set(used), key=lambda k: (k not in order, order.index(k) if k in order else k))
    return '<div class="legend">' + "".join(
        f'<span style="--c:{css_of(colours[k])}">{escape(names[k])}</span>' for k in shown
    ) + "</div>"  # fmt: skip


def confusion(counts: Sequence[Sequence[float]], classes: Sequence[str], width: int = 460) -> str:
    """Rows: true class; columns: predicted class; shade and number: share of the row in percent.

    `counts` is [C, P]; a column beyond the classes is "no answer".
    """
    names = [*classes, "no answer"][: len(counts[0])] if counts else []
    left, top = 150, 26
    size = min(46.0, (width - left - 8) / max(1, len(names)))
    height = top + size * len(classes) + 6
    shown = clip_names(classes, 17)
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
            f"{escape(shown[i])} {i + 1}<title>{escape(classes[i])}</title></text>"
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
    order: Sequence[int] = (),
    width: int = 1060,
) -> str:
    """The annotated classes along a video, where there are any, and each column's predictions.

    Spans are [class, first second, last second], or with a fourth number, how opaque they are.
    Colours are those of `palette`; an annotated span that has room for its name carries it.
    """
    left, right, high, low = 130, 8, 20 if truth else -4, 12
    every = [span for row in (truth, *predictions.values()) for span in row]
    start, end = min(s[1] for s in truth or every), max(s[2] for s in truth or every)
    end = max(end, start + 1e-6)
    minutes = end - start > 300
    bottom = 4 + high + 4 + (low + 3) * len(predictions)
    names, colours = [*classes, "no answer"], palette(len(classes), order)

    def x(second: float) -> float:
        inside = min(max(second, start), end)
        return left + (width - left - right) * (inside - start) / (end - start)

    def spans(row, y: float, height: float, named: bool = False) -> str:
        drawn = []
        for k, first, last, *opaque in row:
            colour, name = colours[int(k)], names[int(k)]
            title = f"{name}: {first:.1f} to {last:.1f} s"
            faint = f' fill-opacity="{opaque[0]:.2f}"' if opaque else ""
            drawn.append(
                f'<rect x="{x(first):.1f}" y="{y}" width="{max(0.6, x(last) - x(first)):.1f}" '
                f'height="{height}" fill="{css_of(colour)}"{faint}>'
                f"<title>{escape(title)}</title></rect>"
            )
            if named and x(last) - x(first) > 7 * len(name) + 8:
                ink = "#1d2226" if sum(colour) > 330 else "#ffffff"
                drawn.append(
                    f'<text x="{(x(first) + x(last)) / 2:.1f}" y="{y + 14}" text-anchor="middle" '
                    f'style="fill:{ink}">{escape(name)}</text>'
                )
        return "".join(drawn)

    parts = [f'<svg viewBox="0 0 {width} {bottom + 20}" role="img" class="ribbons">']
    if truth:
        at = f'x="{left - 8}" y="19" text-anchor="end"'
        parts.append(f'<text class="value" {at}>annotated</text>')
        parts.append(spans(truth, 4, high, named=True))
    shown = clip_names(list(predictions), 18)
    for n, (name, row) in enumerate(predictions.items()):
        y = 4 + high + 4 + (low + 3) * n
        parts.append(
            f'<text x="{left - 8}" y="{y + 10}" text-anchor="end">'
            f"{escape(shown[n])}<title>{escape(name)}</title></text>{spans(row, y, low)}"
        )
    scale = 60 if minutes else 1
    for tick in ticks(start / scale, end / scale, 8):
        anchor = "end" if x(tick * scale) > width - right - 16 else "middle"
        parts.append(
            f'<text class="tick" x="{x(tick * scale):.1f}" y="{bottom + 14}" '
            f'text-anchor="{anchor}">{tick:g} {"min" if minutes else "s"}</text>'
        )
    return "".join([*parts, "</svg>"])
