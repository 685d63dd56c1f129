"""Draws the rooms of the house and the arrows between them, from the imports.

python -m tests.draw_rooms docs/images/rooms.svg
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

from tests.rooms import FOR_ALL, ROOMS, arrows, layers


def direct(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The arrows that no path over other rooms replaces: what a reader needs to see the order."""
    below: dict[str, set[str]] = {}
    for room in sorted(ROOMS, key=layers(edges).__getitem__):
        straight = {b for a, b in edges if a == room}
        below[room] = straight.union(*(below[b] for b in straight))
    return {
        (a, b) for a, b in edges if not any(b in below[c] for d, c in edges if d == a and c != b)
    }


def picture() -> str:
    """The rooms in layers as SVG, an arrow for every one of `direct`."""
    edges = {pair for pair in arrows() if not set(pair) & set(FOR_ALL)}
    height = layers(edges)
    for room in FOR_ALL:
        height[room] = -1
    rows: dict[int, list[str]] = {}
    for room in ROOMS:
        rows.setdefault(height[room], []).append(room)
    wide, tall, gap_x, gap_y, margin = 216, 52, 18, 46, 20
    width = 2 * margin + max(map(len, rows.values())) * (wide + gap_x) - gap_x
    top = max(rows)
    place, boxes = {}, []
    for level, row in sorted(rows.items(), reverse=True):
        left = (width - len(row) * (wide + gap_x) + gap_x) / 2
        y = margin + (top - level) * (tall + gap_y)
        for number, room in enumerate(row):
            x = left + number * (wide + gap_x)
            place[room] = (x + wide / 2, y)
            words = escape(ROOMS[room][0])
            boxes.append(
                f'<rect x="{x:g}" y="{y:g}" width="{wide}" height="{tall}" rx="6"/>'
                f'<text x="{x + wide / 2:g}" y="{y + 21:g}" class="name">{escape(room)}</text>'
                f'<text x="{x + wide / 2:g}" y="{y + 39:g}">{words}</text>'
            )
    lines = []
    for a, b in sorted(direct(edges)):
        (x1, y1), (x2, y2) = place[a], place[b]
        y1, middle = y1 + tall, (y1 + tall + y2) / 2
        lines.append(
            f'<path d="M{x1:g} {y1:g}C{x1:g} {middle:g} {x2:g} {middle:g} {x2:g} {y2:g}"/>'
        )
    bottom = 2 * margin + (top - min(rows)) * (tall + gap_y) + tall
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {bottom:g}" '
        f'width="{width:g}" height="{bottom:g}">\n'
        "<style>svg{background:#fff}rect{fill:#f2f6fa;stroke:#5b7690}"
        "path{fill:none;stroke:#5b7690;stroke-opacity:.55;marker-end:url(#tip)}"
        "text{font:11px sans-serif;text-anchor:middle;fill:#33414e}"
        ".name{font:bold 14px sans-serif;fill:#111}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" style="fill:#5b7690"/></marker>'
        "</defs>\n" + "\n".join(lines + boxes) + "\n</svg>\n"
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(), encoding="utf-8")
