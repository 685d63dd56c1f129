"""OphNet2024: 743 operations on the eye with the times of 52 phases."""

from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.from_tables import exclusive_track
from data_builders.common.labels.tables import Row, read_shared
from data_builders.common.labels.tracks import Constant
from data_builders.common.source.builder import (
    Extent,
    OpenedVideo,
    VideoDatasetBuilder,
    VideoItem,
)
from surgrec_jax.records.errors import BadInput

TABLE = "OphNet2024_loca_challenge_phase.csv"
COLUMNS = ("video_id", "start", "end", "split", "phase_id")
SPLITS = ("train", "val", "test")
PHASES = (
    "Viscoelastic Injection",
    "Nuclear Management (for cataract surgery)",
    "Step Interval",
    "Non-functional Segment",
    "Intraocular Lens Implantation",
    "Incision Closure",
    "Corneal Incision Creation",
    "Capsulorhexis",
    "Cortex Aspiration",
    "Recipient Corneal Bed Preparation",
    "Anterior Chamber Injection/Washing",
    "Viscoelastic Aspiration",
    "Capsular Membrane Staining",
    "Corneal Graft Suturing",
    "Viscoelastic Application on Cornea",
    "Corneal-Scleral Tunnel Creation",
    "Swab Wiping",
    "Conjunctival Incision Creation",
    "Anterior Chamber Gas Injection",
    "Ocular Surface Irrigation",
    "Surgical Marking",
    "Subconjunctival Drug Injection",
    "Donor Corneal Graft Preparation",
    "Scleral Hemostasis",
    "Corneal Interlamellar Injection",
    "Drainage Tube Implantation",
    "Use of Iris Expander",
    "Drainage Device Preparation",
    "Scleral Flap Creation",
    "Anterior Chamber Washing",
    "Suspension Suture",
    "Drainage Device Implantation",
    "Intraoperative Gonioscopy Application",
    "Corneal Measurement",
    "Scleral Flap Suturing",
    "Scleral Tunnel Creation",
    "Placement of Bandage Contact Lens",
    "Peripheral Iridectomy",
    "Anterior Chamber Drainage Device Implantation",
    "Antimetabolite Application",
    "Scleral Support Ring Manipulation",
    "Deep Sclerectomy",
    "Anterior Vitrectomy",
    "Placement of Eyelid Speculum",
    "Hooking of Extraocular Muscle",
    "Observation of Corneal Astigmatism",
    "Pupil Dilation",
    "Iris Prolapse Management",
    "Measurement on the Scleral",
    "Goniotomy",
    "Trabeculectomy",
    "Others",
)


class Builder(VideoDatasetBuilder):
    """OphNet2024: 743 operations on the eye, 52 phases; 445 train, 144 val, 154 test."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        f"It must hold {TABLE} and the videos of OphNet2024, whole (case_0002.mp4) or cut by phase "
        "(case_0002/case_0002_0.mp4); download: https://huggingface.co/datasets/xioamiyh/OphNet2024"
    )
    DOMAIN = "cataract"
    TRACKS: ClassVar = {"phase": PHASES}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"(case_\d+(?:_\d+)?)\.mp4",
            others={"table": r"(OphNet2024_loca_challenge_phase)\.csv"},
        )
        table = self.shared(manual_dir, found["table"], TABLE)
        rows = read_shared(table, COLUMNS, by="video_id")
        items, unlabelled = [], []
        for key, path in found["video"].items():
            case = "_".join(key.split("_")[:2])
            if case != key and case in found["video"]:
                continue  # a clip of a video that is there whole
            if case not in rows:
                unlabelled.append(path)
                continue
            clip = int(key.split("_")[2]) if case != key else None
            try:
                split = _split(rows[case])
            except BadInput as error:
                self.leave_out(path, str(error))
                continue
            items.append(self.item(key, path, split, case=case, rows=rows[case], clip=clip))
        if unlabelled:
            reason = f"has no row in {TABLE}; nor have {len(unlabelled) - 1} more videos"
            self.leave_out(unlabelled[0], reason)
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        rows, clip = item.extra["rows"], item.extra["clip"]
        spans = [(row.number("start"), row.number("end"), _phase(row), row) for row in rows]
        if clip is None:
            _, end, _, last = max(spans, key=lambda span: span[1])
            extent = Extent(last.path, end, whole=False, line=last.line)
            return OpenedVideo(item.path, {"phase": exclusive_track(spans)}, extents=[extent])
        if clip >= len(spans):
            raise BadInput(item.path, f"is clip {clip} of a case of {len(spans)} rows in {TABLE}")
        start, end, phase, row = spans[clip]
        extent = Extent(row.path, end - start, line=row.line)
        return OpenedVideo(item.path, {"phase": Constant(phase)}, extents=[extent])


def _phase(row: Row) -> int:
    phase = row.integer("phase_id")
    if phase >= len(PHASES):
        raise row.error(f"'phase_id' is {phase}: none of 0 to {len(PHASES) - 1}")
    return phase


def _split(rows: list[Row]) -> str:
    split = rows[0].text("split")
    for row in rows:
        if row.text("split") != split or split not in SPLITS:
            raise row.error(f"has the split {row.text('split')!r}, line {rows[0].line} {split!r}")
    return split
