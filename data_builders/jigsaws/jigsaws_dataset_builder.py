"""JIGSAWS: three bench-top tasks on a da Vinci robot, with gestures and skill."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import (
    by_name,
    by_number,
    class_id,
    interval_table,
    split_rows,
)
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.source.splits import split_by_case
from data_builders.common.video.reading import check_rate
from surgrec_jax.records.errors import BadInput

GESTURES = (  # G1 to G15; G7 never occurs
    "G1 reaching for needle with right hand",
    "G2 positioning needle",
    "G3 pushing needle through tissue",
    "G4 transferring needle from left to right",
    "G5 moving to center with needle in grip",
    "G6 pulling suture with left hand",
    "G7 pulling suture with right hand",
    "G8 orienting needle",
    "G9 using right hand to help tighten suture",
    "G10 loosening more suture",
    "G11 dropping suture at end and moving to end points",
    "G12 reaching for needle with left hand",
    "G13 making C loop around right hand",
    "G14 reaching for suture with right hand",
    "G15 pulling suture with both hands",
)
TASKS = ("Suturing", "Knot_Tying", "Needle_Passing")
SURGEONS = tuple("BCDEFGHI")
SCORES = (  # of the modified global rating scale, 1 to 5 each
    "respect_for_tissue",
    "suture_needle_handling",
    "time_and_motion",
    "flow_of_operation",
    "overall_performance",
    "quality_of_final_product",
)
FIVE = tuple("12345")
NOT_TRANSCRIBED = frozenset({"Suturing_H002"})  # by its owners; its video is kept without labels
SHARES = {"train": 0.625, "val": 0.125, "test": 0.25}  # 5, 1 and 2 of the 8 surgeons
FPS = 30  # that annotations count frames in
FIRST = 1  # the number that transcriptions give to the first frame (README)
_TRIAL = rf"(?:{'|'.join(TASKS)})_[B-I]\d{{3}}"


class Builder(VideoDatasetBuilder):
    """JIGSAWS: 103 trials of suturing, knot tying and needle passing, two cameras, 15 gestures."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold the unpacked folders Suturing/, Knot_Tying/ and Needle_Passing/ of JIGSAWS; "
        "access: https://cirl.lcsr.jhu.edu/research/hmm/datasets/jigsaws_release/"
    )
    DOMAIN = "robotic"
    TRACKS: ClassVar = {"gesture": GESTURES}
    VIDEO_LABELS: ClassVar = {
        "task": TASKS,
        "surgeon": SURGEONS,
        "supertrial": FIVE,
        "camera": ("1", "2"),
        "skill": ("novice", "intermediate", "expert"),
        "global_rating": tuple(map(str, range(6, 31))),
        **dict.fromkeys(SCORES, FIVE),
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=rf"video/({_TRIAL}_capture[12])\.avi",
            others={
                "gesture": rf"transcriptions/({_TRIAL})\.txt",
                "meta": r"meta_file_([A-Za-z_]+)\.txt",
            },
        )
        trials = {key.rsplit("_", 1)[0] for key in found["video"]}
        for trial in sorted(found["gesture"].keys() - trials):
            self.leave_out(found["gesture"][trial], f"no video of {trial}")
        split_of = split_by_case(SURGEONS, SHARES)
        items = []
        for key, path in found["video"].items():
            trial = key.rsplit("_", 1)[0]
            task, who = trial.rsplit("_", 1)
            items.append(
                self.item(
                    key,
                    path,
                    split_of[who[0]],
                    case=f"surgeon_{who[0]}",  # a trial split would show everyone in training
                    gesture=found["gesture"].get(trial),
                    meta=found["meta"].get(task),
                )
            )
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        trial, camera = item.video_id.rsplit("_capture", 1)
        task, who = trial.rsplit("_", 1)
        labels = {
            "task": TASKS.index(task),
            "surgeon": SURGEONS.index(who[0]),
            "camera": int(camera) - 1,
        }
        if not 1 <= int(who[1:]) <= len(FIVE):
            raise BadInput(item.path, f"trial number {who[1:]}; they go from 001 to 005")
        labels["supertrial"] = int(who[1:]) - 1
        skill, problems = _skill(item.needed("meta", f"meta_file_{task}.txt"), trial)
        labels |= skill
        if item.extra["gesture"] is None and trial in NOT_TRANSCRIBED:
            return OpenedVideo(item.path, video_labels=labels, problems=problems)
        check_rate(item.path, FPS)
        ids = by_name([name.split()[0] for name in GESTURES])
        path = item.needed("gesture", f"transcriptions/{trial}.txt")
        track, extent = interval_table(path, ids, first=FIRST)
        return OpenedVideo(
            item.path, {"gesture": track}, labels, extents=[extent], problems=problems
        )


def _skill(path: Path, trial: str) -> tuple[dict[str, int], list[str]]:
    """Labels of `trial` and problems; a trial that nobody rated has no row, its labels stay -1."""
    columns = ("trial", "skill", "global_rating", *SCORES)
    rows = [row for row in split_rows(path, columns) if row.cells["trial"] == trial]
    if not rows:
        return {}, []
    row = rows[0]
    if len(rows) > 1:
        raise rows[1].error(f"{trial} stands in line {row.line} already")
    labels = {name: class_id(row, row.cells[name], by_number(5, first=1)) for name in SCORES}
    total = sum(value + 1 for value in labels.values())
    labels["skill"] = class_id(row, row.cells["skill"], {"n": 0, "i": 1, "e": 2})
    if row.integer("global_rating") != total:
        reason = f"{trial}: the global rating is not the sum of the six scores; left unlabelled"
        return labels, [str(row.error(reason))]
    labels["global_rating"] = total - len(SCORES)  # its first class is six times 1
    return labels, []
