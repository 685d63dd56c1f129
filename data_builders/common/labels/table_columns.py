"""Which columns of a table are the video, the times, the cases and the labels."""

import dataclasses
import re
from pathlib import Path

from data_builders.common.labels import headers
from data_builders.common.labels.instants import looks_like_time
from data_builders.common.labels.sheets import nothing
from surgrec_jax.records.errors import BadInput

KNOWN = (
    "path, case_id, split, domain; start and end, begin and end, from and to, onset and offset, or "
    "start and duration; time or frame alone; each may name its unit, as start_s, start_ms or "
    "start_frame"
)
_MANY = 50


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """How the user wants tables to be read.

    Attributes:
        label_columns: the columns that are labels, or None for those that clearly are.
        time_unit: of time columns whose names give none: "s", "ms", "min" or "frames".
        first_frame: the number of a video's first frame, 0 or 1; None is 0, and refuses tables
            whose first label begins at frame 1.
        fold_classes: see `entries.one_spelling`.
        presence: columns whose classes become tracks of their own, absent or present.
    """

    label_columns: tuple[str, ...] | None = None
    time_unit: str | None = None
    first_frame: int | None = None
    fold_classes: bool = False
    presence: tuple[str, ...] = ()

    @property
    def label_names(self) -> frozenset[str] | None:
        """`label_columns` as columns are compared (see `headers.plain`)."""
        asked = self.label_columns
        return None if asked is None else frozenset(map(headers.plain, asked))


@dataclasses.dataclass
class Columns:
    """Numbers of columns; None where there is none of a role."""

    path: int | None
    facts: dict[str, int]
    start: int | None
    end: int | None
    duration: int | None
    sampled: bool  # whether `start` names an instant rather than a start
    units: dict[int, str | None]
    labels: list[int]
    unused: list[int]


def find_columns(path: Path, line: int, names: list[str], options: TableOptions) -> Columns:
    """Finds the role of every column.

    Args:
        path, line: of the header.
        names: of the columns, as written.
        options: of the user.

    Raises:
        BadInput: names that are empty, double or no names, two columns of one role, an end without
            a start.
    """
    plain = [headers.plain(name) for name in names]
    for k, name in enumerate(plain, start=1):
        if not name:
            raise BadInput(path, f"column {k} has no name; name it, or remove it", line)
        if plain.count(name) > 1:
            raise BadInput(path, f"column {name!r} stands there twice; rename one", line)
    wanted = options.label_names
    free = [k for k in range(len(names)) if wanted is None or plain[k] not in wanted]
    paths = [k for k in free if plain[k] in headers.PATH]
    if len(paths) > 1 and "path" in plain:
        paths = [plain.index("path")]
    if len(paths) > 1:
        both = " and ".join(repr(names[k]) for k in paths[:2])
        raise BadInput(path, f"columns {both} may both name the video; call one 'path'", line)
    facts = {plain[k]: k for k in free if plain[k] in headers.CASE_FIELDS}
    roles = {
        k: found
        for k in free
        if k not in paths and (found := headers.time_name(names[k])) is not None
    }
    try:
        start, end, duration, instant = (
            headers.choose(names, roles, role) for role in ("start", "end", "duration", "instant")
        )
    except ValueError as error:
        raise BadInput(path, f"{error}; rename or remove one", line) from None
    if end is not None and start is None and instant is None:
        raise BadInput(
            path,
            f"{names[end]!r} needs a start; start_s and end_s go together (known: {KNOWN})",
            line,
        )
    if end is not None and "offset" in plain[end] and "onset" not in plain[start or 0]:
        raise BadInput(path, f"{names[end]!r} is an end only beside an onset; rename it", line)
    used = {*paths, *facts.values(), *roles}
    labels = [
        k for k in range(len(names)) if (k not in used if wanted is None else plain[k] in wanted)
    ]
    for k in labels:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_]*", plain[k]):
            raise BadInput(
                path, f"column {names[k]!r}: use letters a to z, digits and underscores", line
            )
    return Columns(
        path=paths[0] if paths else None,
        facts=facts,
        start=instant if start is None else start,
        end=end,
        duration=duration if end is None else None,
        sampled=start is None,
        units={k: found.unit or options.time_unit for k, found in roles.items()},
        labels=labels,
        unused=[k for k in range(len(names)) if k not in used and k not in labels],
    )


def check_doubt(
    path: Path, line: int, names: list[str], columns: Columns, values: list[list[str]]
) -> None:
    """Refuses labels that are not clearly labels, by their names or by their cells.

    Args:
        path, line: of the header.
        names: of all columns, as written.
        columns: what they are.
        values: the cells of each label column.

    Raises:
        BadInput: names the column, the reason, and the columns that are known.
    """
    for k, column in zip(columns.labels, values, strict=True):
        cells = [cell for cell in column if not nothing(cell)]
        different = set(cells)
        if not cells:
            continue
        reason = headers.doubt(names[k])
        numbers = all(map(whole_number, different))
        if reason is None and (times := [cell for cell in different if looks_like_time(cell)]):
            reason = f"holds times or measured numbers ({min(times)!r})"
        elif reason is None and numbers and len(different) > _MANY:
            reason = f"holds {len(different)} different numbers"
        elif reason is None and numbers and different - {"0", "1"}:
            reason = None if headers.names_label(names[k]) else "holds numbers other than 0 and 1"
        elif reason is None and len(different) >= 20 and len(different) > len(cells) / 2:
            reason = f"holds {len(different)} different values in {len(cells)} rows"
        if reason is not None:
            raise BadInput(
                path,
                f"column {names[k]!r} {reason}, so it is not clearly a label: say which columns "
                f"are labels (--label_columns phase,skill), or rename it (known: {KNOWN})",
                line,
            )


def whole_number(cell: str) -> bool:
    """Whether a cell is a whole number, as numbers of classes are."""
    return bool(re.fullmatch(r"[+-]?\d+", cell))
