"""HeiChole: 24 cholecystectomies of three hospitals: phases, instruments, actions and skill."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import (
    PRESENT,
    by_number,
    class_id,
    frame_table,
    split_rows,
)
from data_builders.common.labels.tracks import presence_classes
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.splits import split_by_case
from data_builders.common.video.reading import check_rate
from surgrec_jax.records.errors import BadInput

PHASES = (
    "Preparation",
    "CalotTriangleDissection",
    "ClippingCutting",
    "GallbladderDissection",
    "GallbladderPackaging",
    "CleaningCoagulation",
    "GallbladderRetraction",
)
INSTRUMENTS = {  # name -> slot of 21; the others are not used
    "Grasper": 0,
    "Clipper": 1,
    "Coagulation": 2,
    "Scissors": 3,
    "Suction-irrigation": 4,
    "Specimen bag": 5,
    "Stapler": 6,
    "undefined shaft": 20,
}
SLOTS = tuple(f"slot {k}" for k in range(21))
ACTIONS = ("grasp", "hold", "cut", "clip")
SKILL = (  # 1 to 5 each, in this order on disk
    "depth_perception",
    "bimanual_dexterity",
    "efficiency",
    "tissue_handling",
    "case_difficulty",
)
FIVE = tuple("12345")
SKILL_FILES = {"skill": "", "skill_calot": "_Calot", "skill_dissection": "_Dissection"}
SHARES = {"train": 2 / 3, "val": 1 / 12, "test": 1 / 4}  # 16, 2 and 6 of the 24
KINDS = ("Phase", "Instrument", "Action")
FOLDERS = ("Full", "Full_SD", "Full/HD", "Full_HD")  # folders of videos, as copies call them
AT_50_FPS = (16, 17, 18, 19, 20, 23, 24)  # the others at 25


class Builder(VideoDatasetBuilder):
    """HeiChole: 24 public cholecystectomies at 25 or 50 fps, labelled frame by frame."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold Videos/Full/ (or Full_SD/) and Annotations/ of HeiChole; access: "
        "https://www.synapse.org/#!Synapse:syn20676772"
    )
    DOMAIN = "laparoscopy"
    TRACKS: ClassVar = {
        "phase": PHASES,
        **presence_classes("instrument", list(INSTRUMENTS)),
        **presence_classes("action", ACTIONS),
    }
    VIDEO_LABELS: ClassVar = {f"{part}_{score}": FIVE for part in SKILL_FILES for score in SKILL}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        name = r"(?i:Hei-Chole)(\d+)"  # some copies are in lower case
        found = self.find_files(
            manual_dir,
            video=[rf"(?i:{folder})/{name}\.mp4" for folder in FOLDERS],
            annotations={
                **{kind: rf"{name}(?i:_Annotation_{kind})\.csv" for kind in KINDS},
                **{part: rf"{name}(?i:{word}_Skill)\.csv" for part, word in SKILL_FILES.items()},
            },
            strays=rf"(?:{'|'.join(FOLDERS)})/[^/]*\.mp4",  # the clips for skill are no strays
        )
        split_of = split_by_case((f"HeiChole{k}" for k in range(1, 25)), SHARES)
        items = []
        for number, path in found["video"].items():
            case = f"HeiChole{number}"
            if case not in split_of:
                self.leave_out(path, f"case {number} is not one of the public 1 to 24")
                continue
            items.append(
                self.item(
                    case,
                    path,
                    split_of[case],
                    **{kind: found[kind].get(number) for kind in (*KINDS, *SKILL_FILES)},
                )
            )
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        check_rate(item.path, 50 if int(item.video_id[8:]) in AT_50_FPS else 25)
        columns = {"Phase": ("phase",), "Instrument": SLOTS, "Action": ACTIONS}
        tables = {
            kind: frame_table(
                item.needed(kind, f"Hei-Chole{item.video_id[8:]}_Annotation_{kind}.csv"),
                ("Frame", *names),
                separator=",",
                header=False,
            )
            for kind, names in columns.items()
        }
        tracks = {"phase": tables["Phase"].track("phase", by_number(len(PHASES)))}
        for track, slot in zip(
            presence_classes("instrument", list(INSTRUMENTS)), INSTRUMENTS.values(), strict=True
        ):
            tracks[track] = tables["Instrument"].track(SLOTS[slot], PRESENT)
        for name in ACTIONS:
            tracks[f"action_{name}"] = tables["Action"].track(name, PRESENT)
        extents = [table.extent for table in tables.values()]
        labels, problems = _skill(item)
        return OpenedVideo(item.path, tracks, labels, extents=extents, problems=problems)


def _skill(item: VideoItem) -> tuple[dict[str, int], list[str]]:
    """Ratings and problems; a file that is missing or cannot be used leaves its labels at -1."""
    labels, problems = {}, []
    for part, word in SKILL_FILES.items():
        try:
            path = item.needed(part, f"Hei-Chole{item.video_id[8:]}{word}_Skill.csv")
            rows = split_rows(path, SKILL, separator=",")
            if len(rows) > 1:
                raise rows[1].error("is a second line of ratings")
            ids = {s: class_id(rows[0], rows[0].cells[s], by_number(5, first=1)) for s in SKILL}
            labels |= {f"{part}_{score}": value for score, value in ids.items()}
        except BadInput as error:
            problems.append(f"{error}; not labelled")
    return labels, problems
