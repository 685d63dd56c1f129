"""LDPolypVideo: colonoscopy, polyps in frames of 160 videos, polyp or none in 103 more."""

import re
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.from_tables import sampled_track
from data_builders.common.labels.tables import Row, read_text
from data_builders.common.labels.tracks import Constant
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.images import IMAGE_SUFFIXES
from surgrec_jax.records.errors import BadInput, check_inside

POLYP = ("no_polyps", "polyps")
IMAGE_FPS = 25.0
SIDES = {"TrainValid": range(1, 101), "Test": range(101, 161)}
FOLDERS = {"0": "videos_without_polyps", "1": "videos_with_polyps"}


class Builder(VideoDatasetBuilder):
    """LDPolypVideo: colonoscopy, polyps per frame (160 videos) or per video (103 videos)."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold TrainValid and Test with Images and Annotations, and may hold "
        "videos_with_polyps and videos_without_polyps."
    )
    DOMAIN = "endoscopy"
    TRACKS: ClassVar = {"polyp": POLYP}
    VIDEO_LABELS: ClassVar = {"polyp": POLYP}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=[
                r"(?:TrainValid|Test)/Images/(\d+)/",
                r"videos_with(?:out)?_polyps/([01]_\d+)\.avi",
            ],
            annotations={"boxes": r"(?:TrainValid|Test)/Annotations/(\d+)/"},
        )
        annotated, whole, test = [], [], []
        for name, path in found["video"].items():
            if path.suffix == ".avi":
                if path.parent.name != FOLDERS[name[0]]:
                    self.leave_out(path, f"belongs in {FOLDERS[name[0]]}")
                else:
                    whole.append(self.item(name, path))
                continue
            side = path.parts[-3]
            if int(name) not in SIDES[side]:
                reason = "folders 1 to 100 are the owner's TrainValid, 101 to 160 Test"
                self.leave_out(path, reason)
                continue
            into, boxes = test if side == "Test" else annotated, found["boxes"].get(name)
            into.append(self.item(f"images_{int(name):03d}", path, "test", boxes=boxes))
        annotated = self.deal(annotated, fractions={"train": 0.9, "val": 0.1})
        return annotated + test + self.deal(whole, group=lambda item: item.video_id[0])

    def inputs(self, item: VideoItem) -> list[Path]:
        folder = item.extra.get("boxes")
        return super().inputs(item) + (sorted(folder.glob("*.txt")) if folder else [])

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        if item.path.suffix == ".avi":
            label = int(item.video_id[0])
            # Of a video with polyps it is not known which frames show one.
            tracks = {} if label else {"polyp": Constant(0)}
            return OpenedVideo(item.path, tracks, {"polyp": label})
        images = _numbered(item.path, IMAGE_SUFFIXES)
        texts = _numbered(item.needed("boxes", "a folder Annotations/N"), (".txt",))
        if not images or not texts:
            raise BadInput(item.path, "holds no picture, or its folder of annotations no text")
        for number in sorted(texts.keys() - images.keys()):
            raise BadInput(texts[number], f"there is no picture {number} for it")
        start = min(images)
        samples = [
            (number - start, int(_boxes(path) > 0), Row(path, 1, {}))
            for number, path in texts.items()
        ]
        missing = sorted(images.keys() - texts.keys())
        problem = f"{len(missing)} pictures have no annotation, first {missing[:1]}"
        return OpenedVideo(
            item.path,
            {"polyp": sampled_track(samples)},
            {"polyp": max(value for _, value, _ in samples)},
            image_fps=IMAGE_FPS,
            image_start=start,
            problems=[problem] if missing else [],
        )


def _numbered(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Files by the last number in their names, as pictures are read and paired with texts."""
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in suffixes or path.name.startswith("."):
            continue
        if path.is_symlink():
            check_inside(path, folder)
        match = re.search(r"(\d{1,12})\D*$", path.stem)
        if not match or int(match[1]) in files:
            raise BadInput(path, "has no number in its name, or that of another file")
        files[int(match[1])] = path
    return files


def _boxes(path: Path) -> int:
    """Number of polyps: the first line, checked against the lines of boxes below it."""
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if not lines or len(lines[0]) != 1 or not re.fullmatch(r"\d{1,9}", lines[0][0]):
        raise BadInput(path, "the first line must be the number of boxes", 1)
    if int(lines[0][0]) != len(lines) - 1:
        raise BadInput(path, f"announces {lines[0][0]} boxes and has {len(lines) - 1}", 1)
    for number, cells in enumerate(lines[1:], start=2):
        box = [int(cell) for cell in cells if re.fullmatch(r"-?\d{1,9}", cell)]
        if len(cells) != 4 or len(box) != 4 or box[0] > box[2] or box[1] > box[3]:
            raise BadInput(path, f"{' '.join(cells)!r} is not xmin ymin xmax ymax", number)
    return len(lines) - 1
