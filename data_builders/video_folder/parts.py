"""Which video files are parts of one operation, told by their names alone.

The rule in one sentence: a number in a file's name numbers operations (`op1`, `op2`) unless it
follows a word for a part (`part2`, `teil2`, `CH01`), another number (`OP03_001`), or nothing but
the names of a camera or a folder (`00001.MTS`, `GH010123`), or stands before a name with a number
(`1_OP03`); then the files whose names are the same but for that number are parts of one operation.
A word may stand for the number (`first`, `Teil zwei`, `Ende`), and a film may be there twice
(`op1 - Copy`, `op1_720p`, `OP1.mov`).
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from data_builders.video_folder import part_words as words
from surgrec_jax.records.errors import safe_text


@dataclasses.dataclass(frozen=True)
class Part:
    """A file that may be a part of an operation.

    Attributes:
        path: relative to the folder of videos.
        operation: what the parts have in common: a path without ending.
        order: sorts the parts; the last number counts up by one from part to part where `counted`.
        channel: of several cameras that film at the same time, or "".
        total: how many parts there are, where the name says so.
        counted: whether a number left out is a part that is missing (not so for times of day).
        from_one: whether the first part is number 1 or 0 (not so for a camera's own count).
        by_folder: whether the operation is told by the folder alone.
        version: whether it is the same film as another file, as its name says ("copy", "720p").
    """

    path: Path
    operation: str
    order: tuple[int, ...]
    channel: str = ""
    total: int | None = None
    counted: bool = True
    from_one: bool = True
    by_folder: bool = False
    version: bool = False


_IN_HEX = re.compile(r"[0-9a-f]{6,}", re.IGNORECASE)  # names that are hashes


def menu(path: Path) -> bool:
    """Whether a file is a DVD's menu, which shows no operation."""
    match = words.DVD.fullmatch(path.stem)
    return path.suffix.lower() == ".vob" and (
        path.stem.lower() == "video_ts" or bool(match and match[2] == "0")
    )


def names_one_case(folder: str) -> bool:
    """Whether a folder's name is a word for a patient or an operation, and a number."""
    return bool(re.fullmatch(rf"(?:{words.OPERATION}|p)[\W_]*\d+[a-z]?", folder, re.IGNORECASE))


def find_parts(videos: Sequence[Path]) -> dict[str, list[Part]]:
    """Operation -> its files in order: all whose names have the number of a part.

    Args:
        videos: paths relative to the folder of videos.
    """
    folders = {path.parent for path in videos}
    groups: dict[str, list[Part]] = {}
    for path in videos:
        part = _part(path, alone=len(folders) == 1)
        if part is not None:
            groups.setdefault(part.operation.casefold(), []).append(part)
    _regroup(groups)
    _add_restarting(videos, groups)
    _add_first(videos, groups)
    found = {}
    for members in groups.values():
        letters = [part for part in members if _by_letter(part)]
        if not letters or min(part.order for part in members)[-1] <= 1:
            members.sort(key=lambda part: (part.channel, part.order, part.path.as_posix()))
            found[members[0].operation] = members
    return found


def _by_letter(part: Part) -> bool:
    return bool(words.LETTER.match(part.path.stem)) and part.counted


def _part(path: Path, alone: bool) -> Part | None:
    """The part that a name tells by itself; `alone` when all videos lie in one folder."""
    if words.UID.fullmatch(path.name) or words.UID.fullmatch(path.stem):
        return None
    stem, channel = unicodedata.normalize("NFC", path.stem), ""
    folder = "" if path.parent == Path(".") else path.parent.as_posix()
    version = False
    while (match := words.VERSION.search(stem)) and _cut(stem, match).strip(words.TRIM):
        stem, version = _cut(stem, match), True
    if match := words.CHANNEL.search(stem):
        channel = match[0].strip(words.TRIM)
        stem = _cut(stem, match)

    def part(operation: str, *order: int, **more) -> Part:
        own = operation.strip(words.TRIM)
        named = safe_text("/".join(filter(None, (folder, own)))) or "recording"
        return Part(path, named, order, channel, by_folder=not own, version=version, **more)

    if not stem.strip(words.TRIM):
        return part("", 0, counted=False)
    if match := words.DVD.fullmatch(stem):
        return part("", int(match[1]), int(match[2]), counted=False)
    if match := words.GOPRO.fullmatch(stem):
        kind = "GOPR" if match[4] or match[1].lower() == "gp" else match[1].upper()
        recording, chapter = match[3] or match[5], int(match[2] or 0)
        if folder and not alone:
            return part("", int(recording), chapter, counted=False)
        return part(f"{kind} {recording}", int(recording), chapter)
    if match := words.OF.search(stem):
        return part(_cut(stem, match), int(match[1]), total=int(match[2]))
    if match := words.WORD.search(stem) or words.WORD_BEHIND.search(stem):
        return part(_cut(stem, match), words.number(next(filter(None, match.groups()))))
    if match := words.PLACE.search(stem):
        place = words.PLACES.get(match[1].lower())
        number = words.ORDINALS[match[1].lower()] if place is None else place
        return part(_cut(stem, match), number, counted=place is None)
    if match := words.COPY.search(stem):
        return part(_cut(stem, match), int(match[1]))
    if match := words.CAMERA.fullmatch(stem):
        counts = not stem[0].isdigit() or path.suffix.lower() in words.TAPELESS
        if counts or (folder and not alone):
            return part("", int(match[1]), counted=stem[0].isdigit(), from_one=False)
        return part(stem, 0, counted=False) if channel or version else None
    numbered = _numbered(stem)
    if numbered is not None:
        operation, number, counted = numbered
        return part(operation, number, counted=counted)
    return part(stem, 0, counted=False) if channel or version else None


def _numbered(stem: str) -> tuple[str, int, bool] | None:
    """(operation, number, whether parts are counted) for a number at the end, behind another."""
    if match := words.MOMENT.search(stem):
        return stem[: match.end(1)], _moment(match), False
    if words.ENDS_WITH_DATE.search(stem):
        return None
    if match := words.LETTER.match(stem):
        return match[1], ord(match[2].lower()) - ord("a") + 1, True
    match = words.LAST.match(stem)
    before, word, gap, number = match.groups() if match else ("", "", "", "")
    known = words.TECHNICAL.sub(" ", before + word)
    if re.search(r"\d", known):
        if word.lower() in words.OPERATION.split("|"):  # a patient's second operation is his too
            if _names_patient(known):
                return before, int(number), True
        elif word and gap and not (word.lower() in words.WEAK or _names_patient(known)):
            return f"{before}{word}", int(number), True
        elif gap or word.lower() in words.WEAK or (len(word) == 1 and not _IN_HEX.fullmatch(stem)):
            return before, int(number), True
    if match := words.LEADING.fullmatch(stem):
        return match[2], int(match[1]), True
    return None


def _moment(match: re.Match) -> int:
    """A time of day as hhmmss."""
    hours = int(match[2])
    if match[5]:
        hours = hours % 12 + 12 * (match[5].lower() == "p")
    return hours * 10_000 + int(match[3]) * 100 + int(match[4] or 0)


def _names_patient(text: str) -> bool:
    return bool(re.search(r"(?<![^\W_])(?:patient|subject|pat|sub|pid)[\s_.\-]*\d", text, re.I))


def _regroup(groups: dict[str, list[Part]]) -> None:
    """Parts that only their like shows: `OP3_1_2`, `OP3_2_2`, and moments with a number behind."""
    alone = [(key, members[0]) for key, members in groups.items() if len(members) == 1]
    of_total: dict[tuple[str, int], dict[int, tuple[str, Part]]] = {}
    for key, part in alone:
        folder, _, stem = part.operation.rpartition("/")
        if match := words.MOMENT.search(stem):
            operation = "/".join(filter(None, (folder, stem[: match.end(1)])))
            moved = dataclasses.replace(
                part, operation=operation, order=(_moment(match), *part.order), counted=False
            )
            del groups[key]
            groups.setdefault(operation.casefold(), []).append(moved)
            continue
        match = re.fullmatch(r"(.*\d.*?)[\W_]+(\d{1,2})", part.operation, re.DOTALL)
        if match and part.counted and int(match[2]) <= part.order[-1]:
            of_total.setdefault((match[1], part.order[-1]), {})[int(match[2])] = key, part
    bases = [base for base, _ in of_total]
    for (base, total), found in of_total.items():
        if len(found) > 1 and bases.count(base) == 1:
            for number, (key, part) in found.items():
                del groups[key]
                groups.setdefault(base.casefold(), []).append(
                    dataclasses.replace(part, operation=base, order=(number,), total=total)
                )


def _add_restarting(videos: Sequence[Path], groups: dict[str, list[Part]]) -> None:
    """`meier_1`, `meier_2`, `schulz_1`: the count begins again before or behind another name."""
    known = {part.path for members in groups.values() for part in members}
    named: dict[Path, dict[str, list[Part]]] = {}  # folder -> operation -> parts
    for path in videos:
        name, number = _counted_name(path.stem)
        if path in known or not name or re.search(r"\d", words.TECHNICAL.sub(" ", name)):
            continue
        if re.search(rf"(?<![^\W\d_])(?:{words.OPERATION}|video)$", name, re.I):
            continue
        operation = (path.parent / name).as_posix()
        of_folder = named.setdefault(path.parent, {})
        of_folder.setdefault(operation.casefold(), []).append(Part(path, operation, (number,)))
    for of_folder in named.values():
        several = {key: parts for key, parts in of_folder.items() if len(parts) > 1}
        starts = [min(part.order for part in parts) for parts in of_folder.values()]
        if len(set(starts)) < len(starts):
            groups.update(several)


def _counted_name(stem: str) -> tuple[str, int]:
    """The name and the number of `meier_2` and `02 - Meier`; ("", 0) where there is none."""
    if match := re.fullmatch(r"(.*[^\W\d_])[\W_]+(\d{1,4})", stem, re.DOTALL):
        return match[1], int(match[2])
    if match := re.fullmatch(r"(\d{1,4})[\W_]+([^\W\d_].*)", stem, re.DOTALL):
        return match[2], int(match[1])
    return "", 0


def _add_first(videos: Sequence[Path], groups: dict[str, list[Part]]) -> None:
    """`op1.mp4` is the first part where there is an `op1 (1).mp4` or an `op1_part2.mp4`.

    It is the same film where there is an `op1 - Copy.mp4` alone, or an `OP1.mov`.
    """
    known = {part.path for members in groups.values() for part in members}
    others: dict[str, list[Path]] = {}
    for path in videos:
        if path in known:
            continue
        own = unicodedata.normalize("NFC", path.with_suffix("").as_posix())
        if members := groups.get(own.casefold()):
            first = min(part.order for part in members)
            same = all(part.version and not part.counted for part in members)
            order = first if same else (*first[:-1], first[-1] - 1)
            members.append(Part(path, members[0].operation, order, counted=not same))
        else:
            others.setdefault(own.casefold(), []).append(path)
    for paths in others.values():
        if len({path.stem for path in paths}) > 1:
            operation = safe_text(paths[0].with_suffix("").as_posix())
            groups[operation.casefold()] = [
                Part(path, operation, (0,), counted=False, version=True) for path in paths
            ]


def missing(parts: Sequence[Part]) -> list[int]:
    """Numbers of parts that are missing up to the last one known of, of each channel by itself.

    They begin at 1, or at the first part, where that is 0.
    """
    lacking: set[int] = set()
    for channel in {part.channel for part in parts}:
        own = [part for part in parts if part.channel == channel and part.counted]
        numbers = {part.order[-1] for part in own}
        if numbers:
            last = max([*numbers, *(part.total or 0 for part in own)])
            first = min(1, *numbers) if own[0].from_one else min(numbers)
            lacking |= set(range(first, last + 1)) - numbers
    return sorted(lacking)


def _cut(text: str, match: re.Match) -> str:
    """`text` without what matched, and without separators that then meet."""
    left = text[: match.start()].rstrip(words.TRIM)
    right = text[match.end() :].lstrip(words.TRIM)
    return f"{left}_{right}" if left and right else left + right
