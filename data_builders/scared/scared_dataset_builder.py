"""SCARED: stereo endoscopy of porcine abdomens, the depth of every pixel from structured light."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import MapFiles
from data_builders.scared.points import MILLIMETRES, NAME, depth_of_points, unpack

# By animal. The calibration of 4 and 5 is wrong, and so are their depths: they are in no split.
SPLITS = {"train": (1, 2, 3, 6), "val": (7,), "test": (8, 9)}
EVERY = 25  # frames of a video from one map to the next
LEFT = (0.0, 0.0, 1.0, 0.5)  # the left camera's picture lies above the right one's


class Builder(VideoDatasetBuilder):
    """SCARED: up to five scenes of each of seven animals, depth per pixel; by animal."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold dataset_1/keyframe_1/data/rgb.mp4, dataset_1/keyframe_1/Left_Image.png, ... "
        "of SCARED; access: https://endovissub2019-scared.grand-challenge.org"
    )
    DOMAIN = "robotic"
    MAPS: ClassVar = {"depth": None}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        scene = r"(?:test_)?(dataset_\d+/keyframe_\d+)/"
        found = self.find_files(
            manual_dir,
            video=scene + r"Left_Image\.png",
            annotations={
                "still": scene + r"left_depth_map\.tiff",
                "film": scene + r"data/rgb\.mp4",
                "points": scene + "data/scene_points/",
                "packed": scene + r"data/scene_points\.tar\.gz",
            },
            strays=r"[^/]*\.mp4",
        )
        return self.split_items(
            found,
            SPLITS,
            lambda key: key.replace("/", "_"),
            number=lambda key: int(key.partition("/")[0].removeprefix("dataset_")),
            case=lambda key: key.partition("/")[0],
        )

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        still, film, points, packed = (
            item.extra[kind] for kind in ("still", "film", "points", "packed")
        )
        if film is None:
            depth = MapFiles({0: still} if still else {}, depth_of_points, MILLIMETRES)
            return open_paired({0: item.path}, scratch_dir, 1.0, depth=depth)
        maps, problems = {}, ["its video has no scene points"]
        if points is not None:
            files = numbered_files(points, NAME.pattern)
            files = {number: path for number, path in files.items() if number % EVERY == 0}
            maps, problems = {"depth": MapFiles(files, depth_of_points, MILLIMETRES)}, []
        elif packed is not None:
            depth, problems = unpack(packed, scratch_dir, EVERY)
            maps = {"depth": depth}
        return OpenedVideo(film, maps=maps, problems=problems, part=LEFT)
