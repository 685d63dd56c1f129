"""Which video files are parts of one operation, told by their names alone.

The rule in one sentence: a number in a file's name numbers operations (`op1`, `op2`) unless it
follows a word for a part (`part2`, `teil2`, `CH01`), another number (`OP03_001`), or nothing but
the names of a camera or a folder (`00001.MTS`, `GH010123`); then the files whose names are the same
but for that number are parts of one operation.
"""

import dataclasses
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from surgrec_jax.records.errors import safe_text

_END = r"(?![^\W_])"  # no letter or digit follows
_BEGIN = r"(?<![^\W\d_])"  # no letter stands before
_SEP = r"[\s_.\-]*"
_CHANNEL = re.compile(
    rf"{_BEGIN}(?:channel|camera|kamera|kanal|view|angle|cam|ch){_SEP}(\d{{1,2}}|[a-d]){_END}"
    rf"|(?<=[\s_.\-])(left|right|links|rechts){_END}$",
    re.IGNORECASE,
)
_WORDS = (
    "parts?|prt|pt|teil|partie|parte|deel|chapter|kapitel|chunk|segment|seg|section|abschnitt|"
    "disc|disk|dvd|cd|tape|kassette|clip|split|take|fragment|reel"
)
_WORD = re.compile(
    rf"{_BEGIN}(?:{_WORDS}){_SEP}(\d{{1,4}}|[a-h]|i{{1,3}}|iv|v){_END}"
    rf"|(?<![^\W_])(\d{{1,3}})\.?{_SEP}(?:teil|part|partie|parte){_END}",
    re.IGNORECASE,
)
_OF = re.compile(rf"(?<!\d)(\d{{1,3}}){_SEP}(?:of|von|sur){_SEP}(\d{{1,3}})(?!\d)", re.IGNORECASE)
_COPY = re.compile(r"\s*\((\d{1,3})\)$")
_DATE = r"(?:(?:19|20)\d\d[-_.]?\d\d[-_.]?\d\d|\d\d[-_.]\d\d[-_.](?:19|20)\d\d)"
_ENDS_WITH_DATE = re.compile(rf"(?<!\d){_DATE}$")
_MOMENT = re.compile(
    rf"((?<!\d){_DATE})[t\s_.\-]*(\d\d)[-_.:h]?(\d\d)(?:[-_.:m]?(\d\d))?s?$", re.IGNORECASE
)
_TECHNICAL = re.compile(r"(?<![^\W_])(?:\d{3,4}[pi]|[248]k|h26[45]|\d+fps|mp4|3d|2d)" + _END, re.I)
_OPERATION = "operation|procedure|surgery|eingriff|patient|subject|case|fall|pat|sub|op|pid"
_LAST = re.compile(r"^(.*?)([^\W\d_]*)([\s_.\-]*)(\d{1,6})$", re.DOTALL)
_WEAK_WORDS = "video vid v p film movie recording rec aufnahme track title seq sequence"
_WEAK = frozenset(_WEAK_WORDS.split())
_LETTER = re.compile(r"^(.*\d)[\s_.\-]?([a-h])$", re.IGNORECASE | re.DOTALL)
_GOPRO = re.compile(r"(g[hxlsp])(\d\d)(\d{4})|(gopr)(\d{4})", re.IGNORECASE)
_DVD = re.compile(r"vts_(\d\d)_(\d)", re.IGNORECASE)
_CAMERA = re.compile(
    r"(?:mvi|img|dscn?|dji|mov|m2u|cimg|pict|sdv|hdv|capture|rec)?[\s_\-]*(\d{1,8})", re.IGNORECASE
)
_UID = re.compile(r"\d+(?:\.\d+){3,}")  # names of DICOM files; their last number counts nothing
_TAPELESS = frozenset((".mts", ".m2ts", ".m2t", ".mod", ".tod", ".vob"))
ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5}


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
    """

    path: Path
    operation: str
    order: tuple[int, ...]
    channel: str = ""
    total: int | None = None
    counted: bool = True
    from_one: bool = True
    by_folder: bool = False


def menu(path: Path) -> bool:
    """Whether a file is a DVD's menu, which shows no operation."""
    match = _DVD.fullmatch(path.stem)
    return path.suffix.lower() == ".vob" and (
        path.stem.lower() == "video_ts" or bool(match and match[2] == "0")
    )


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
    return bool(_LETTER.match(part.path.stem)) and part.counted


