"""SurgVU: robotic training sessions in parts, with intervals of tasks and of installed tools."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.annotations import Ids, by_name, normal
from data_builders.common.labels.from_tables import FOREVER, exclusive_track, presence_track
from data_builders.common.labels.tables import Row, read_rows
from data_builders.common.labels.tracks import Track
from data_builders.common.source.builder import Extent, OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput
from surgrec_jax.records.schema import UNLABELLED

TASKS = (
    *("Suturing", "Uterine horn", "Rectal artery/vein", "Suspensory ligaments"),
    *("Skills application", "Retraction and collision avoidance", "Range of motion", "Other"),
)
TOOLS = (
    *("needle driver", "cadiere forceps", "prograsp forceps", "monopolar curved scissors"),
    *("bipolar forceps", "stapler", "force bipolar", "vessel sealer"),
    *("permanent cautery hook/spatula", "clip applier", "tip-up fenestrated grasper"),
    "grasping retractor",
)
# Names in the tables that are none of the twelve, as public readers of the set list them.
OTHERS = (
    *("nan(camera in)", "suction irrigator", "synchroseal", "curved scissors", "potts scissors"),
    *("tenaculum forceps", "bipolar dissector", "crocodile grasper"),
)
TOOL_IDS = by_name(TOOLS, also=dict.fromkeys(OTHERS, UNLABELLED))
TRACKS_OF = {name: f"tool_{re.sub(r'[^a-z]+', '_', name)}" for name in TOOLS}
TASK_COLUMNS = ("start_part", "start_time", "stop_part", "stop_time", "groundtruth_taskname")
TOOL_COLUMNS = (
    *("install_case_part", "install_case_time", "uninstall_case_part", "uninstall_case_time"),
    "groundtruth_toolname",
)

Span = tuple[float, float, int, Row]  # start, end, class id, where it stands


class Builder(VideoDatasetBuilder):
    """SurgVU: robotic training sessions, eight tasks, twelve tools, for pretraining."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold case_000/case_000_video_part_001.mp4 and so on, and may hold "
        "labels/case_000/tasks.csv and tools.csv."
    )
    DOMAIN = "robotic"
    TRACKS: ClassVar = {"task": TASKS, **dict.fromkeys(TRACKS_OF.values(), ("absent", "present"))}

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir,
            video=r"(case_\d{3}_video_part_\d{3})\.mp4",
            others={kind: rf"(case_\d{{3}})/{kind}\.csv" for kind in ("tasks", "tools")},
        )
        return [
            self.item(
                name,
                path,
                "train",
                case=name[:8],
                **{kind: found[kind].get(name[:8]) for kind in ("tasks", "tools")},
            )
            for name, path in found["video"].items()
        ]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """Rows that cannot be used are reported and left out: the video is worth keeping."""
        tracks: dict[str, Track] = {}
        problems: list[str] = []
        extents: list[Extent] = []
        part = int(item.video_id[-3:])
        rows = _rows(item, "tasks", TASK_COLUMNS, problems)
        if rows:
            spans, _ = _spans(rows, TASK_COLUMNS, part, by_name(TASKS), problems)
            extents += _extent(spans)
            tracks["task"] = exclusive_track(spans)
        rows = _rows(item, "tools", TOOL_COLUMNS, problems)
        if rows:
            spans, doubtful = _spans(rows, TOOL_COLUMNS, part, TOOL_IDS, problems)
            extents += _extent(spans)
            for k, name in enumerate(TOOLS):
                mine = [(start, end, 1, row) for start, end, tool, row in spans if tool == k]
                if k in doubtful:  # a row of this tool is unusable: where it is absent is unknown
                    tracks[TRACKS_OF[name]] = exclusive_track(mine)
                else:
                    tracks[TRACKS_OF[name]] = presence_track(span[:2] for span in mine)
        return OpenedVideo(item.path, tracks, extents=extents, problems=problems)


def _rows(item: VideoItem, kind: str, columns: Sequence[str], problems: list[str]) -> list[Row]:
    path = item.extra[kind]
    if path is None:
        problems.append(f"labels/{item.case_id}/{kind}.csv is missing: no {kind} labelled")
        return []
    try:
        return read_rows(path, columns)
    except BadInput as error:
        problems.append(f"{error}: no {kind} labelled")
        return []


def _spans(
    rows: Sequence[Row], columns: Sequence[str], part: int, ids: Ids, problems: list[str]
) -> tuple[list[Span], set[int]]:
    """(start, end, id, row) in seconds of this part, and the ids that have unusable rows."""
    start_part, start_time, stop_part, stop_time, name = columns
    spans, doubtful, strangers = [], set(), []
    for row in rows:
        value = ids.get(normal(row.cells[name]))
        if value is None:
            strangers.append(row)
            continue
        if value == UNLABELLED:
            continue
        try:
            first = row.integer(start_part), _seconds(row, start_time)
            last = row.integer(stop_part), _seconds(row, stop_time)
            if last <= first:
                raise row.error("the interval ends before it begins")
        except BadInput as error:
            problems.append(f"{error}: row left out")
            doubtful.add(value)
            continue
        if first[0] <= part <= last[0]:
            start = first[1] if part == first[0] else 0.0
            end = last[1] if part == last[0] else FOREVER
            if end > start:  # one that runs into this part at 0 s labels nothing here
                spans.append((start, end, value, row))
    if strangers:
        names = ", ".join(sorted({repr(row.cells[name]) for row in strangers}))
        reason = f"{len(strangers)} row(s) name none of the classes: {names}"
        problems.append(str(strangers[0].error(reason)))
    return spans, doubtful


def _extent(spans: Sequence[Span]) -> list[Extent]:
    ends = [(end, row.line, row.path) for _, end, _, row in spans if end < FOREVER]
    return [Extent(path, end, whole=False, line=line) for end, line, path in sorted(ends)[-1:]]


def _seconds(row: Row, column: str) -> float:
    """Seconds, or a clock such as 00:21:44.100000; the tables use both."""
    clock = re.fullmatch(r"(\d{1,3}):(\d{2}):(\d{2}(?:\.\d+)?)", row.cells[column])
    if clock is None:
        return row.number(column)
    return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
