"""Walks a tree of folders for videos; trusts neither names nor links."""

import dataclasses
import os
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from data_builders.common.source.download import refuse
from data_builders.common.video.dicom import is_dicom
from data_builders.common.video.images import IMAGE_SUFFIXES, why_no_series
from data_builders.common.video.kinds import is_video
from data_builders.video_folder.joining import FolderVideo
from data_builders.video_folder.parts import menu
from surgrec_jax.records.errors import BuildError, safe_text

VIDEO_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("264", "265", "3g2", "3gp", "asf", "avc", "avi", "divx", "dv", "evo", "f4v", "flv"),
        *("h264", "h265", "hevc", "ivf", "m1v", "m2p", "m2t", "m2ts", "m2v", "m4v", "mjpeg"),
        *("mjpg", "mkv", "mov", "mp4", "mpe", "mpeg", "mpg", "mpv", "mts", "mxf", "ogm", "ogv"),
        *("qt", "rm", "rmvb", "tod", "trp", "ts", "vob", "vro", "webm", "wmv", "wtv", "y4m"),
    )
)
# Files of these kinds lie beside videos and are none; all others are looked into.
OTHER_SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("csv", "tsv", "txt", "json", "jsonl", "xml", "yaml", "yml", "md", "html", "htm", "log"),
        *("xls", "xlsx", "ods", "doc", "docx", "odt", "ppt", "pptx", "pdf", "rtf", "ini", "cfg"),
        *("eaf", "boris", "anvil", "textgrid", "srt", "vtt", "ass", "sub", "idx", "thm", "xmp"),
        *("npy", "npz", "mat", "h5", "hdf5", "pkl", "pt", "pth", "py", "ipynb", "sh", "m", "r"),
        *("wav", "mp3", "m4a", "aac", "flac", "wma", "ogg", "opus", "ac3", "svg", "gif", "heic"),
        *("zip", "gz", "tar", "tgz", "7z", "rar", "exe", "dll", "lnk", "url", "db", "md5", "sha1"),
        *("sha256", "ifo", "bup", "bdm", "cpi", "mpl", "moi", "part", "tmp", "bak"),
    )
)
# Folders that systems keep beside a user's: deleted files, thumbnails, snapshots.
_NOBODYS_WORDS = "__macosx $recycle.bin recycler #recycle @recycle @eadir #snapshot lost+found"
_NOBODYS = frozenset((*_NOBODYS_WORDS.split(), "system volume information"))
_NAMED = frozenset(("dicomdir", "thumbs.db", "desktop.ini", "license", "readme", "makefile"))


@dataclasses.dataclass(frozen=True)
class Found:
    """The videos of a tree of folders.

    Attributes:
        videos: paths of video files, DICOM files and folders of pictures, sorted.
        dicom: those that are DICOM files.
    """

    videos: list[Path]
    dicom: frozenset[Path]


def find_videos(root: Path, skip, picture_fps: float | None = None) -> Found:
    """All videos under `root`, hidden ones left out.

    A file with a video's ending counts; one with an ending of OTHER_SUFFIXES does not; any other
    counts when its first bytes are those of a video or of a DICOM file. A folder with two pictures
    or more, and no video beside them, counts as a video when `picture_fps` is given.

    Links to folders are not followed. A link to a file counts when the file lies in `root` and
    would not be found by itself; any other link is skipped, because it may lead anywhere, or would
    put the same video into two splits.

    Args:
        root: the folder.
        skip: called with (path, reason) for each file or folder of pictures passed over.
        picture_fps: pictures per second of the folders of pictures, or None.

    Raises:
        BuildError: no such folder, or no video in it.
    """
    if not root.is_dir():
        raise BuildError(
            f"--manual_dir {safe_text(root)} is not a folder; give the folder of your videos."
        )
    files, links, others = [], [], 0
    pictures: dict[Path, list[str]] = {}
    for here, folders, names in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for name in list(folders):
            if os.path.islink(os.path.join(here, name)):
                skip(Path(here, name), "is a link to a folder; such links are not followed")
                folders.remove(name)
        for name in names:
            path, suffix = Path(here, name), Path(name).suffix.lower()
            if suffix in IMAGE_SUFFIXES and not _hidden(name):
                pictures.setdefault(Path(here), []).append(name)
            elif _hidden(name) or suffix in OTHER_SUFFIXES or name.lower() in _NAMED:
                others += 1
            elif menu(path):
                skip(path, "is the menu of a DVD, which shows no operation")
            elif path.is_symlink():
                links.append(path)
            else:
                files.append(path)
    _add_links(root, files, links, skip)
    videos, dicom = _by_content(files, skip)
    beside = {path.parent for path in videos}
    folders = {
        path: names for path, names in pictures.items() if len(names) > 1 and path not in beside
    }
    videos += _picture_folders(root, folders, skip, picture_fps)
    if not videos:
        hint = ""
        if folders:
            first = safe_text(next(iter(folders)))
            hint = (
                f"; {len(folders)} folder(s) of pictures, such as {first}, are "
                "videos when --native_fps gives their pictures per second"
            )
        kinds = " ".join(sorted(VIDEO_SUFFIXES))
        raise BuildError(
            f"{safe_text(root)} holds no video ({others + len(files)} other files); looked for "
            f"{kinds}, and into what has another ending{hint}."
        )
    return Found(sorted(videos, key=os.fsencode), frozenset(dicom))


