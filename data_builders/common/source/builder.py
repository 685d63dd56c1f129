"""The base class of all sources: an ordinary TFDS builder whose subclasses list and open videos."""

import abc
import dataclasses
import functools
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from absl import logging

from data_builders.common.labels import label_counts
from data_builders.common.labels.tracks import Extent
from data_builders.common.source import download
from data_builders.common.source.drop_duplicates import without_listed
from data_builders.common.source.examples import Declared, example_of
from data_builders.common.source.items import (
    Hooks,
    OpenedVideo,
    VideoConfig,
    VideoItem,
    check_listed,
)
from data_builders.common.source.published import NAME as PUBLISHED
from data_builders.common.source.published import published_config
from data_builders.common.source.seeded_splits import deal
from data_builders.common.video.filters import out_of_body, out_of_body_classes
from data_builders.common.video.frame_labels import FrameLabels
from data_builders.common.video.frames import ReadReport
from data_builders.common.video.images import check_links
from data_builders.common.video.segments import cut_video
from surgrec_jax.records.errors import BadInput, BuildError, safe_text
from surgrec_jax.records.schema import RecordSpec

__all__ = ["Extent", "OpenedVideo", "VideoConfig", "VideoDatasetBuilder", "VideoItem"]


class VideoDatasetBuilder(Hooks, tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A source of surgical video.

    A subclass is called `Builder`, stands in `data_builders/<name>/<name>_dataset_builder.py` and
    gives

      * TRACKS and VIDEO_LABELS (or the methods `tracks` and `video_label_names`, when the classes
        depend on the data), class names in id order, and DOMAIN;
      * `list_videos`: what there is, cheaply;
      * `open_video`: the file and the labels of one video.

    Reading, cutting, aligning labels, encoding and writing are done here and in this package's
    modules. A source of the published SurgRec benchmark gets the configuration `surgrec_v1` too.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar[list[VideoConfig]] = [
        VideoConfig(description="64 JPEG frames a record, 8 fps, short side 256.")
    ]
    DOMAIN: ClassVar[str | None] = None  # of all videos, where the source has one

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)  # TFDS gives the class its name here
        published = published_config(cls.name)
        if published is not None:
            cls.BUILDER_CONFIGS = [*cls.BUILDER_CONFIGS, published]

    def __init__(self, *, manual_dir: str | Path | None = None, **kwargs):
        """As any TFDS builder; `manual_dir` is the user's download, where the source has one."""
        self.manual_dir = Path(manual_dir) if manual_dir is not None else None
        self.skipped: list[tuple[str, str]] = []  # (path, reason) noted while listing
        self.notes: list[str] = []  # sentences about the source as a whole, noted while listing
        self.remarks: list[str] = []  # about how the user's files were read, noted while listing
        self.duplicates_dropped = 0  # videos left out while listing
        self.earlier: Mapping[str, str] = {}  # case -> split in the build before (`build`)
        self.elsewhere: Path | None = None  # the folder of what `manual_dir` was seen to lack
        super().__init__(**kwargs)
        self._original_state["manual_dir"] = manual_dir  # for pickling, as TFDS does it

    # A subclass gives these.

    @abc.abstractmethod
    def list_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        """All videos of the source in a fixed order, without decoding any.

        Raises:
            BuildError: the folder is missing, empty or not this source; names what was expected.
        """

    def item(self, name: str, path: Path | None, split: str = "", *, case: str = "", **extra):
        """A `VideoItem` in DOMAIN, which is a case of its own where `case` names none."""
        return VideoItem(name, case or name, split, self.DOMAIN, path, extra)

    # For `list_videos`; see `download`.
    find_files = download.find_files
    shared = download.shared
    in_split = download.in_split
    split_items = download.split_items

    def deal(self, items: Iterable[VideoItem], **options: Any) -> list[VideoItem]:
        """The items with seeded splits (`seeded_splits.deal`); cases keep those that they had."""
        return deal(items, earlier=self.earlier, **options)

    def leave_out(self, path: Path, reason: str) -> None:
        """Lists a file that `list_videos` leaves out, and why."""
        self.pass_over(BadInput(path, safe_text(reason)))

    def pass_over(self, error: BadInput) -> None:
        """Lists a file, or a row of one, that is at fault and that `list_videos` leaves out."""
        self.skipped.append((error.where, error.reason))

    def open_video(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """The file and labels of one video. `scratch_dir` is empty and removed afterwards.

        Raises:
            BadInput: the video or an annotation cannot be used; the build skips and lists the
                video.
        """
        del scratch_dir
        if item.path is None:
            raise NotImplementedError(f"{self.name}: items without a path need open_video().")
        return OpenedVideo(path=item.path)

    def inputs(self, item: VideoItem) -> list[Path]:
        """Files whose change makes a finished shard stale: the video and all of `item.extra`."""
        annotations = [value for value in item.extra.values() if isinstance(value, Path)]
        return ([] if item.path is None else [item.path]) + annotations

    @classmethod
    def add_arguments(cls, parser) -> None:
        """Adds the source's own command-line options to an argparse group."""
        if PUBLISHED in cls.builder_configs:
            about = f"with --config {PUBLISHED}: your copy of the published split files"
            parser.add_argument("--splits_dir", help=about)

    @classmethod
    def config_from_arguments(cls, args) -> "str | VideoConfig | None":
        """The configuration that the command line asks for; extend it with `add_arguments`."""
        splits_dir = getattr(args, "splits_dir", None)
        if args.config == PUBLISHED and PUBLISHED in cls.builder_configs:
            return dataclasses.replace(cls.builder_configs[PUBLISHED], splits_dir=splits_dir)
        if splits_dir is not None:
            raise BuildError(f"--splits_dir is given without --config {PUBLISHED}.")
        return args.config

    def dealt_by(self) -> dict[str, Any] | None:
        """The "fractions" and "seed" of dealt splits; {} under a table, None for fixed ones."""
        return None

    # The base class does the rest.

    @functools.cached_property
    def hooks(self):
        """Whose `tracks`, `list_videos`, `open_video` and so on count; see VideoConfig.hooks."""
        return self.builder_config.hooks(self)

    @property
    def record_spec(self) -> RecordSpec:
        return self.builder_config.record

    def _create_builder_config(self, builder_config, version):
        # TFDS wants another name for a configuration object that differs from a registered one.
        # Here the build's fingerprint tells them apart, and the user keeps the name.
        if isinstance(builder_config, VideoConfig):
            return builder_config
        return super()._create_builder_config(builder_config, version)

    def _info(self) -> tfds.core.DatasetInfo:
        info = self.dataset_info_from_configs(features=Declared.of(self.hooks).features())
        # TFDS would look for the data set in its own bucket, and leave an empty folder behind.
        info.initialize_from_bucket = lambda: None
        return info

    def checked_videos(self, manual_dir: Path | None) -> list[VideoItem]:
        """`list_videos` with its promises checked.

        Raises:
            BuildError: nothing listed, `check_listed` or `without_listed` find fault.
        """
        for noted in (self.skipped, self.notes, self.remarks):
            noted.clear()
        self.elsewhere = None
        try:
            items = self.hooks.list_videos(manual_dir)
        except BuildError as error:
            raise BuildError(f"{error}{self.other_folder()}") from error
        if not items:
            raise BuildError(f"{self.name}: no videos in {safe_text(manual_dir or '(none)')}.")
        check_listed(self.name, items, self.hooks.ALLOW_SHARED_CASES)
        if self.builder_config.duplicates is not None:
            title, before = f"{self.name}/{self.builder_config.name}", len(items)
            items = without_listed(items, Path(self.builder_config.duplicates), title)
            self.duplicates_dropped = before - len(items)
        return items

    def other_folder(self) -> str:
        """For an error: a sentence about which folder to give instead, where that is known."""
        where = self.elsewhere and safe_text(self.elsewhere)
        return f" What is missing lies beside it: give --manual_dir {where}." if where else ""

    def opened(self, item: VideoItem, scratch_dir: Path) -> OpenedVideo:
        """`open_video`; refuses folders of pictures that are links out of the download."""
        opened = self.hooks.open_video(item, scratch_dir)
        parts = (opened.path, *opened.more) if opened.path == item.path else ()
        for path in filter(Path.is_dir, parts):
            check_links(path, self.manual_dir or path)
        return opened

    def records(
        self, item: VideoItem, report: ReadReport, scratch_root: Path | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The records of one video, in order, as (key, example). Memory is bounded by one record.

        Args:
            item: the video.
            report: filled while reading.
            scratch_root: where `open_video` gets its scratch folder; the system's place by default.

        Raises:
            BadInput: the video cannot be used (possibly after some records were given).
        """
        declared = Declared.of(self.hooks)
        with tempfile.TemporaryDirectory(prefix="surgrec_", dir=scratch_root) as scratch:
            opened = self.opened(item, Path(scratch))
            whole = declared.checked(self.name, item, opened)
            along = FrameLabels(opened.maps, opened.boxes)
            segments = cut_video(
                opened.path,
                self.record_spec,
                report=report,
                more=opened.more,
                image_fps=opened.image_fps,
                image_start=opened.image_start,
                filters=self.builder_config.filters,
                outside=out_of_body(opened.tracks, out_of_body_classes(declared.tracks)),
                blank=getattr(self.builder_config, "blank", ()),
                decode_spec=self.builder_config.decode,
                labels=along if opened.maps or opened.boxes else None,
                part=opened.part,
            )
            native_fps = None  # one value for the whole video, whatever is measured later
            for segment in segments:
                native_fps = native_fps or report.native_fps
                example = example_of(self.name, item, segment, native_fps, report)
                labels = declared.labels_along(item, opened, segment)
                step = 1 / min(self.record_spec.fps, native_fps)
                label_counts.add_frames(report.labels, labels, step)
                example |= declared.examples(labels, whole, opened, segment)
                yield f"{item.split}/{item.video_id}/{segment.index:06d}", example
            label_counts.add_video(report.labels, whole)
            report.problems += opened.problems
            length = report.native_fps, report.duration
            report.problems += along.left(max(report.frames_read, round(math.prod(length))))
            report.problems += filter(None, (ext.misfit(*length) for ext in opened.extents))

    # The TFDS way: `tfds build`, `download_and_prepare`.

    def _split_generators(self, dl_manager):
        manual_dir = self.manual_dir
        if manual_dir is None and self.MANUAL_DOWNLOAD_INSTRUCTIONS is not None:
            manual_dir = Path(dl_manager.manual_dir)
        splits: dict[str, list[VideoItem]] = {}
        for item in self.checked_videos(manual_dir):
            splits.setdefault(item.split, []).append(item)
        return {split: self._generate_examples(items) for split, items in splits.items()}

    def _generate_examples(self, items: Sequence[VideoItem]):
        for item in items:
            report = ReadReport()
            try:
                yield from self.records(item, report)
            except BadInput as error:
                report.problems.append(f"skipped or cut short: {error}")
            for problem in report.problems:
                logging.warning("%s: %s: %s", self.name, item.video_id, problem)
