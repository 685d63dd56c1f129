"""Sources of loose pictures at a known rate: which of them make a video, and in what order."""

import itertools
import os
import re
from pathlib import Path

from data_builders.common.source.builder import OpenedVideo
from data_builders.common.source.items import VideoItem
from data_builders.common.video.images import IMAGE_SUFFIXES
from surgrec_jax.records.errors import BadInput, BuildError, safe_text

_LOOK_THROUGH = 20_000  # files, to find out what is wrong with a folder


def list_pictures(
    builder, manual_dir: Path | None, pattern: str, *, at_least: int = 1
) -> list[VideoItem]:
    """A video for every name that `pattern` finds, all in the split "train".

    Args:
        builder: what is passed over is noted in its `skipped`.
        manual_dir: the user's download.
        pattern: regular expression for the whole relative path of a picture, with forward slashes
            and the groups `video` and `frame` (a number). All pictures of a video lie in one
            folder.
        at_least: videos of fewer pictures are left out.

    Raises:
        BuildError: no such folder, no picture that fits, or a pattern without the two groups.
    """
    if manual_dir is None or not manual_dir.is_dir():
        raise BuildError(f"{builder.name} needs --manual_dir, the folder of your download.")
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BuildError(f"{pattern!r} is no regular expression: {error}.") from error
    if not {"video", "frame"} <= expression.groupindex.keys():
        raise BuildError(f"{pattern!r} needs the groups (?P<video>...) and (?P<frame>...).")
    counts: dict[str, dict[Path, int]] = {}
    for here, folders, names in os.walk(manual_dir):
        folders[:] = sorted(n for n in folders if not n.startswith(".") and n != "__MACOSX")
        folder, unknown = Path(here), []
        for name in names:
            if name.startswith(".") or os.path.splitext(name)[1].lower() not in IMAGE_SUFFIXES:
                continue
            match = expression.fullmatch((folder / name).relative_to(manual_dir).as_posix())
            if (folder / name).is_symlink():  # it may lead anywhere
                builder.leave_out(folder / name, "is a link; not followed")
            elif match and match["frame"].isdecimal():
                found = counts.setdefault(match["video"], {})
                found[folder] = found.get(folder, 0) + 1
            else:
                unknown.append(name)
        if unknown:
            reason = f"{len(unknown)} pictures have names that do not parse, first {min(unknown)}"
            builder.leave_out(folder, reason)
    above = Path(os.path.abspath(manual_dir)).parent
    if not counts and any(
        expression.fullmatch(path.relative_to(above).as_posix())
        for path in itertools.islice(manual_dir.rglob("*"), _LOOK_THROUGH)
    ):
        raise BuildError(
            f"{builder.name}: no picture in {safe_text(manual_dir)} fits {pattern!r}, but with the "
            f"folder's own name they do: give --manual_dir {safe_text(above)}."
        )
    if not counts:
        raise BuildError(f"{builder.name}: no picture in {safe_text(manual_dir)} fits {pattern!r}.")
    items = []
    for video, folders in sorted(counts.items()):
        if len(folders) > 1:
            reason = f"the pictures of {video} lie in {len(folders)} folders"
        elif max(folders.values()) < at_least:
            reason = f"{video} has {max(folders.values())} pictures, fewer than {at_least}"
        else:
            (folder,) = folders
            relative = folder.relative_to(manual_dir).as_posix()
            extra = {"video": safe_text(video), "folder": safe_text(relative), "pattern": pattern}
            items.append(builder.item(safe_text(video), folder, "train", **extra))
            continue
        builder.leave_out(min(folders), reason)
    return items


def open_pictures(item: VideoItem, scratch_dir: Path, image_fps: float) -> OpenedVideo:
    """A folder of links to the pictures of one video, numbered by their frames.

    Raises:
        BadInput: two pictures are the same frame.
    """
    expression, frames = re.compile(item.extra["pattern"]), {}
    prefix = "" if item.extra["folder"] == "." else f"{item.extra['folder']}/"
    for name in sorted(os.listdir(item.path)):
        match = expression.fullmatch(prefix + name)
        if not match or safe_text(match["video"]) != item.extra["video"]:
            continue
        suffix = os.path.splitext(name)[1]
        if suffix.lower() not in IMAGE_SUFFIXES or (item.path / name).is_symlink():
            continue
        frame = int(match["frame"])
        if frame in frames:
            raise BadInput(item.path / name, f"is frame {frame}, as {frames[frame]} is")
        frames[frame] = name
        (scratch_dir / f"{frame}{suffix}").symlink_to((item.path / name).resolve())
    if not frames:
        raise BadInput(item.path, "its pictures are gone")
    return OpenedVideo(scratch_dir, image_fps=image_fps, image_start=min(frames))
