"""The official folds, read from the label pickles without loading them."""

import mmap
import re
from collections.abc import Mapping
from pathlib import Path

from surgrec_jax.records.errors import BuildError, safe_text

SPLITS = ("train", "val", "test")
FOLDS = 5
CENTRES = {"B": "bern", "S": "strasbourg"}
# 1fps_100: all of the training videos (other numbers are parts of them).
PATTERN = (
    r"((?:bern|strasbourg)/labels_by70_splits/labels/"
    r"(?:train/1fps_100|val/1fps|test/1fps)_[0-4]\.pickle)"
)
_VIDEO = re.compile(rb"[BS]BP\d{2}(?!\d)")


def fold_of(lists: Mapping[str, Path], fold: int, centre: str) -> dict[str, str]:
    """Video -> split in a fold of one centre; empty when its lists are not there.

    A pickle can run code when it is loaded, so it is only searched for video names: whatever its
    protocol, they stand in it as plain text.

    Args:
        lists: what `PATTERN` matched -> path.
        fold: 0 to 4.
        centre: "bern" or "strasbourg".

    Raises:
        BuildError: a list without videos, or a video in two lists of the fold.
    """
    folder = f"{centre}/labels_by70_splits/labels"
    names = {
        split: f"{folder}/{split}/1fps{'_100' if split == 'train' else ''}_{fold}.pickle"
        for split in SPLITS
    }
    if not all(name in lists for name in names.values()):
        return {}
    assigned: dict[str, str] = {}
    for split, name in names.items():
        videos = _videos(lists[name])
        if not videos:
            raise BuildError(f"{safe_text(lists[name])} names no video; download it again.")
        for video in videos:
            other = assigned.setdefault(video, split)
            if other != split:
                raise BuildError(
                    f"{safe_text(lists[name])}: {video} stands in {other} too, in fold {fold}."
                )
    return assigned


def _videos(path: Path) -> list[str]:
    if not path.stat().st_size:
        return []
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return sorted({match[0].decode("ascii") for match in _VIDEO.finditer(data)})
