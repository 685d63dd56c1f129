"""Objects that builders and the base class exchange: listed and opened videos, configurations."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from data_builders.common.labels.tracks import Extent, Track
from data_builders.common.video.boxes import LabelBoxes
from data_builders.common.video.container import DecodeSpec
from data_builders.common.video.filters import FilterSpec
from data_builders.common.video.maps import LabelMaps
from surgrec_jax.records.errors import BadInput, BuildError
from surgrec_jax.records.maps import Kind
from surgrec_jax.records.schema import DOMAINS, RecordSpec

_SPLIT_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclasses.dataclass(frozen=True)
class VideoItem:
    """One video of a source, as `list_videos` finds it. Cheap, picklable, hashed for resuming.

    Attributes:
        video_id: unique within its split.
        case_id: the patient or procedure, the unit splits are made on.
        split: name of its split.
        domain: one of records.DOMAINS, or None when unknown.
        path: the video file, or a folder of numbered pictures; None when `open_video` makes it.
        extra: whatever `open_video` needs; plain values only (str, int, float, bool, None, lists,
            dicts, paths): they are part of the fingerprint that tells finished shards from stale
            ones.
    """

    video_id: str
    case_id: str
    split: str
    domain: str | None = None
    path: Path | None = None
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def needed(self, kind: str, name: str) -> Path:
        """The annotation `extra[kind]`.

        Raises:
            BadInput: it was not found; `name` says what it is called.
        """
        path = self.extra.get(kind)
        if path is None:
            where = self.path or self.video_id
            raise BadInput(where, f"has no {kind} annotation (expected {name})")
        return path


@dataclasses.dataclass(frozen=True)
class OpenedVideo:
    """A video ready to be read, with its labels.

    Attributes:
        path: the video file, or a folder of numbered pictures.
        tracks: per-frame labels; a declared track that is missing here is -1 throughout.
        video_labels: ids of per-video labels; a declared one that is missing here is -1.
        image_fps: rate of a folder of pictures, needed there: the picture with number n in its name
            is at (n - image_start) / image_fps seconds.
        image_start: number of the picture at 0 seconds, usually 0 or 1; None takes the lowest.
        extents: annotation files whose length the base class compares with the video; what differs
            by more than TAIL_SECONDS is listed in the build's report.
        problems: sentences for the build's report about annotations that could be used all the
            same.
        more: further files that go on where `path` ends, in order.
        maps: label maps of some frames; a declared one that is missing here has no frame.
        part: the part of the picture that is the video, where a file shows more than one: left,
            top, right, bottom as fractions. Maps and boxes are of the whole picture.
        boxes: label boxes of some frames, as `maps`.
    """

    path: Path
    tracks: Mapping[str, Track] = dataclasses.field(default_factory=dict)
    video_labels: Mapping[str, int] = dataclasses.field(default_factory=dict)
    image_fps: float | None = None
    image_start: int | None = 0
    extents: Sequence[Extent] = ()
    problems: Sequence[str] = ()
    more: Sequence[Path] = ()
    maps: Mapping[str, LabelMaps] = dataclasses.field(default_factory=dict)
    part: tuple[float, float, float, float] | None = None
    boxes: Mapping[str, LabelBoxes] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(eq=False, kw_only=True)
class VideoConfig(tfds.core.BuilderConfig):
    """A TFDS configuration with settings of decoding, storage and curation filters.

    Subclass it for more settings.
    """

    name: str = "default"
    record: RecordSpec = dataclasses.field(default_factory=RecordSpec)
    filters: FilterSpec = dataclasses.field(default_factory=FilterSpec)
    decode: DecodeSpec = dataclasses.field(default_factory=DecodeSpec)
    duplicates: str | None = None  # an audit's list of near-duplicates to leave out

    def hooks(self, builder):
        """The object that lists and opens videos and names classes: `builder`, or a substitute."""
        return builder


class Hooks:
    """What a source declares; the base of builders, and of their substitutes (`VideoConfig.hooks`).

    Its subclasses have `list_videos` and `open_video` too.
    """

    TRACKS: ClassVar[Mapping[str, Sequence[str]]] = {}
    VIDEO_LABELS: ClassVar[Mapping[str, Sequence[str]]] = {}
    MAPS: ClassVar[Mapping[str, Kind]] = {}  # label maps: name -> classes, or None for depths
    BOXES: ClassVar[Mapping[str, Sequence[str]]] = {}  # label boxes: name -> classes
    ALLOW_SHARED_CASES: ClassVar[bool] = False  # True for published splits that share cases only

    def tracks(self) -> Mapping[str, Sequence[str]]:
        """Label tracks: name -> class names in id order."""
        return self.TRACKS

    def video_label_names(self) -> Mapping[str, Sequence[str]]:
        """Labels of whole videos: name -> class names in id order."""
        return self.VIDEO_LABELS

    def maps(self) -> Mapping[str, Kind]:
        """Label maps: name -> class names in id order, or None for depths."""
        return self.MAPS

    def boxes(self) -> Mapping[str, Sequence[str]]:
        """Label boxes: name -> class names in id order."""
        return self.BOXES


def check_listed(source: str, items: Sequence[VideoItem], allow_shared_cases: bool) -> None:
    """Checks what a builder listed.

    Raises:
        BuildError: a video listed twice, a bad split or domain name, or a case in two splits.
    """
    seen: set[tuple[str, str]] = set()
    split_of: dict[str, str] = {}
    for item in items:
        what = f"{source}: video {item.video_id!r}"
        for text in (item.video_id, item.case_id):
            if not text or not text.isprintable():
                raise BuildError(
                    f"{what} (case {item.case_id!r}) needs a printable video_id and case_id; "
                    "errors.safe_text makes one of any file name."
                )
        if not _SPLIT_NAME.fullmatch(item.split) or item.split == "all":
            raise BuildError(
                f"{what} has split {item.split!r}: use lower-case letters, digits and "
                "underscores (train, val, test)."
            )
        if item.domain is not None and item.domain not in DOMAINS:
            raise BuildError(f"{what} has domain {item.domain!r}: choose from {DOMAINS}.")
        if (item.split, item.video_id) in seen:
            raise BuildError(f"{what} stands twice in split {item.split!r}.")
        seen.add((item.split, item.video_id))
        other = split_of.setdefault(item.case_id, item.split)
        if other != item.split and not allow_shared_cases:
            raise BuildError(
                f"{source}: case {item.case_id!r} stands in the splits {other!r} and "
                f"{item.split!r}; keep every case in one split."
            )
