"""The splits of the build before, kept when a corpus grows and is built again in its place."""

from pathlib import Path
from typing import Any

from data_builders.common.source.splits import split_by_case
from surgrec_jax.records.info import NOTE
from surgrec_jax.records.prepared import read_videos
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError


def earlier_splits(directory: Path, dealt_by: dict[str, Any] | None) -> dict[str, str]:
    """Case -> split of the data set in `directory`; {} if there is none, or it was dealt otherwise.

    Args:
        directory: of the version.
        dealt_by: the fractions and the seed that splits are dealt by now (`builder.dealt_by`).

    Raises:
        BuildError: a data set stands there, and says nothing of its cases that can be read.
    """
    if not (directory / "dataset_info.json").is_file():
        return {}
    try:
        with untrusted.interpreting(directory / NOTE):
            note = untrusted.read_json(directory / NOTE)
            if "cases" in note:
                known = {str(case): str(split) for case, split in note["cases"].items()}
                return known if note["dealt_by"] == dealt_by else {}
    except (OSError, ValueError):
        pass  # another tool made the build; its records tell
    stored = read_videos(directory)
    known = {v.case_id: split for split, videos in stored.items() for v in videos.values()}
    if not dealt_by or not known:
        return known
    # A build of before this was written down: dealt as is asked for now, or otherwise?
    again = split_by_case(known, dealt_by["fractions"], dealt_by["seed"])
    return known if again == known else {}


def kept_sentence(earlier: dict[str, str], now: dict[str, str]) -> str:
    """A sentence for the summary; "" where there is nothing to tell.

    Args:
        earlier: case -> split of the build before.
        now: the same of this build.
    """
    kept = sum(earlier.get(case) == split for case, split in now.items())
    if not earlier or not kept:
        return ""
    new = len(now.keys() - earlier.keys())
    moved = len(now) - kept - new
    text = f"{kept} cases are in the splits that they had in the build before, {new} are new"
    return f"{text}, {moved} have moved" if moved else text


def read_earlier(directory: Path, dealt_by: dict[str, Any] | None) -> tuple[dict[str, str], str]:
    """`earlier_splits`, and a sentence where they cannot be read."""
    try:
        return earlier_splits(directory, dealt_by), ""
    except UserError as error:
        return {}, f"dealt anew, for those of the build before cannot be read: {error}"