def _part(path: Path, alone: bool) -> Part | None:
    """The part that a name tells by itself; `alone` when all videos lie in one folder."""
    if _UID.fullmatch(path.name) or _UID.fullmatch(path.stem):
        return None
    stem, channel = unicodedata.normalize("NFC", path.stem), ""
    folder = "" if path.parent == Path(".") else path.parent.as_posix()
    if match := _CHANNEL.search(stem):
        channel = match[0].strip(" _.-")
        stem = _cut(stem, match)

    def part(operation: str, *order: int, **more) -> Part:
        own = operation.strip(" _.-")
        named = safe_text("/".join(filter(None, (folder, own)))) or "recording"
        return Part(path, named, order, channel, by_folder=not own, **more)

    if not stem.strip(" _.-"):
        return part("", 0, counted=False)
    if match := _DVD.fullmatch(stem):
        return part("", int(match[1]), int(match[2]), counted=False)
    if match := _GOPRO.fullmatch(stem):
        kind = "GOPR" if match[4] or match[1].lower() == "gp" else match[1].upper()
        recording, chapter = match[3] or match[5], int(match[2] or 0)
        if folder and not alone:
            return part("", int(recording), chapter, counted=False)
        return part(f"{kind} {recording}", int(recording), chapter)
    if match := _OF.search(stem):
        return part(_cut(stem, match), int(match[1]), total=int(match[2]))
    if match := _WORD.search(stem):
        return part(_cut(stem, match), _number(match[1] or match[2]))
    if match := _COPY.search(stem):
        return part(_cut(stem, match), int(match[1]))
    if match := _CAMERA.fullmatch(stem):
        counts = not stem[0].isdigit() or path.suffix.lower() in _TAPELESS
        if counts or (folder and not alone):
            return part("", int(match[1]), counted=stem[0].isdigit(), from_one=False)
        return part(stem, 0, counted=False) if channel else None
    numbered = _numbered(stem)
    if numbered is not None:
        operation, number, counted = numbered
        return part(operation, number, counted=counted)
    return part(stem, 0, counted=False) if channel else None


def _numbered(stem: str) -> tuple[str, int, bool] | None:
    """(operation, number, whether parts are counted) for a number at the end, behind another."""
    if match := _MOMENT.search(stem):
        moment = "".join(filter(None, (match[2], match[3], match[4] or "00")))
        return stem[: match.end(1)], int(moment), False
    if _ENDS_WITH_DATE.search(stem):
        return None
    if match := _LETTER.match(stem):
        return match[1], ord(match[2].lower()) - ord("a") + 1, True
    match = _LAST.match(stem)
    if not match:
        return None
    before, word, gap, number = match.groups()
    known = _TECHNICAL.sub(" ", before + word)
    if not re.search(r"\d", known):
        return None
    if word.lower() in _OPERATION.split("|"):  # a second operation of one patient is his too
        return (before, int(number), True) if _names_patient(known) else None
    if not word and gap:
        return before, int(number), True
    if word.lower() in _WEAK or (word and gap and _names_patient(known)):
        return before, int(number), True
    if word and gap:
        return f"{before}{word}", int(number), True
    return None


def _names_patient(text: str) -> bool:
    return bool(re.search(r"(?<![^\W_])(?:patient|subject|pat|sub|pid)[\s_.\-]*\d", text, re.I))


def _add_restarting(videos: Sequence[Path], groups: dict[str, list[Part]]) -> None:
    """`meier_1`, `meier_2`, `schulz_1`, `schulz_2`: the count begins again behind another name."""
    known = {part.path for members in groups.values() for part in members}
    named: dict[Path, dict[str, list[Part]]] = {}  # folder -> operation -> parts
    for path in videos:
        match = re.fullmatch(r"(.*[^\W\d_])[\s_.\-]+(\d{1,4})", path.stem, re.DOTALL)
        if path in known or not match or re.search(r"\d", _TECHNICAL.sub(" ", match[1])):
            continue
        if re.search(rf"(?<![^\W\d_])(?:{_OPERATION}|video)$", match[1], re.I):
            continue
        operation = (path.parent / match[1]).as_posix()
        of_folder = named.setdefault(path.parent, {})
        of_folder.setdefault(operation.casefold(), []).append(
            Part(path, operation, (int(match[2]),))
        )
    for of_folder in named.values():
        several = {key: parts for key, parts in of_folder.items() if len(parts) > 1}
        starts = [min(part.order for part in parts) for parts in several.values()]
        if len(several) > 1 and len(set(starts)) < len(starts):
            groups.update(several)


def _add_first(videos: Sequence[Path], groups: dict[str, list[Part]]) -> None:
    """`op1.mp4` is the first part where there is an `op1 (1).mp4` or an `op1_part2.mp4`."""
    known = {part.path for members in groups.values() for part in members}
    for path in videos:
        members = groups.get(path.with_suffix("").as_posix().casefold())
        if members and path not in known:
            first = min(part.order for part in members)
            order = (*first[:-1], first[-1] - 1)
            members.append(Part(path, members[0].operation, order))


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
    left, right = text[: match.start()].rstrip(" _.-"), text[match.end() :].lstrip(" _.-")
    return f"{left}_{right}" if left and right else left + right


def _number(text: str) -> int:
    if text.isdigit():
        return int(text)
    return ROMAN.get(text.lower(), ord(text[0].lower()) - ord("a") + 1)
