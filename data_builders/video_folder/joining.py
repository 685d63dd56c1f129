"""Files that are parts of one operation: refused, made one case, or joined to one video.

`--join` says what they are: "none" (each file is a case), "cases" (the files of an operation are
one case, each with its own clock), "parts" (they are one video on one clock: a part begins where
the one before it ended).
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from data_builders.video_folder.parts import Part, find_parts, missing, names_one_case
from surgrec_jax.records.errors import BuildError, safe_text

JOIN = ("none", "cases", "parts")
_REMEDY = (
    "give --join parts (one case on one clock, for labels in the operation's time), --join cases "
    "(one case, each file on its own clock) or --join none (each file is a case of its own)"
)


@dataclasses.dataclass(frozen=True)
class FolderVideo:
    """A video of the folder: one file, or several that are joined.

    Attributes:
        name: its id: the path of its file in the folder, or the operation's name when joined.
        files: paths relative to the folder, in order.
        operation: what its name says it is a part of, or None.
        by_folder: whether its folder alone says so.
    """

    name: str
    files: tuple[Path, ...]
    operation: str | None = None
    by_folder: bool = False


def arrange(videos: Sequence[Path], join: str | None) -> list[FolderVideo]:
    """The videos of a folder, with parts of one operation joined where `join` is "parts".

    Args:
        videos: paths relative to the folder.
        join: one of JOIN, or None.

    Raises:
        BuildError: a part is missing, or two files are the same part.
    """
    groups, part_of = find_parts(videos), {}
    for parts in groups.values():
        part_of |= {part.path: part for part in parts}
    made: dict[str, FolderVideo] = {}
    for path in videos:
        part = part_of.get(path)
        if part is None:
            video = FolderVideo(safe_text(path.as_posix()), (path,))
        elif join != "parts":
            name = safe_text(path.as_posix())
            video = FolderVideo(name, (path,), part.operation, part.by_folder)
        else:
            video = _joined(part, groups[part.operation])
        if made.setdefault(video.name, video) != video:
            raise BuildError(
                f"--join parts: {video.name!r} is both a file and an operation; rename one."
            )
    return list(made.values())


def _joined(part: Part, parts: Sequence[Part]) -> FolderVideo:
    own = [other for other in parts if other.channel == part.channel]
    _check_whole(part.operation, own)
    several = len({other.channel for other in parts}) > 1
    name = f"{part.operation}_{part.channel}" if several and part.channel else part.operation
    return FolderVideo(name, tuple(other.path for other in own), part.operation, part.by_folder)


def _check_whole(operation: str, parts: Sequence[Part]) -> None:
    """Refuses parts whose clock cannot be known."""
    first: dict[tuple[int, ...], Part] = {}
    for part in parts:
        if (other := first.setdefault(part.order, part)) is not part:
            raise BuildError(
                f"--join parts: {_name(other)} and {_name(part)} are the same part of "
                f"{operation!r}; remove one of them, or give --join cases."
            )
    if lacking := missing(parts):
        numbers = ", ".join(map(str, lacking[:10]))
        raise BuildError(
            f"--join parts: of {operation!r} part {numbers} is missing (there are "
            f"{', '.join(_name(part) for part in parts[:5])}), so when the later parts begin is "
            "not known; add what is missing, or give --join cases."
        )


def check_torn(
    videos: Sequence[FolderVideo], case_of: Sequence[str], split_of: Sequence[str] | None
) -> None:
    """Refuses splits that may tear an operation apart.

    Args:
        videos: those whose case is told by nothing but the file's name.
        case_of: the case of each.
        split_of: the split of each where a table assigns them, or None where cases are dealt.

    Raises:
        BuildError: names two files and the options that say what they are.
    """
    splits = [None] * len(videos) if split_of is None else split_of
    seen: dict[str, list[tuple[FolderVideo, str, str | None]]] = {}
    for video, case, split in zip(videos, case_of, splits, strict=True):
        if video.operation is not None:
            seen.setdefault(video.operation, []).append((video, case, split))
    torn = [
        members
        for members in seen.values()
        if len({case for _, case, _ in members}) > 1
        and (split_of is None or len({split for _, _, split in members}) > 1)
    ]
    if torn:
        first, second = (safe_text(video.files[0].as_posix()) for video, _, _ in torn[0][:2])
        files = sum(map(len, torn))
        raise BuildError(
            f"{first} and {second} look like parts of one operation ({len(torn)} such, {files} "
            f"files), which must not stand in several splits: {_REMEDY}."
        )


def check_folders(
    videos: Sequence[FolderVideo],
    cases: Sequence[str],
    by_folder: bool,
    split_of: Sequence[str] | None = None,
) -> None:
    """Refuses cases that tear apart what folders hold together.

    A folder that is named after a patient or an operation (`patient 7/`, `OP03/`) is of one case;
    and where folders are cases, `OP03/disc1` and `OP03/disc2` are not two.

    Args:
        videos, cases: those whose case names tell, and the case of each.
        by_folder: whether the folder is the case.
        split_of: the split of each where a table assigns them; then only splits must not differ.

    Raises:
        BuildError: names two cases and the options that say what they are.
    """
    apart = cases if split_of is None else split_of  # what must be one
    if by_folder:
        of_case = dict(zip(cases, apart, strict=True))
        groups = find_parts([Path(f"{case}.f") for case in dict.fromkeys(cases)]).values()
        parts = ([part for part in found if part.from_one] for found in groups)
        folders = [[part.path.as_posix().removesuffix(".f") for part in found] for found in parts]
        torn = next((found for found in folders if len({of_case[f] for f in found}) > 1), None)
        if torn:
            first, second = torn[:2]
            raise BuildError(
                f"--case_from folder: the folders {first} and {second} look like parts of one "
                "operation, which must not stand in several splits: give --case_from an expression "
                "for what they share, such as '^[^/]+' (the first folder), or --join none (each "
                "folder is a case of its own)."
            )
        return
    first: dict[Path, tuple[FolderVideo, str]] = {}
    for video, case in zip(videos, apart, strict=True):
        for folder in video.files[0].parents:
            if not names_one_case(folder.name):
                continue
            other, its_case = first.setdefault(folder, (video, case))
            if its_case != case:
                raise BuildError(
                    f"{other.name} and {video.name} lie in a folder that is named after one "
                    f"patient or operation, {safe_text(folder.as_posix())!r}, and would be cases "
                    "of their own: give --case_from folder (or an expression), a case_id per video "
                    "in --labels, or --join none (each file is a case of its own)."
                )


def joined_parts(videos: Sequence[FolderVideo]) -> list[str]:
    """A sentence on what was joined, so that a wrong guess is seen."""
    joined = [video for video in videos if len(video.files) > 1]
    if not joined:
        return []
    shown = "; ".join(
        f"{video.name}: {', '.join(safe_text(file.name) for file in video.files[:4])}"
        + (f" and {len(video.files) - 4} more" if len(video.files) > 4 else "")
        for video in joined[:20]
    )
    more = f"; and {len(joined) - 20} more" if len(joined) > 20 else ""
    return [f"{len(joined)} operation(s) were joined of their parts ({shown}{more})"]


def missing_parts(videos: Sequence[FolderVideo]) -> list[str]:
    """A sentence for every operation of which parts are missing."""
    return [
        f"{operation}: part {', '.join(map(str, lacking[:10]))} is missing"
        for operation, parts in find_parts([f for v in videos for f in v.files]).items()
        if (lacking := missing(parts))
    ]


def _name(part: Part) -> str:
    return safe_text(part.path.as_posix())
