"""AutoLaparo, task 3: six pictures of each of 300 clips, every pixel of ten classes."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.source.items import Hooks, OpenedVideo, VideoConfig, VideoItem
from data_builders.common.source.paired import numbered_files, open_paired
from data_builders.common.video.maps import MapFiles, by_value

CLASSES = (  # grey values 0, 20, ... 180 of the masks
    "background",
    *("grasping_forceps_manipulator", "grasping_forceps_shaft"),
    *("ligasure_manipulator", "ligasure_shaft"),
    *("dissecting_forceps_manipulator", "dissecting_forceps_shaft"),
    *("electric_hook_manipulator", "electric_hook_shaft", "uterus"),
)
STEP = 20
SPLITS = {"train": range(1, 171), "val": range(171, 228), "test": range(228, 301)}
NAMES = r"(\d{6})\.jpg"  # three digits of the clip, three of the frame
FPS = 25  # pictures of a clip are its frames 1, 25, 50, 75, 100 and 125


class Scene(Hooks):
    """Stands in for the builder where the configuration `scene` is asked for."""

    MAPS: ClassVar = {"scene": CLASSES}

    def __init__(self, builder):
        self.builder = builder

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        others = {"masks": "(masks)/"}
        found = self.builder.find_files(manual_dir, video="(imgs)/", others=others)
        folder = found["video"]["imgs"]
        clips = {f"{number // 1000:03d}": folder for number in numbered_files(folder, NAMES)}
        return self.builder.split_items({"video": clips}, SPLITS, "clip_{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        clip = item.video_id[5:]
        pictures = numbered_files(item.path, clip + r"(\d{3})\.jpg")
        masks = numbered_files(item.path.with_name("masks"), clip + r"(\d{3})\.png")
        grey = by_value({STEP * k: k for k in range(len(CLASSES))})
        return open_paired(pictures, scratch_dir, FPS, scene=MapFiles(masks, grey))


class SceneConfig(VideoConfig):
    """The pictures and masks of task 3."""

    def hooks(self, builder) -> Scene:
        return Scene(builder)
