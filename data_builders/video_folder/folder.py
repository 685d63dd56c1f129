"""Walks a tree of folders for videos; trusts neither names nor links."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from surgrec_jax.records.errors import BuildError, safe_text

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("3gp", "avi", "dv", "flv", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg"),
        *("mts", "mxf", "ogv", "ts", "vob", "webm", "wmv"),
    )
)


def find_videos(root: Path, skip) -> list[Path]:
    """All video files under `root`, sorted by their path, hidden ones left out.

    Links to folders are not followed. A link to a file counts when the file lies in `root` and
    would not be found by itself; any other link is skipped, because it may lead anywhere, or would
    put the same video into two splits.

    Args:
      root: the folder.
      skip: called with (path, reason) for each file passed over.

    Raises:
      BuildError: no such folder, or no video in it.
    """
    if not root.is_dir():
        raise BuildError(
            f"--manual_dir {safe_text(root)} is not a folder; give the folder of your videos."
        )
    real_root = root.resolve()
    files, links, others = [], [], 0
    for here, folders, names in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in list(folders):
            if os.path.islink(os.path.join(here, name)):
                skip(Path(here, name), "is a link to a folder; such links are not followed")
                folders.remove(name)
        for name in names:
            path = Path(here, name)
            if _hidden(name) or path.suffix.lower() not in VIDEO_SUFFIXES:
                others += 1
            elif path.is_symlink():
                links.append(path)
            else:
                files.append(path)
    found = {path.resolve() for path in files}
    for path in sorted(links):
        target = path.resolve()
        if not target.is_relative_to(real_root):
            skip(path, "is a link that leads out of the folder")
        elif not target.exists():
            skip(path, "is a link to a file that does not exist")
        elif target in found:
            skip(
                path,
                f"is a link to {safe_text(target.relative_to(real_root))}, which is taken itself",
            )
        else:
            files.append(path)
            found.add(target)
    if not files:
        kinds = " ".join(sorted(VIDEO_SUFFIXES))
        raise BuildError(
            f"{safe_text(root)} holds no video ({others} other files); looked for {kinds}."
        )
    return sorted(files, key=lambda path: os.fsencode(path))


def check_stems(relative: Sequence[Path]) -> None:
    """Refuses file names as cases where they are none: where files in several folders have one.

    Recorders write `patient07/00001.mp4`, `patient07/00002.mp4`, ...: the number is no patient, and
    a split by it would put every patient into train and test.

    Raises:
      BuildError: names two such files.
    """
    first: dict[str, Path] = {}
    for path in relative:
        other = first.setdefault(path.stem, path)
        if other.parent != path.parent:
            raise BuildError(
                f"{safe_text(other.as_posix())} and {safe_text(path.as_posix())} have one name in "
                "two folders, so names do not tell patients apart: give --case_from folder, or an "
                "expression, or a case_id per video in --labels."
            )


def case_of(relative: Path, rule: str) -> str:
    """The case a video belongs to: "stem", "folder", or a regular expression.

    The expression is searched in the relative path (with forward slashes); its first group, or else
    the whole match, is the case.

    Raises:
      BuildError: the rule gives no case for this file.
    """
    if rule == "stem":
        return safe_text(relative.stem)
    if rule == "folder":
        if relative.parent == Path("."):
            raise BuildError(
                f"--case_from folder: {safe_text(relative)} lies in no subfolder; move it to one."
            )
        return safe_text(relative.parent.as_posix())
    match = re.search(rule, safe_text(relative.as_posix()))
    case = match and (match[1] if match.re.groups else match[0])
    if not case:
        raise BuildError(
            f"--case_from {rule!r} finds no case in {safe_text(relative.as_posix())!r}; change the "
            "expression or rename the file."
        )
    return case


def class_of(relative: Path) -> str | None:
    """The first subfolder of a video as its class, or None for a file that lies in none."""
    return " ".join(safe_text(relative.parts[0]).split()) if len(relative.parts) > 1 else None


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"


def _refuse(error: OSError) -> None:
    raise BuildError(f"{safe_text(error.filename)} cannot be read: {error.strerror}.")
