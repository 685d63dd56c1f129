"""Finds a data set's files in a download by their names; trusts neither names nor links."""

import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from data_builders.common.source.items import VideoItem
from surgrec_jax.records.errors import BuildError, safe_text

Found = dict[str, dict[str, Path]]
_LOOK_THROUGH = 20_000  # files and folders above the one given


def find_files(
    builder,
    manual_dir: Path | None,
    *,
    video: str | Sequence[str],
    annotations: Mapping[str, str] | None = None,
    others: Mapping[str, str] | None = None,
    strays: str = r"[^/]*\.(mp4|avi)",
) -> Found:
    """Walks `manual_dir` and sorts its files by the key in their names.

    A pattern is a regular expression for the end of a path, from the beginning of one of its parts,
    with forward slashes; folders end with a slash, and a folder that matches is not looked into.
    Its first group that took part in the match is the key, usually the case number. Archives that
    unpack into a doubled folder (Suturing/Suturing/...) thus need no special care.

    `manual_dir` may also be a folder above the one that the source's README shows, or one below it
    that holds all that is needed. Where one below lacks all but the videos, `builder.elsewhere`
    becomes the folder that has the rest, so that whoever misses it can say which one to give.

    Args:
        builder: the builder; everything passed over is noted in its `skipped`.
        manual_dir: the user's download.
        video: pattern of the videos, or several, of which the first that has a key is taken. A file
            belongs to the first pattern that it matches.
        annotations: kind -> pattern of files that belong to the video with the same key.
        others: kind -> pattern of further files.
        strays: files that match this and nothing else are listed: their names do not parse.

    Returns:
        {"video": {key: path}, kind: {key: path}, ...}, keys sorted. Where two files claim one key,
        both are left out and listed.

    Raises:
        BuildError: no such folder, or no video in it.
    """
    if manual_dir is None:
        raise BuildError(
            f"{builder.name} needs --manual_dir, the folder of your download. "
            f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    if not manual_dir.is_dir():
        raise BuildError(f"--manual_dir {safe_text(manual_dir)} is not a folder.")
    videos = [video] if isinstance(video, str) else list(video)
    kinds = {f"video {k}": pattern for k, pattern in enumerate(videos)}
    kinds |= {**(annotations or {}), **(others or {})}
    found = _sort(builder, manual_dir, kinds, strays)
    merged: dict[str, Path] = {}
    for k in range(len(videos)):
        merged = {**found.pop(f"video {k}"), **merged}
    if not merged:
        builder.elsewhere = _above(manual_dir, videos)
        raise BuildError(
            f"{builder.name}: no videos in {safe_text(manual_dir)} (looked for "
            f"{' or '.join(videos)}). {builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    rest = {**(annotations or {}), **(others or {})}
    if rest and not any(found[kind] for kind in rest):
        builder.elsewhere = _above(manual_dir, rest.values())
    for kind in annotations or {}:
        for key in set(found[kind]) - set(merged):
            builder.leave_out(found[kind][key], f"belongs to no video ({kind} of {key})")
    builder.skipped.sort()
    found["video"] = dict(sorted(merged.items()))
    return found


def in_split(
    builder,
    videos: Mapping[str, Path],
    splits: Mapping[str, Collection[int]],
    number: Callable[[str], int] = int,
) -> Iterator[tuple[str, Path, str]]:
    """(key, path, split) of the videos, by an official split over case numbers.

    Args:
        builder: its `skipped` gets the videos whose number is in no split.
        videos: key -> path.
        splits: split -> numbers.
        number: the case number in a key.
    """
    for key, path in videos.items():
        split = next((name for name, cases in splits.items() if number(key) in cases), None)
        if split is None:
            builder.leave_out(path, f"case {number(key)} is in no split of {builder.name}")
        else:
            yield key, path, split


def split_items(
    builder,
    found: Found,
    splits: Mapping[str, Collection[int]] | None,
    name: Callable[[str], str] = str,
    *,
    number: Callable[[str], int] = int,
    case: Callable[[str], str] | None = None,
) -> list[VideoItem]:
    """An item of each video (in an official split), with all files of its key as extra.

    Args:
        found: as `find_files` gives it, without kinds of files that have other keys.
        splits: as `in_split` takes them; None for items that are dealt (`deal`).
        name, case: the video's id and its case by its key; the video is a case of its own by
            default.
    """
    kinds = [kind for kind in found if kind != "video"]
    listed = ((key, path, "") for key, path in found["video"].items())
    if splits is not None:
        listed = in_split(builder, found["video"], splits, number)
    return [
        builder.item(
            name(key),
            path,
            split,
            case=case(key) if case else "",
            **{kind: found[kind].get(key) for kind in kinds},
        )
        for key, path, split in listed
    ]


def shared(builder, manual_dir: Path | None, files: Mapping[str, Path], name: str) -> Path:
    """The one of `files`, kept as one kind of `others`, that all videos need.

    Raises:
        BuildError: it was not found, or twice; `name` says what it is called.
    """
    if not files:
        raise BuildError(
            f"{builder.name}: {safe_text(manual_dir)} holds no {name}, or several; one is needed. "
            f"{builder.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
    (path,) = files.values()
    return path


def _sort(builder, root: Path, kinds: Mapping[str, str], strays: str) -> Found:
    compiled = {kind: _ending(text) for kind, text in kinds.items()}
    stray = re.compile(_ending(strays).pattern, re.IGNORECASE)
    above = Path(os.path.abspath(root))  # its name may be a part that a pattern begins with
    found: Found = {kind: {} for kind in kinds}
    twice: dict[tuple[str, str], list[Path]] = {}
    real_root = root.resolve()

    def take(path: Path, name: str) -> bool:
        kind = next((kind for kind in kinds if compiled[kind].fullmatch(name)), None)
        if kind is None:
            if stray.fullmatch(name):
                builder.leave_out(path, "a name that does not parse; see the source's README")
            return False
        if path.is_symlink() and not path.resolve().is_relative_to(real_root):
            builder.leave_out(path, "is a link that leads out of the folder")
            return True
        groups = compiled[kind].fullmatch(name).groups()
        key = next(group for group in groups if group is not None)
        if key in found[kind]:
            twice.setdefault((kind, key), [found[kind][key]]).append(path)
        found[kind].setdefault(key, path)
        return True

    for here, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n != "__MACOSX")
        for folder in list(folders):
            path = Path(here, folder)
            if take(path, (above / path.relative_to(root)).as_posix() + "/"):
                folders.remove(folder)
            elif path.is_symlink():
                builder.leave_out(path, "is a link to a folder; such links are not followed")
        for name in sorted(names):
            if not name.startswith("."):
                path = Path(here, name)
                take(path, (above / path.relative_to(root)).as_posix())
    for (kind, key), paths in twice.items():
        claimed = " and ".join(safe_text(path.relative_to(root)) for path in paths)
        for path in paths:
            builder.leave_out(path, f"{claimed} claim the same {kind.split()[0]} {key}; keep one")
        del found[kind][key]
    return found


def _ending(text: str) -> re.Pattern:
    return re.compile(rf"(?:^|.*/)(?:{text})")


def _above(folder: Path, patterns: Iterable[str]) -> Path | None:
    """The nearest of the two folders above one that holds a file or folder of these patterns.

    None where neither does, or has too many files to be looked through.
    """
    compiled = [_ending(text) for text in patterns]
    below = Path(os.path.abspath(folder))
    for parent in itertools.islice(below.parents, 2):
        left = _LOOK_THROUGH
        for here, folders, names in os.walk(parent):
            folders[:] = sorted(n for n in folders if Path(here, n) != below)
            left -= len(folders) + len(names)
            if left < 0:
                return None
            for name in (*(f"{n}/" for n in folders), *names):
                if any(one.fullmatch(f"{Path(here).as_posix()}/{name}") for one in compiled):
                    return parent
        below = parent
    return None


def refuse(error: OSError) -> None:
    """Stops at a folder that cannot be listed; for `os.walk`, which passes over such folders."""
    raise BuildError(f"{safe_text(error.filename)} cannot be read: {error.strerror}.")
