"""SAR-RARP50: suturing in 50 robot-assisted prostatectomies with eight actions and masks."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.common.labels.annotations import by_number, frame_table, interval_table
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.paired import numbered_files
from data_builders.common.video.maps import MapFiles, by_value
from data_builders.common.video.reading import check_rate

ACTIONS = (
    "other",
    "picking-up the needle",
    "positioning the needle tip",
    "pushing the needle through the tissue",
    "pulling the needle out of the tissue",
    "tying a knot",
    "cutting the suture",
    "returning/dropping the needle",
)
SCENE = (  # grey values 0 to 9 of the masks, one a second
    *("background", "tool_clasper", "tool_wrist", "tool_shaft", "suturing_needle", "thread"),
    *("suction_tool", "needle_holder", "clamps", "catheter"),
)
SPLITS = {"train": range(1, 41), "test": range(41, 51)}
FPS = 60  # that annotations count frames in


class Builder(VideoDatasetBuilder):
    """SAR-RARP50: 50 prostatectomies, 8 actions, 10 classes of pixels; 1-40 train, 41-50 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the unpacked folders video_NN/ of SAR-RARP50, in any tree (train1/, train2/, "
        "test/); download: https://rdr.ucl.ac.uk/articles/dataset/SAR-RARP50_train_set/24932529"
    )
    DOMAIN = "robotic"
    TRACKS: ClassVar = {"action": ACTIONS}
    MAPS: ClassVar = {"scene": SCENE}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        folder = r"video_(\d{2}(?:_\d)?)/"
        found = self.find_files(
            manual_dir,
            video=folder + r"video_left\.avi",
            annotations={
                "action": folder + r"action_continues\.txt",  # spelled this way
                "discrete": folder + r"action_discrete\.txt",
                "masks": folder + "segmentation/",
            },
            strays=r"[^/]*\.avi",
        )
        return self.split_items(  # some operations come in two parts: 11_1 and 11_2
            found,
            SPLITS,
            "video_{}".format,
            number=lambda key: int(key[:2]),
            case=lambda key: f"video_{key[:2]}",
        )

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        check_rate(item.path, FPS)
        path = item.needed("action", "action_continues.txt")
        classes = by_number(len(ACTIONS))
        track, extent = interval_table(path, classes, whole=True)
        problems = []
        if item.extra["discrete"] is not None:  # the same labels on every sixth frame
            table = frame_table(
                item.extra["discrete"], ("Frame", "Class"), separator=",", header=False
            )
            values = table.track("Class", classes).values
            wrong = np.flatnonzero(track.at(table.positions) != values)
            if wrong.size:
                reason = (
                    f"disagrees with {path.name} about {wrong.size} of {len(values)} frames, "
                    f"first {table.numbers[wrong[0]]}; {path.name} was taken"
                )
                problems.append(str(table.error(wrong[0], reason)))
        maps = {}
        if item.extra["masks"] is not None:
            files = numbered_files(item.extra["masks"], r"(\d{9})\.png")
            maps["scene"] = MapFiles(files, by_value({k: k for k in range(len(SCENE))}))
        extents = [extent]
        return OpenedVideo(
            item.path, {"action": track}, extents=extents, problems=problems, maps=maps
        )
