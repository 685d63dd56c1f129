"""Files that are of one patient by what they hold, whatever their names say."""

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from data_builders.common.video.dicom import patient_of
from data_builders.video_folder.joining import FolderVideo
from surgrec_jax.records.errors import BuildError

ONE_OR_TWO = (
    "one case or two? write one of them throughout, or names that differ in more than capitals, "
    "spaces, signs between words, zeros and how accents are encoded"
)


def spelling(case: str) -> str:
    """A case's name without what people vary: `P01`, `p-1` and `P 1` are alike, `12.0` and `12`.

    Two numbers stay apart: `1-12` and `11-2` differ.
    """
    seen = unicodedata.normalize("NFKC", case).casefold()
    seen = "".join(c for c in seen if unicodedata.category(c) != "Cf")
    seen = re.sub(r"[\s_\-'\"=]+", " ", seen).strip()
    seen = re.sub(r"^(\d+)[.,]0+$", r"\1", seen)
    seen = re.sub(r"(?<!\d) | (?!\d)", "", seen)
    return re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", seen)


def told_apart(case: str, other: str) -> tuple[str, str]:
    """Two cases as messages show them: those that look alike by their code points."""
    alike = unicodedata.normalize("NFKC", case) == unicodedata.normalize("NFKC", other)
    return (ascii(case), ascii(other)) if alike else (repr(case), repr(other))


def check_spellings(cases: Collection[str]) -> None:
    """Refuses one case in two spellings: it might stand in two splits.

    Raises:
        BuildError: names both.
    """
    first: dict[str, str] = {}
    for case in cases:
        if (other := first.setdefault(spelling(case), case)) != case:
            first_told, told = told_apart(other, case)
            raise BuildError(
                f"the cases {first_told} and {told} differ in their spelling alone: {ONE_OR_TWO}; "
                "where names of files tell cases, rename them, give a case_id per video in "
                "--labels, or say --join none (they are two)."
            )


def same_cases(
    root: Path,
    videos: Sequence[FolderVideo],
    cases: Sequence[str],
    named: Sequence[bool],
    dicom: Collection[Path],
) -> tuple[list[str], list[str]]:
    """Puts DICOM files of one patient, and files of the same bytes, into one case.

    Args:
        root: the folder of videos.
        videos, cases: and the case of each so far.
        named: whether the user named its case; such a one is kept.
        dicom: the files that are DICOM files, relative to the folder.

    Returns:
        The cases, and sentences for the build's summary.
    """
    of_file, kept, remarks = {}, set(), []
    for video, case, by_user in zip(videos, cases, named, strict=True):
        of_file |= dict.fromkeys(video.files, case)
        kept |= set(video.files) if by_user else set()
    copies = _copies(root, of_file)
    for marked, mark_of, what in (
        (
            [file for file in of_file if file in dicom],
            lambda file: patient_of(root / file),
            "DICOM file(s) name the patient of another in their headers, and",
        ),
        (copies, copies.get, "file(s) are the same as another, byte by byte, and"),
    ):
        of_file, joined, apart = _one_case(of_file, kept, marked, mark_of)
        if joined:
            remarks.append(
                f"{joined} {what} were put into its case (--case_from, or a case_id per video in "
                "--labels, decides)"
            )
        if apart:
            remarks.append(f"{apart} {what} have a case of their own by --case_from or --labels")
    return [of_file[video.files[0]] for video in videos], remarks


def _copies(root: Path, files: Collection[Path]) -> dict[Path, str]:
    """Of files that have the bytes of another: a hash of them. Only equal sizes are read."""
    sizes: dict[int, list[Path]] = {}
    for file in files:
        if (root / file).is_file():
            sizes.setdefault(os.path.getsize(root / file), []).append(file)
    found: dict[str, list[Path]] = {}
    for size, alike in sizes.items():
        for file in alike if size and len(alike) > 1 else ():
            with open(root / file, "rb") as opened:
                mark = hashlib.file_digest(opened, "sha256").hexdigest()
            found.setdefault(mark, []).append(file)
    return {file: mark for mark, same in found.items() if len(same) > 1 for file in same}


def _one_case(
    cases: Mapping[Path, str],
    named: Collection[Path],
    marked: Collection[Path],
    mark_of: Callable[[Path], str | None],
) -> tuple[dict[Path, str], int, int]:
    """Puts files of one mark (a patient's number, or the same bytes) into one case.

    What shares a case with such a file goes with it. The mark is compared here and forgotten: it is
    no part of what is returned.

    Args:
        cases: file -> its case so far.
        named: those whose case the user named; they keep it.
        marked: those that may have a mark.
        mark_of: the mark of one of these, or None.

    Returns:
        The cases; how many files were joined to another's case; and how many stand apart from
        another file of their mark because the user named their case.
    """
    first: dict[str, str] = {}  # mark -> case
    merged: dict[str, str] = {}
    fixed, apart = {cases[path] for path in named}, 0

    def final(case: str) -> str:
        while case in merged:
            case = merged[case]
        return case

    for path in sorted(marked, key=lambda path: (path not in named, os.fsencode(path))):
        mark = mark_of(path)
        if mark is None:
            continue
        other, own = final(first.setdefault(mark, cases[path])), final(cases[path])
        if own == other:
            continue
        if own not in fixed:
            merged[own] = other
        elif other not in fixed:
            merged[other] = own
        else:
            apart += 1
    joined = sum(final(cases[path]) != cases[path] for path in marked)
    return {path: final(case) for path, case in cases.items()}, joined, apart
