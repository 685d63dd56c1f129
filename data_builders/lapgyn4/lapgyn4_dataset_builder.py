"""LapGyn4: pictures of gynaecologic laparoscopy in folders of classes, one a second."""

import re
from collections import defaultdict
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.tracks import Sampled
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.schema import UNLABELLED

PARTS = {  # folder -> its classes, alphabetical
    "Surgical_Actions": (
        "Coagulation",
        "Cutting_Cold",
        "Cutting_HF",
        "Dissection_Blunt",
        "Injection",
        "Sling_Hysterectomy",
        "Suction_Irrigation",
        "Suturing",
    ),
    "Anatomical_Structures": ("Colon", "Liver", "Ovary", "Oviduct", "Uterus"),
    "Actions_on_Anatomy": (
        "Suturing_Other",
        "Suturing_Ovary",
        "Suturing_Uterus",
        "Suturing_Vagina",
    ),
}
IMAGE_FPS = 1.0


class Builder(VideoDatasetBuilder):
    """LapGyn4: pictures of gynaecologic laparoscopy, actions, organs and actions on organs."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack LapGyn4_v1.2: Surgical_Actions, Anatomical_Structures, ..."
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {part.lower(): classes for part, classes in PARTS.items()}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        parts = "|".join(PARTS)
        found = self.find_files(
            manual_dir,
            video=rf"((?:{parts})/[^/]+/c_\d+_v_\d+_f_\d+\.jpg)",
            others={"counts": r"(Instrument_Count)/"},
            strays=rf"(?:{parts})/.*\.jpe?g",
        )
        for path in found["counts"].values():
            reason = "left out: its pictures name no case, and some of them are from Cholec80"
            self.leave_out(path, reason)
        pictures: dict[tuple, dict[int, Path]] = defaultdict(dict)
        labels: dict[tuple, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
        twice: dict[tuple, list[str]] = defaultdict(list)
        for key, path in found["video"].items():
            part, name, file = key.split("/")
            if name not in PARTS[part]:
                self.leave_out(path, f"{name} is no class of {part}")
                continue
            case, video, frame = map(int, re.findall(r"\d+", file))
            at, ids = (case, video), labels[case, video][part.lower()]
            if frame in ids:
                twice[at].append(f"{file} lies in several classes of {part}: not labelled there")
            ids[frame] = UNLABELLED if frame in ids else PARTS[part].index(name)
            pictures[at].setdefault(frame, path)
        items = [
            self.item(
                f"c_{case}_v_{video}",
                None,
                case=f"c_{case}",
                pictures=[[frame, path] for frame, path in sorted(frames.items())],
                labels={t: sorted(ids.items()) for t, ids in labels[case, video].items()},
                problems=twice[case, video],
            )
            for (case, video), frames in sorted(pictures.items())
        ]
        return self.deal(items)

    def inputs(self, item: VideoItem) -> list[Path]:
        return [path for _, path in item.extra["pictures"]]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """A folder of links to this video's pictures, which are spread over folders of classes."""
        start = item.extra["pictures"][0][0]
        for frame, path in item.extra["pictures"]:
            (scratch_dir / f"{frame}.jpg").symlink_to(path.resolve())
        tracks = {}
        for name, known in item.extra["labels"].items():
            frames, ids = zip(*known, strict=True)
            at = [frame - start for frame in frames]
            tracks[name] = Sampled(at, ids, max_hold=1, clock="frames")
        return OpenedVideo(
            scratch_dir,
            tracks,
            image_fps=IMAGE_FPS,
            image_start=start,
            problems=item.extra["problems"],
        )
