"""Leaves near-duplicates out of a build, by the list that `audit --duplicates --json` wrote."""

import operator
from collections.abc import Sequence
from pathlib import Path

from data_builders.common.source.items import VideoItem
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.safety import untrusted
from surgrec_jax.safety.errors import UserError


def without_listed(items: Sequence[VideoItem], path: Path, title: str) -> list[VideoItem]:
    """The items without those that the list calls near-duplicates.

    Of a pair in two data sets this one's video goes; of a pair within it, the one that is contained
    in the other.

    Args:
        items: all videos of the data set.
        path: the audit's JSON file.
        title: name/config of the data set, as the audit calls it.

    Raises:
        BuildError: no such list, or it names a video that is not there; or none is left.
    """
    place = operator.itemgetter("data_set", "split", "video_id")
    try:
        with untrusted.interpreting(path):
            pairs = untrusted.read_json(path)["duplicates"]
            named = [(place(pair["video"]), place(pair["stands_in"])) for pair in pairs]
    except (OSError, UserError) as error:
        raise BuildError(
            f"--drop_duplicates {safe_text(path)} is not what `audit --duplicates --json FILE` "
            f"writes ({error!r})."
        ) from error
    mine = {next((video for video in pair if video[0] == title), None) for pair in named} - {None}
    unknown = mine - {(title, item.split, item.video_id) for item in items}
    if unknown:
        _, split, video = min(unknown)
        raise BuildError(
            f"--drop_duplicates {safe_text(path)} names {safe_text(f'{title}@{split} {video}')}, "
            "which is not there; run the audit anew."
        )
    kept = [item for item in items if (title, item.split, item.video_id) not in mine]
    if not kept:
        raise BuildError(f"--drop_duplicates {safe_text(path)} leaves no video of {title}.")
    return kept
