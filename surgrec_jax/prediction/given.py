"""The videos that a command is given: files, folders of pictures, and folders of these."""

import collections
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from data_builders.common.video.images import IMAGE_SUFFIXES
from data_builders.common.video.kinds import is_video
from data_builders.video_folder.folder import VIDEO_SUFFIXES, find_videos
from surgrec_jax.safety.errors import DataError, UserError


def find(
    paths: Sequence[Path],
    skip: Callable[[Path, str], None],
    *,
    picture_fps: float | None = None,
    without: Path | None = None,
) -> tuple[list[Path], list[UserError | OSError]]:
    """The videos of some paths, each once, in their order; and what is wrong with the others.

    A folder whose pictures lie in it, with no video beside them, is one video. Of any other folder
    all videos are taken that `data_builders build video_folder` would take, in its order. What is
    no folder comes back as it is, also where nothing is there.

    Args:
        skip: called with (path, reason) for each file in a folder that is passed over.
        picture_fps: pictures per second of folders of pictures.
        without: a folder that no video is taken from, that of the answers.
    """
    found: dict[Path, Path] = {}
    wrong: list[UserError | OSError] = []
    for path in paths:
        try:
            folder = path.is_dir() and not _is_of_pictures(path)
            inside = find_videos(path, skip, picture_fps).videos if folder else [path]
        except (UserError, OSError) as error:
            wrong.append(error)
            continue
        if folder and without is not None:
            own = without.resolve()
            inside = [v for v in inside if not v.resolve().is_relative_to(own)]
        for video in inside:
            found.setdefault(video.resolve(), video)
    return list(found.values()), wrong


def _is_of_pictures(folder: Path) -> bool:
    """Whether a folder has pictures in it, and no video."""
    names = sorted(os.listdir(folder))
    pictures = [name for name in names if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    others = (folder / name for name in names if name not in pictures)
    return bool(pictures) and not any(
        path.is_file() and (path.suffix.lower() in VIDEO_SUFFIXES or is_video(path))
        for path in others
    )


def video_names(paths: Sequence[Path]) -> list[str]:
    """A folder's name for each video: that of its file without the ending, or more where needed.

    Raises:
        DataError: two videos cannot be told apart.
    """
    absolute = [Path(path).resolve() for path in paths]
    shared = Path(os.path.commonpath([path.parent for path in absolute])) if absolute else Path()
    ways = (
        [path.name if path.is_dir() else path.stem for path in absolute],
        [path.name for path in absolute],
        [f"{path.parent.name}--{path.name}" for path in absolute],
        ["--".join(path.relative_to(shared).parts) for path in absolute],
    )
    names = next((names for names in ways if len(set(names)) == len(names)), None)
    if names is None:
        twice, _ = collections.Counter(ways[-1]).most_common(1)[0]
        raise DataError(
            f"two videos are called {twice.replace('--', '/')}; give each a folder of its own with "
            "--out"
        )
    return names
