"""Names cut to a length so that different ones stay different."""

from collections.abc import Sequence

TITLE, COLUMN = 34, 30  # characters of a task and of a column in a terminal's table


def clip_text(text: str, length: int) -> str:
    """The text, cut with an ellipsis where it is longer than `length`."""
    return text if len(text) <= length else text[: length - 1] + "…"


def clip_names(names: Sequence[str], length: int) -> list[str]:
    """The names, cut to `length`; no two different ones become alike.

    They lose their end, or where that would make two alike their middle, or carry a number.
    """
    for tail in (0, length // 2, length - 4):
        cut = [
            clip_text(name, length)
            if len(name) <= length or not tail
            else f"{name[: length - 1 - tail]}…{name[-tail:]}"
            for name in names
        ]
        if len(set(cut)) == len(set(names)):
            return cut
    numbers = {name: str(k) for k, name in enumerate(dict.fromkeys(names), 1)}
    return [f"{numbers[n]} {clip_text(n, length - 1 - len(numbers[n]))}" for n in names]


def fitted(rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows of `results.lines` with titles and column names that leave room in a terminal."""
    (head, *below), titles = rows, clip_names([row[0] for row in rows], TITLE)
    head = [*head[:2], *clip_names(head[2:], COLUMN)]
    return [[title, *row[1:]] for title, row in zip(titles, [head, *below], strict=True)]