def _add_links(root: Path, files: list[Path], links: Sequence[Path], skip) -> None:
    """Adds to `files` the links to files in `root` that are not among them."""
    real_root, targets = root.resolve(), {path.resolve() for path in files}
    for path in sorted(links):
        target = path.resolve()
        if not target.is_relative_to(real_root):
            skip(path, "is a link that leads out of the folder")
        elif not target.exists():
            skip(path, "is a link to a file that does not exist")
        elif target in targets:
            skip(
                path,
                f"is a link to {safe_text(target.relative_to(real_root))}, which is taken itself",
            )
        else:
            files.append(path)
            targets.add(target)


def _picture_folders(
    root: Path, folders: Mapping[Path, Sequence[str]], skip, picture_fps: float | None
) -> list[Path]:
    """The folders of pictures (folder -> their names) that are videos; others are skipped."""
    videos = []
    for folder, names in folders.items():
        if picture_fps is None:
            skip(folder, f"holds {len(names)} pictures; --native_fps RATE makes a video of them")
        elif folder == root:
            skip(folder, "holds pictures itself; put them into a folder in it")
        elif reason := why_no_series(sorted(names)):
            skip(folder, f"{safe_text(reason)}; put each series into a folder, or rename them")
        else:
            videos.append(folder)
    return videos


def _by_content(files: Sequence[Path], skip) -> tuple[list[Path], list[Path]]:
    """Which files are videos, and which of those DICOM."""
    videos, dicom = [], []
    for path in files:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                skip(path, "is not a regular file")
            elif path.suffix.lower() in VIDEO_SUFFIXES or is_video(path):
                videos.append(path)
            elif is_dicom(path):
                videos.append(path)
                dicom.append(path)
            elif path.suffix.lower() == ".dcm":
                skip(path, "is no DICOM file by its first bytes")
            else:
                skip(path, "is no video by its first bytes")
        except OSError as error:
            skip(path, f"cannot be read: {error.strerror}")
    return videos, dicom


def check_stems(videos: Sequence[FolderVideo], join: str | None) -> None:
    """Refuses file names as cases where they are none: where files in several folders have one.

    Recorders write `patient07/00001.mp4`, `patient07/00002.mp4`, ...: the number is no patient, and
    a split by it would put every patient into train and test. Of a part of an operation the name is
    that of the operation, unless `join` says that files are no parts.

    Raises:
        BuildError: names two such files.
    """
    first: dict[str, Path] = {}
    for video in videos:
        path, name = video.files[0], stem_of(video.files[0])
        if video.by_folder and join in ("cases", "parts"):
            continue  # their folder is their case
        if video.operation is not None and not video.by_folder and join != "none":
            name = PurePosixPath(video.operation).name
        other = first.setdefault(name, path)
        if other.parent != path.parent:
            raise BuildError(
                f"{safe_text(other.as_posix())} and {safe_text(path.as_posix())} have one name in "
                "two folders, so names do not tell patients apart: give --case_from folder, or an "
                "expression, or a case_id per video in --labels."
            )


def stem_of(path: Path) -> str:
    """The name without its ending; the last number of a name such as 1.2.840.113 is none."""
    return path.stem if re.search("[A-Za-z]", path.suffix) else path.name


def case_of(relative: Path, rule: str) -> str:
    """The case a video belongs to: "stem", "folder", or a regular expression.

    The expression is searched in the relative path (with forward slashes); its first group, or else
    the whole match, is the case.

    Raises:
        BuildError: the rule gives no case for this file.
    """
    if rule == "stem":
        return safe_text(stem_of(relative))
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
    return name.startswith(".") or name.lower() in _NOBODYS
