"""AIxSuture: 314 videos of students who suture, with OSATS ratings."""

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

from data_builders.aixsuture.official_split import official_split
from data_builders.common.labels.annotations import by_name, by_number, class_id
from data_builders.common.labels.tables import Row
from data_builders.common.labels.xlsx import read_sheet
from data_builders.common.source.builder import OpenedVideo, VideoDatasetBuilder, VideoItem
from surgrec_jax.records.errors import BadInput, BuildError

ABOUT = ("STUDENT", "GROUP", "TIME", "VIDEO", "SUTURES", "INVESTIGATOR")
# Columns are taken by position: how the sheet spells the last ones is not certain.
ITEMS = (
    *("respect", "motion", "instrument", "suture", "flow", "knowledge", "performance"),
    "final_quality",
)
COLUMNS = (*ABOUT, *ITEMS, "rating")
SKILLS = ("novice", "intermediate", "expert")  # ratings 8 to 15, 16 to 23, 24 to 40
GROUPS = ("E-LEARNING", "HMD-BASED", "TUTOR-LED")
TIMES = ("PRE", "POST")
LOWEST, HIGHEST = len(ITEMS), 5 * len(ITEMS)


class Builder(VideoDatasetBuilder):
    """AIxSuture: 157 students, two videos each, eight OSATS items by several raters."""

    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "It must hold OSATS.xlsx and the videos (A31H.mp4, ...) of AIxSuture, in any tree; "
        "download: https://zenodo.org/records/7940583"
    )
    DOMAIN = "open"
    VIDEO_LABELS: ClassVar = {
        "skill": SKILLS,
        "global_rating": tuple(map(str, range(LOWEST, HIGHEST + 1))),
        **{f"osats_{item}": tuple("12345") for item in ITEMS},
        "group": GROUPS,
        "time": TIMES,
    }

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        found = self.find_files(
            manual_dir, video=r"([A-Z]\d\d[A-Z])\.mp4", others={"sheet": r"(OSATS)\.xlsx"}
        )
        sheet = self.shared(manual_dir, found["sheet"], "OSATS.xlsx")
        try:
            rows = _ratings(sheet)
        except BadInput as error:
            raise BuildError(f"{self.name}: {error}.") from error
        # Over all students of the sheet in its order, whichever videos are there.
        split_of = official_split(list(dict.fromkeys(row.cells["STUDENT"] for row in rows)))
        by_video: dict[str, list[Row]] = {}
        for row in rows:
            by_video.setdefault(row.cells["VIDEO"], []).append(row)
        items = []
        for code, path in found["video"].items():
            if code not in by_video:
                self.leave_out(path, f"has no row in {sheet.name}")
                continue
            student = by_video[code][0].cells["STUDENT"]
            items.append(
                self.item(
                    code, path, split_of[student], case=student, sheet=sheet, rows=by_video[code]
                )
            )
        for code in sorted(by_video.keys() - found["video"].keys()):
            self.pass_over(by_video[code][0].error(f"there is no video {code}.mp4"))
        return items

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        rows: list[Row] = item.extra["rows"]
        first, problems = rows[0], []
        for row in rows:
            for column in ("STUDENT", "GROUP", "TIME"):
                if row.cells[column] != first.cells[column]:
                    raise row.error(f"{column} of {item.video_id} differs from line {first.line}")
        raters = Counter(row.cells["INVESTIGATOR"] for row in rows)
        if max(raters.values()) > 1:
            raise rows[-1].error(
                f"{item.video_id} was rated twice by {max(raters, key=raters.get)}"
            )
        labels: dict[str, Any] = {
            "group": class_id(first, first.cells["GROUP"], by_name(GROUPS)),
            "time": _time(first),
        }
        totals = []
        for row in rows:
            scores = [class_id(row, row.cells[name], by_number(5, first=1)) + 1 for name in ITEMS]
            totals.append(row.integer("rating"))
            if totals[-1] != sum(scores):
                reason = f"the rating {totals[-1]} is not the sum {sum(scores)} of its items; kept"
                problems.append(str(row.error(reason)))
        for name in ITEMS:
            mean = sum(row.integer(name) for row in rows) / len(rows)
            labels[f"osats_{name}"] = int(mean + 0.5) - 1
        rating = int(sum(totals) / len(totals))  # cut off, as the owners' code does
        if not LOWEST <= rating <= HIGHEST:
            raise first.error(f"the mean rating {rating} is not within {LOWEST} to {HIGHEST}")
        labels["global_rating"] = rating - LOWEST
        labels["skill"] = 0 if rating < 16 else 1 if rating < 24 else 2
        return OpenedVideo(item.path, video_labels=labels, problems=problems)


def _time(row: Row) -> int:
    matches = [k for k, name in enumerate(TIMES) if name in row.cells["TIME"].upper()]
    if len(matches) != 1:
        raise row.error(f"TIME is {row.cells['TIME']!r}; it must contain PRE or POST")
    return matches[0]


def _ratings(path: Path) -> list[Row]:
    """The sheet's rows, one per video and rater."""
    lines = read_sheet(path)
    if not lines or tuple(cell.upper() for cell in lines[0][1][: len(ABOUT)]) != ABOUT:
        raise BadInput(path, f"the first columns must be {', '.join(ABOUT)}", 1)
    rows = []
    for line, cells in lines[1:]:
        cells += [""] * (len(COLUMNS) - len(cells))
        row = Row(path, line, dict(zip(COLUMNS, cells, strict=False)))
        row.text("STUDENT")  # without it the official split cannot be dealt; any other empty cell
        row.text("VIDEO")  # costs its own video only
        rows.append(row)
    if not rows:
        raise BadInput(path, "holds no ratings")
    return rows
