"""Kvasir-Capsule: capsule endoscopy with findings of single frames."""

import collections
import re
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, class_id
from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.labels.tables import Row, read_rows, read_shared
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput, BuildError

FINDINGS = (  # alphabetical; the owner gives no numbers
    "Ampulla of Vater",
    "Angiectasia",
    "Blood - fresh",
    "Blood - hematin",
    "Erosion",
    "Erythema",
    "Foreign body",
    "Ileocecal valve",
    "Lymphangiectasia",
    "Normal clean mucosa",
    "Polyp",
    "Pylorus",
    "Reduced mucosal view",
    "Ulcer",
)
CLASSES = by_name(FINDINGS)
FOLDS = ("split_0", "split_1")
COLUMNS = ("filename", "video_id", "frame_number", "finding_class")


class Builder(VideoDatasetBuilder):
    """Kvasir-Capsule: capsule endoscopy, fourteen findings on single frames."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = "It must hold labelled_videos, metadata.csv (unlabelled_videos)."
    DOMAIN = "endoscopy"
    TRACKS: ClassVar = {"finding": FINDINGS, "official_fold": FOLDS}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=[rf"{kind}_videos/([0-9a-f]{{16}})\.mp4" for kind in ("labelled", "unlabelled")],
            others={"metadata": r"(metadata)\.csv", "folds": r"(split_[01])\.csv"},
        )
        table = self.shared(manual_dir, found["metadata"], "metadata.csv")
        # The owner's writer leaves the last cell out of the rows that have no box.
        labels = read_shared(table, COLUMNS, by="video_id", delimiter=";", short=True)
        folds = _folds(found["folds"])
        for name in sorted(labels.keys() - found["video"].keys()):
            note = f"{len(labels[name])} rows name video {name}, which is missing"
            self.pass_over(labels[name][0].error(note))
        items = [
            self.item(
                name, path, "unlabelled", labels=labels.get(name, []), folds=folds.get(name, [])
            )
            for name, path in found["video"].items()
        ]
        labelled = [item for item in items if _is_labelled(item)]
        unlabelled = [item for item in items if not _is_labelled(item)]
        return self.deal(labelled) + unlabelled

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        rows = item.extra["labels"]
        if not rows and not _is_labelled(item):
            return OpenedVideo(item.path)
        if not rows:
            raise BadInput(item.path, "is a labelled video without a row in metadata.csv")
        found: dict[int, dict[int, Row]] = {}  # frame -> finding -> the first row that says so
        for row in rows:
            frame = row.integer("frame_number")
            if _frame(row) != (item.video_id, frame):
                raise row.error(f"{row.cells['filename']!r} is not frame {frame} of this video")
            finding = class_id(row, row.text("finding_class"), CLASSES)
            found.setdefault(frame, {}).setdefault(finding, row)
        samples = [
            (frame, *next(iter(findings.items())))
            for frame, findings in found.items()
            if len(findings) == 1
        ]
        folds = [(_frame(row)[1], fold, row) for fold, row in item.extra["folds"]]
        last = max(found)
        row = next(iter(found[last].values()))
        return OpenedVideo(
            item.path,
            {
                "finding": sampled_track(samples),
                "official_fold": sampled_track(folds),
            },
            extents=[Extent(row.path, last + 1, "frames", whole=False, line=row.line)],
            problems=_several(found),
        )


def _several(found: dict[int, dict[int, Row]]) -> list[str]:
    """A sentence for each set of findings that share frames; such frames have no label."""
    frames = collections.defaultdict(list)
    for frame, findings in sorted(found.items()):
        if len(findings) > 1:
            frames[tuple(sorted(findings))].append(frame)
    return [
        f"{len(numbers)} frame(s) show {' and '.join(FINDINGS[k] for k in findings)} at once and "
        f"are unlabelled: {', '.join(map(str, numbers))}"
        for findings, numbers in frames.items()
    ]


def _is_labelled(item: VideoItem) -> bool:
    return item.path.parent.name == "labelled_videos"


def _folds(tables: dict[str, Path]) -> dict[str, list[tuple[int, Row]]]:
    """Video -> (fold, row) of the owner's two lists of frames, as far as they are there."""
    videos: dict[str, list[tuple[int, Row]]] = {}
    try:
        for name, path in tables.items():
            for row in read_rows(path, ("filename", "label")):
                videos.setdefault(_frame(row)[0], []).append((FOLDS.index(name), row))
    except BadInput as error:
        raise BuildError(f"{error}; download it anew, or remove it to go without.") from error
    return videos


def _frame(row: Row) -> tuple[str, int]:
    match = re.fullmatch(r"([0-9a-f]{16})_(\d{1,9})\.jpg", row.cells["filename"])
    if not match:
        raise row.error(f"{row.cells['filename']!r} is not VIDEO_FRAME.jpg")
    return match[1], int(match[2])
