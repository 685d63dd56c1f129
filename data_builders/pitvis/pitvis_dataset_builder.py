"""PitVis: 25 endoscopic pituitary operations with steps and instruments."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from data_builders.common.labels.annotations import by_number, frame_table
from data_builders.common.labels.tables import fold, read_rows
from data_builders.common.labels.tracks import Sampled, presence_classes
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from data_builders.common.video.reading import probe
from surgrec_jax.records.errors import BadInput

STEPS = (  # numbered from 1 on disk; -1 is background
    "nasal_corridor_creation",
    "anterior_sphenoidotomy",
    "septum_displacement",
    "sphenoid_sinus_clearance",
    "sellotomy",
    "durotomy",
    "tumour_excision",
    "haemostasis",
    "synthetic_graft_placement",
    "fat_graft_placement",
    "gasket_seal_construct",
    "dural_sealant",
    "nasal_packing",
    "debris_clearance",
)
INSTRUMENTS = (  # numbered from 1; 0: none visible, -1: out of the patient, -2: no second one
    "bipolar_forceps",
    "cottle",
    "cup_forceps",
    "dural_scissors",
    "freer_elevator",
    "haemostatic_foam",
    "irrigation_syringe",
    "kerrisons",
    "micro_doppler",
    "nasal_cutting_forceps",
    "pituitary_rongeurs",
    "retractable_knife",
    "ring_curette",
    "spatula_dissector",
    "stealth_pointer",
    "suction",
    "surgical_drill",
    "tissue_glue",
)
COLUMNS = ("int_video", "int_time", "int_step", "int_instrument1", "int_instrument2")
VAL = (1, 12, 21, 24, 25)
SPLITS = {"train": set(range(1, 26)) - set(VAL), "val": VAL}
NOT_ANNOTATED = frozenset({"19"})  # by its owners; its video is kept without labels


class Builder(VideoDatasetBuilder):
    """PitVis: 25 operations, 14 steps, 18 instruments; val is 01, 12, 21, 24 and 25."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold video_NN.mp4 and annotations_NN.csv of PitVis; download: "
        "https://doi.org/10.5522/04/26531686"
    )
    DOMAIN = "endoscopy"
    TRACKS: ClassVar = {
        "step": STEPS,
        "background": ("absent", "present"),
        **presence_classes("instrument", INSTRUMENTS),
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"video_(\d{2})\.mp4",
            annotations={"steps": r"annotations_(\d{2})\.csv"},
            others={"names": r"map_(steps|instruments?)\.csv"},
        )
        for kind, path in found.pop("names").items():
            self._compare(
                path, *(("step", STEPS) if kind == "steps" else ("instrument", INSTRUMENTS))
            )
        return self.split_items(found, SPLITS, "video_{}".format)

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        number = item.video_id[-2:]
        if item.extra["steps"] is None and number in NOT_ANNOTATED:
            return OpenedVideo(item.path)
        path = item.needed("steps", f"annotations_{number}.csv")
        # A row per round(fps) frames: 24, and 25 in video_24.
        fps = round(probe(item.path).native_fps)
        table = frame_table(path, COLUMNS, separator=",", number="int_time", unit=fps, hold=fps)
        for row in table.distinct("int_video"):
            if row.cells["int_video"] != str(int(number)):
                raise row.error(f"int_video is {row.cells['int_video']}, not {int(number)}")
        steps = table.track("int_step", by_number(len(STEPS), first=1, also={"-1": -1}))
        ids = by_number(len(INSTRUMENTS) + 1, also={"-1": -1, "-2": -2})
        columns = [table.track(name, ids).values for name in COLUMNS[3:]]
        tracks = {"step": steps, "background": _binary(table, steps.values < 0)}
        for k, name in enumerate(INSTRUMENTS, start=1):
            shown = (columns[0] == k) | (columns[1] == k)
            tracks[f"instrument_{name}"] = _binary(table, shown, unlabelled=columns[0] == -1)
        return OpenedVideo(item.path, tracks, extents=[table.extent])

    def _compare(self, path: Path, what: str, names: tuple[str, ...]) -> None:
        """Notes where the owners' list of names differs from the one here."""
        try:
            for row in read_rows(path, (f"int_{what}", f"str_{what}")):
                number, name = row.cells[f"int_{what}"], row.cells[f"str_{what}"]
                known = {str(k): n for k, n in enumerate(names, start=1)}
                ours = known.get(number.lstrip("0"))
                if ours is not None and fold(name) != fold(ours):
                    self.pass_over(row.error(f"{what} {number} is {name!r} there, {ours!r} here"))
        except BadInput as error:
            self.pass_over(error)


def _binary(table, shown: np.ndarray, unlabelled: np.ndarray | None = None) -> Sampled:
    values = shown.astype(np.int64)
    if unlabelled is not None:
        values[unlabelled] = -1
    return Sampled(table.positions, values, max_hold=table.hold, clock=table.clock)
