"""Anyone's own videos: a tree of folders, optionally with classes by subfolder and a table."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from data_builders.common.build.lengths import measure
from data_builders.common.labels.from_tables import FOREVER
from data_builders.common.labels.tracks import Intervals
from data_builders.common.source.builder import (
    Extent,
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.splits import split_by_hash
from data_builders.video_folder import extents, options
from data_builders.video_folder.cases import check_spellings, same_cases
from data_builders.video_folder.folder import (
    case_of,
    check_stems,
    class_of,
    find_videos,
)
from data_builders.video_folder.joining import (
    FolderVideo,
    arrange,
    check_folders,
    check_torn,
    joined_parts,
    missing_parts,
)
from data_builders.video_folder.options import NAME, VideoFolderConfig
from data_builders.video_folder.private import pseudonym, read_key
from data_builders.video_folder.table import Table, VideoRows, read_table
from surgrec_jax.records.errors import BuildError, safe_text

__all__ = ["NAME", "Builder", "VideoFolderConfig"]
SPLITS = ("train", "val", "test")

# Cases of every split that nobody chose: scores and their intervals need some.
SCORABLE = 3


class Builder(VideoDatasetBuilder):
    """Your own videos: a folder tree, classes from subfolders or a table, split by case."""

    BUILDER_CONFIGS: ClassVar[list[VideoConfig]] = [VideoFolderConfig()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put your videos into the folder, in any tree of subfolders."

    def __init__(self, *, config=None, **kwargs):
        # TFDS takes the name from the module; here it is the user's.
        self.name = config.dataset_name if isinstance(config, VideoFolderConfig) else NAME
        self._scanned: tuple[list[FolderVideo], Table | None] | None = None
        self._passed_over: list[tuple[str, str]] = []
        self._dicom: frozenset[Path] = frozenset()
        super().__init__(config=config, **kwargs)

    add_arguments = staticmethod(options.add_arguments)
    config_from_arguments = staticmethod(options.config_from_arguments)

    def tracks(self) -> Mapping[str, Sequence[str]]:
        table = self._scan()[1]
        return {} if table is None else table.tracks

    def video_label_names(self) -> Mapping[str, Sequence[str]]:
        videos, table = self._scan()
        names = {} if table is None else dict(table.video_labels)
        if self.builder_config.class_from:
            if "class" in names:
                raise BuildError(
                    "both the CSV and --class_from subfolder give a 'class'; drop one."
                )
            classes = {class_of(video.files[0]) for video in videos} - {None}
            if not classes:
                raise BuildError(
                    "--class_from subfolder: no video lies in a subfolder of "
                    f"{safe_text(self.manual_dir)}."
                )
            names["class"] = tuple(sorted(classes))
        return names

    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        if manual_dir is None:
            raise BuildError("video_folder needs --manual_dir, the folder of your videos.")
        videos, table = self._scan(manual_dir)
        self.skipped += self._passed_over
        config = self.builder_config
        self.remarks += table.notes if table else []
        self.remarks += missing_parts(videos) if config.join == "cases" else joined_parts(videos)
        videos, rows = self._with_splits(manual_dir, videos, table)
        timed = {
            video.name: (own, tuple(manual_dir / file for file in video.files))
            for video, own in zip(videos, rows, strict=True)
            if own.intervals
        }
        measured = functools.partial(measure, decode_spec=config.decode)
        self.remarks += extents.fit(timed, config.trim_labels, measured)
        cases = self._cases(videos, rows)
        ruled = config.case_from != "stem"
        named = [ruled or bool(own.case_id or own.split) for own in rows]
        cases, remarks = same_cases(manual_dir, videos, cases, named, self._dicom)
        self.remarks += remarks
        items = [
            self._item(manual_dir, *listed) for listed in zip(videos, rows, cases, strict=True)
        ]
        self._check_cases(videos, rows, cases, table)
        if config.pseudonyms:
            key = read_key(Path(config.pseudonyms))
            items = [
                dataclasses.replace(
                    item,
                    video_id=pseudonym(key, "video", item.video_id),
                    case_id=pseudonym(key, "case", item.case_id),
                )
                for item in items
            ]
            items.sort(key=lambda item: item.video_id)  # the order of names tells of them too
        if table and table.has_split:
            if config.split is not None:
                raise BuildError("both --split and the CSV's split column assign splits; drop one.")
            return items
        split_of = split_by_hash(
            (i.case_id for i in items),
            **self.dealt_by(),
            earlier=self.earlier,
            least=1 if config.split else SCORABLE,
        )
        return [dataclasses.replace(item, split=split_of[item.case_id]) for item in items]

    def dealt_by(self) -> dict[str, Any]:
        _, table = self._scan()
        if table and table.has_split:
            return {}
        fractions = dict(zip(SPLITS, self.builder_config.split or (0.8, 0.1, 0.1), strict=True))
        return {"fractions": fractions, "seed": self.builder_config.seed}

    def inputs(self, item: VideoItem) -> list[Path]:
        return [*super().inputs(item), *item.extra.get("more", ())]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        names, tracks, ends = self.video_label_names(), {}, []
        for column, spans in item.extra["intervals"].items():
            starts, finishes, classes, lines = zip(*spans, strict=True)
            ids = [self.tracks()[column].index(name) for name in classes]
            clock = item.extra["clocks"][column]
            tracks[column] = Intervals(starts, finishes, ids, clock=clock)
            known = [
                (end, line) for end, line in zip(finishes, lines, strict=True) if end < FOREVER
            ]
            if known:
                end, line = max(known)
                path = Path(item.extra["label_files"][column])
                ends.append(Extent(path, end, clock, whole=False, line=line or None))
        return OpenedVideo(
            path=item.path,
            more=item.extra.get("more", ()),
            image_fps=self.builder_config.decode.native_fps,
            image_start=None,
            tracks=tracks,
            video_labels={
                column: names[column].index(name) for column, name in item.extra["labels"].items()
            },
            extents=ends,
        )

    def _item(self, manual_dir: Path, video: FolderVideo, rows: VideoRows, case: str) -> VideoItem:
        labels = dict(rows.labels)
        if self.builder_config.class_from and class_of(video.files[0]) is not None:
            labels["class"] = class_of(video.files[0])
        paths = [manual_dir / file for file in video.files]
        return VideoItem(
            video_id=video.name,
            case_id=case,
            split=rows.split or "",
            domain=rows.domain or self.builder_config.domain,
            path=paths[0],
            extra={
                "more": paths[1:],
                "labels": labels,
                "intervals": dict(rows.intervals),
                "clocks": {column: rows.clocks[column] for column in rows.intervals},
                "label_files": {column: safe_text(rows.files[column]) for column in rows.intervals},
            },
        )

    def _with_splits(self, manual_dir, videos, table) -> tuple[list[FolderVideo], list[VideoRows]]:
        """The videos and their rows; where a table assigns splits, only those that have one."""
        kept, rows = [], []
        for video in videos:
            own = table.videos.get(video.name) if table else None
            if table and table.has_split and (own is None or own.split is None):
                labels = safe_text(self.builder_config.labels)
                reason = f"has no split in {labels}, which assigns them"
                self.leave_out(manual_dir / video.files[0], reason)
                continue
            kept.append(video)
            rows.append(own or VideoRows())
        return kept, rows

    def _cases(self, videos: Sequence[FolderVideo], rows: Sequence[VideoRows]) -> list[str]:
        config, cases = self.builder_config, []
        for video, own in zip(videos, rows, strict=True):
            joined = config.join in ("cases", "parts") and video.operation is not None
            if own.case_id:
                cases.append(own.case_id)
            elif joined and config.case_from == "stem":
                cases.append(video.operation)
            else:
                found = {case_of(file, config.case_from) for file in video.files}
                if len(found) > 1:
                    raise BuildError(
                        f"--case_from {config.case_from!r} gives the parts of {video.name!r} the "
                        f"cases {', '.join(sorted(found))}; change it or drop --join."
                    )
                cases.append(found.pop())
        return cases

    def _check_cases(self, videos, rows, cases, table: Table | None) -> None:
        """Refuses cases told by names where names do not tell them."""
        config = self.builder_config
        by_table = bool(table and table.has_split)
        splitting = by_table or config.split != (1.0, 0.0, 0.0)
        if config.join != "none" and splitting:
            check_spellings(cases)
        unnamed = [
            (video, case, own.split)
            for video, own, case in zip(videos, rows, cases, strict=True)
            if not own.case_id
        ]
        if 0 < len(unnamed) < len(videos):
            self.remarks.append(
                f"{len(unnamed)} video(s) have no case_id in --labels, though others have: their "
                f"cases are by --case_from {config.case_from} (the first: {unnamed[0][0].name})"
            )
        if not unnamed or config.case_from not in ("stem", "folder"):
            return
        own_videos, own_cases, splits = zip(*unnamed, strict=True)
        if config.case_from == "stem":
            check_stems(own_videos, config.join)
            if config.join is None and splitting:
                check_torn(own_videos, own_cases, splits if by_table else None)
        if config.join != "none" and splitting:
            check_folders(
                own_videos, own_cases, config.case_from == "folder", splits if by_table else None
            )

    def _scan(self, manual_dir: Path | None = None) -> tuple[list[FolderVideo], Table | None]:
        """The videos and the table, read once; TFDS asks early, for the classes."""
        manual_dir = manual_dir or self.manual_dir
        config = self.builder_config
        if manual_dir is None:
            if config.labels or config.class_from:
                raise BuildError("video_folder with labels or class_from needs manual_dir=...")
            return [], None
        if self._scanned is None:
            found = find_videos(
                manual_dir,
                lambda path, why: self._passed_over.append((safe_text(path), why)),
                config.decode.native_fps,
            )
            self._dicom = frozenset(path.relative_to(manual_dir) for path in found.dicom)
            videos = arrange([path.relative_to(manual_dir) for path in found.videos], config.join)
            table = None
            if config.labels:
                parts = {
                    safe_text(file.as_posix()): video.name
                    for video in videos
                    if config.join == "parts" and video.operation is not None
                    for file in video.files
                }
                names = [video.name for video in videos]
                table = read_table(Path(config.labels), names, config.table, parts)
            self._scanned = videos, table
        return self._scanned
