"""Hyper-Kvasir, labelled videos: a finding per video of the gastrointestinal tract."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import by_name, class_id
from data_builders.common.labels.tables import Row, read_shared
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BuildError, safe_text

ORGANS = ("Lower GI", "Upper GI")
FOLDER = {"lower-gi-tract": "lower", "upper-gi-tract": "upper"}
TABLE = "video-labels.csv"


class Builder(VideoDatasetBuilder):
    """Hyper-Kvasir, labelled videos: organ, finding by folder, and the owner's finding in words."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"Unpack labeled-videos: {TABLE}, lower-gi-tract, upper-gi-tract."
    )

    DOMAIN = "endoscopy"
    VIDEO_LABELS: ClassVar = {"organ": ORGANS}  # and those of `video_label_names`

    def __init__(self, **kwargs):
        self._scanned: dict[str, tuple[Path, str, str, list[Row]]] | None = None
        self._notes: list[tuple[str, str]] = []
        super().__init__(**kwargs)

    def video_label_names(self) -> Mapping[str, Sequence[str]]:
        """The owner fixed no list of findings: they are those in the download, sorted."""
        if self.manual_dir is None:
            return self.VIDEO_LABELS
        videos = self._scan(self.manual_dir).values()
        texts = {_words(row) for *_, rows in videos for row in rows} - {None}
        names = {
            "organ": ORGANS,
            "finding": tuple(sorted({finding for _, _, finding, _ in videos})),
            "finding_text": tuple(sorted(texts)),
        }
        return {name: classes for name, classes in names.items() if classes}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        if manual_dir is not None and self.manual_dir is None:
            raise BuildError("hyper_kvasir needs manual_dir=...: its classes are the download's.")
        videos = self._scan(manual_dir)
        self.skipped += self._notes
        items = [
            self.item(name, path, organ=organ, finding=finding, rows=rows)
            for name, (path, organ, finding, rows) in videos.items()
        ]
        return self.deal(items, group=lambda item: item.extra["finding"])

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        names, rows, organ = self.video_label_names(), item.extra["rows"], item.extra["organ"]
        labels = {
            "organ": ORGANS.index(organ),
            "finding": names["finding"].index(item.extra["finding"]),
        }
        if not rows:
            problem = f"has no row in {TABLE}: its finding in words is not labelled"
            return OpenedVideo(item.path, {}, labels, problems=[problem])
        if len(rows) > 1:
            raise rows[1].error(f"is a second row for {item.video_id}, after line {rows[0].line}")
        if class_id(rows[0], rows[0].text("Organ"), by_name(ORGANS)) != labels["organ"]:
            reason = f"says {rows[0].cells['Organ']!r}; the video lies in the folder of {organ!r}"
            raise rows[0].error(reason)
        if _words(rows[0]) is not None:
            labels["finding_text"] = names["finding_text"].index(_words(rows[0]))
        return OpenedVideo(item.path, {}, labels)

    def _scan(self, manual_dir: Path | None) -> dict[str, tuple[Path, str, str, list[Row]]]:
        """Name -> (path, organ, finding, rows of the table); read once, TFDS asks early."""
        if self._scanned is not None:
            return self._scanned
        before = len(self.skipped)
        found = self.find_files(
            manual_dir,
            video=r"(?:lower|upper)-gi-tract/[^/]+/[^/]+/([^/]+)\.(?:avi|mpg)",
            others={"table": r"(video-labels)\.csv"},
            strays=r"[^/]*\.(mp4|avi|mpg)",
        )
        table = self.shared(manual_dir, found["table"], TABLE)
        rows = read_shared(table, ("Video file", "Organ", "Finding 1"), by="Video file")
        self._notes = self.skipped[before:]
        del self.skipped[before:]
        for name in sorted(rows.keys() - found["video"].keys()):
            where = f"{safe_text(table)}:{rows[name][0].line}"
            self._notes.append((where, f"labels {name!r}, which has no video"))
        self._scanned = {}
        for key, path in found["video"].items():
            tract, _, folder = path.parts[-4:-1]
            organ = ORGANS[list(FOLDER).index(tract)]
            finding = safe_text(f"{FOLDER[tract]}-{' '.join(folder.split())}")
            self._scanned[safe_text(key)] = path, organ, finding, rows.get(key, [])
        return self._scanned


def _words(row: Row) -> str | None:
    return " ".join(safe_text(row.cells["Finding 1"]).split()) or None
