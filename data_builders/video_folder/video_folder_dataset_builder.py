"""Anyone's own videos: a tree of folders, optionally with classes by subfolder and a CSV."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from data_builders.common.labels.tracks import Intervals
from data_builders.common.source.builder import (
    OpenedVideo,
    VideoConfig,
    VideoDatasetBuilder,
    VideoItem,
)
from data_builders.common.source.splits import split_by_case
from data_builders.video_folder.folder import case_of, check_stems, class_of, find_videos
from data_builders.video_folder.private import pseudonym, read_boxes, read_key
from data_builders.video_folder.table import Table, VideoRows, read_table
from surgrec_jax.records.errors import BuildError, safe_text
from surgrec_jax.records.locate import sources
from surgrec_jax.records.schema import DOMAINS

SPLITS = ("train", "val", "test")
NAME = "video_folder"


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoFolderConfig(VideoConfig):
    """How a folder of videos is understood.

    Attributes:
      dataset_name: name of the data set and of its folder, so that several can stand side by side.
      labels: CSV of cases, splits, domains and labels, or None.
      class_from: "subfolder" for a per-video label "class" from the first subfolder, or None.
      case_from: "stem", "folder", or a regular expression over the relative path.
      domain: domain of all videos whose CSV row names none, or None.
      split: fractions of train, val and test dealt by case; (1.0, 0.0, 0.0) puts all into train.
        None: the CSV's split column, or else (0.8, 0.1, 0.1).
      seed: of that dealing.
      pseudonyms: file with a secret key (made where there is none), to store keyed hashes in place
        of the names of files and cases; None stores the names.
      blank: boxes (left, top, right, bottom as fractions of the native picture, before borders are
        cut off) that are stored black.
    """

    dataset_name: str = NAME
    labels: str | None = None
    class_from: str | None = None
    case_from: str = "stem"
    domain: str | None = None
    split: tuple[float, float, float] | None = None
    seed: int = 0
    pseudonyms: str | None = None
    blank: tuple[tuple[float, float, float, float], ...] = ()

    def __post_init__(self):
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.dataset_name):
            raise BuildError(
                f"--name {self.dataset_name!r}: use lower-case letters, digits and underscores, "
                "beginning with a letter."
            )
        if self.dataset_name != NAME and self.dataset_name in sources():
            raise BuildError(
                f"--name {self.dataset_name!r} is the name of another source; choose another."
            )
        if self.class_from not in (None, "subfolder"):
            raise BuildError(f"--class_from is {self.class_from!r}: only 'subfolder' is known.")
        if self.domain is not None and self.domain not in DOMAINS:
            raise BuildError(f"--domain is {self.domain!r}: choose from {', '.join(DOMAINS)}.")
        try:
            re.compile(self.case_from)
        except re.error as error:
            raise BuildError(
                f"--case_from {self.case_from!r} is no regular expression: {error}."
            ) from error


class Builder(VideoDatasetBuilder):
    """Your own videos: a folder tree, classes from subfolders or a CSV, split by case."""

    BUILDER_CONFIGS: ClassVar[list[VideoConfig]] = [VideoFolderConfig()]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put your videos into the folder, in any tree of subfolders."

    def __init__(self, *, config=None, **kwargs):
        # TFDS takes the name from the module; here it is the user's.
        self.name = config.dataset_name if isinstance(config, VideoFolderConfig) else NAME
        self._scanned: tuple[list[Path], Table | None] | None = None
        self._notes: list[tuple[str, str]] = []
        super().__init__(config=config, **kwargs)

    @classmethod
    def add_arguments(cls, parser) -> None:
        parser.add_argument(
            "--name", dest="dataset_name", default=NAME, help="name of the data set"
        )
        parser.add_argument(
            "--labels", metavar="CSV", help="table: path, case_id, split, domain, labels"
        )
        parser.add_argument("--class_from", choices=["subfolder"], help="class = first subfolder")
        parser.add_argument(
            "--case_from", default="stem", help="stem (default), folder, or a regular expression"
        )
        parser.add_argument("--domain", choices=DOMAINS, help="domain of all videos")
        parser.add_argument(
            "--split", help="train,val,test fractions (default 0.8,0.1,0.1) or none: all in train"
        )
        parser.add_argument("--seed", type=int, default=0, help="of the split")
        parser.add_argument(
            "--pseudonyms", metavar="KEYFILE", help="store keyed hashes of file and case names"
        )
        parser.add_argument(
            "--blank", metavar="BOXES", help='parts stored black, such as "0,0,1,0.08;0.8,0.9,1,1"'
        )

    @classmethod
    def config_from_arguments(cls, args) -> VideoFolderConfig:
        if args.config is not None:
            raise BuildError(
                "video_folder has no configurations; its options make one (see --help)."
            )
        return VideoFolderConfig(
            dataset_name=args.dataset_name,
            labels=args.labels,
            class_from=args.class_from,
            case_from=args.case_from,
            domain=args.domain,
            split=_fractions(args.split),
            seed=args.seed,
            pseudonyms=args.pseudonyms,
            blank=read_boxes(args.blank),
        )

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
            classes = {class_of(path.relative_to(self.manual_dir)) for path in videos} - {None}
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
        self.skipped += self._notes
        config, items, unnamed = self.builder_config, [], []
        for path in videos:
            relative = path.relative_to(manual_dir)
            name = safe_text(relative.as_posix())
            rows = table.videos.get(name) if table else None
            if table and table.has_split and (rows is None or rows.split is None):
                self.skipped.append(
                    (
                        safe_text(path),
                        f"has no split in {safe_text(config.labels)}, which assigns them",
                    )
                )
                continue
            rows = rows or VideoRows()
            if not rows.case_id:
                unnamed.append(relative)
            extra = {"labels": dict(rows.labels), "intervals": dict(rows.intervals)}
            if config.class_from and class_of(relative) is not None:
                extra["labels"]["class"] = class_of(relative)
            items.append(
                VideoItem(
                    video_id=name,
                    case_id=rows.case_id or case_of(relative, config.case_from),
                    split=rows.split or "",
                    domain=rows.domain or config.domain,
                    path=path,
                    extra=extra,
                )
            )
        if config.case_from == "stem":
            check_stems(unnamed)
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
        fractions = dict(zip(SPLITS, config.split or (0.8, 0.1, 0.1), strict=True))
        split_of = split_by_case((item.case_id for item in items), fractions, config.seed)
        return [dataclasses.replace(item, split=split_of[item.case_id]) for item in items]

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        names, tracks = self.video_label_names(), {}
        for column, spans in item.extra["intervals"].items():
            starts, ends, classes = zip(*spans, strict=True)
            ids = [self.tracks()[column].index(name) for name in classes]
            tracks[column] = Intervals(starts, ends, ids)
        return OpenedVideo(
            path=item.path,
            tracks=tracks,
            video_labels={
                column: names[column].index(name) for column, name in item.extra["labels"].items()
            },
        )

    def _scan(self, manual_dir: Path | None = None) -> tuple[list[Path], Table | None]:
        """The videos and the table, read once; TFDS asks early, for the classes."""
        manual_dir = manual_dir or self.manual_dir
        config = self.builder_config
        if manual_dir is None:
            if config.labels or config.class_from:
                raise BuildError("video_folder with labels or class_from needs manual_dir=...")
            return [], None
        if self._scanned is None:
            videos = find_videos(
                manual_dir, lambda path, why: self._notes.append((safe_text(path), why))
            )
            table = None
            if config.labels:
                names = [safe_text(path.relative_to(manual_dir).as_posix()) for path in videos]
                table = read_table(Path(config.labels), names)
            self._scanned = videos, table
        return self._scanned


def _fractions(text: str | None) -> tuple[float, float, float] | None:
    if text is None:
        return None
    if text == "none":
        return 1.0, 0.0, 0.0
    try:
        train, val, test = (float(part) for part in text.split(","))
        split_by_case([], {"train": train, "val": val, "test": test})
    except ValueError as error:
        raise BuildError(
            f"--split {text!r}: give three fractions that add up to 1, such as 0.8,0.1,0.1, or "
            f"none ({error})."
        ) from error
    return train, val, test
