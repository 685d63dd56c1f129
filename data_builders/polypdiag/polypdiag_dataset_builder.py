"""PolypDiag: videos of endoscopy that show a lesion or none, as prepared for Endo-FM."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import PRESENT, class_id, split_rows
from data_builders.common.labels.tables import Row
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput, BuildError, check_inside, safe_text

DIAGNOSES = ("normal", "abnormal")
SPLITS = {"train": "train", "val": "test"}  # list -> split


class Builder(VideoDatasetBuilder):
    """PolypDiag: 253 videos of endoscopy, normal or abnormal; the published two lists."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold videos/, splits/train.txt and splits/val.txt of PolypDiag in Endo-FM's form; "
        "download: https://github.com/med-air/Endo-FM"
    )
    DOMAIN = "endoscopy"
    VIDEO_LABELS: ClassVar = {"diagnosis": DIAGNOSES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"videos/([^/]+)\.mp4",
            others={"lists": r"splits/(train|val)\.txt"},
        )
        if not found["lists"]:
            raise BuildError(
                f"{self.name}: no list of a split was found. {self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            )
        lines: dict[str, list[tuple[str, Row]]] = {}
        for name, path in found["lists"].items():
            for row in _rows(path):
                lines.setdefault(Path(row.text("video")).stem, []).append((SPLITS[name], row))
        videos = found["video"]
        for video, of_video in lines.items():
            (_, row), others = of_video[0], of_video[1:]
            for _, other in others:
                where = f"{safe_text(row.path.name)}:{row.line}"
                self.pass_over(other.error(f"is {video} once more, after {where}; it is left out"))
            if video not in videos:
                self.pass_over(row.error(f"there is no video {video}.mp4"))
        for video in sorted(videos.keys() - lines.keys()):
            self.leave_out(videos[video], "stands in no list of splits")
        return [
            self.item(video, path, lines[video][0][0], row=lines[video][0][1])
            for video, path in videos.items()
            if len(lines.get(video, ())) == 1
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        row = item.extra["row"]
        diagnosis = class_id(row, row.cells["label"], PRESENT)
        return OpenedVideo(item.path, video_labels={"diagnosis": diagnosis})


def _rows(path: Path) -> list[Row]:
    try:
        check_inside(path, path.parent)
        return split_rows(path, ("video", "label"), separator=",")
    except BadInput as error:
        raise BuildError(f"{error}; all videos need this list: download it anew.") from error
