"""Curation filters: black borders, black and frozen stretches, out-of-body stretches.

Each is a switch of a configuration, off by default, and counted in the build's summary. Frames are
left out, never moved: times and labels of those that stay are what they were, and no record spans a
gap.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import cv2
import numpy as np

from data_builders.common.labels.tracks import Track
from data_builders.common.video.frames import Frame
from surgrec_jax.safety.errors import ConfigError

BLACK = 24  # grey level up to which a pixel counts as black; video black is 16, and noise
THUMB = (32, 32)
STILL = 3  # grey levels that a block of a frozen picture may differ by (compression)


@dataclasses.dataclass(frozen=True)
class FilterSpec:
    """Which filters a build applies.

    Attributes:
        crop_borders: cut black borders off, one box per video (see `borders.find_box`).
        drop_black: leave out stretches of black pictures.
        drop_frozen: leave out stretches in which the picture stands still, except their first
            frame.
        drop_out_of_body: leave out what a label calls out of body (see `out_of_body_classes`).
        min_seconds: black and frozen stretches shorter than this stay.
    """

    crop_borders: bool = False
    drop_black: bool = False
    drop_frozen: bool = False
    drop_out_of_body: bool = False
    min_seconds: float = 1.0

    def __post_init__(self):
        if not 0 <= self.min_seconds < math.inf:
            raise ConfigError(f"FilterSpec.min_seconds is {self.min_seconds!r}: give 0 or more.")

    def switched_on(self) -> list[str]:
        """Names of the filters that are on."""
        return [f.name for f in dataclasses.fields(self) if getattr(self, f.name) is True]


def out_of_body_classes(tracks: Mapping[str, Sequence[str]]) -> dict[str, frozenset[int]]:
    """Which ids of which tracks mean that the camera is outside the patient.

    Either a class called "out_of_body" (spelled with spaces, hyphens or capitals as well), or
    "present" or "outside" in a track of that name.
    """
    found = {}
    for name, classes in tracks.items():
        ids = {k for k, c in enumerate(classes) if _plain(c) == "outofbody"}
        if _plain(name).endswith("outofbody"):
            ids |= {k for k, c in enumerate(classes) if c in ("present", "outside")}
        if ids:
            found[name] = frozenset(ids)
    return found


def out_of_body(
    tracks: Mapping[str, Track], classes: Mapping[str, frozenset[int]]
) -> Callable[[Frame], bool]:
    """Whether a label says of a frame that it is out of body."""

    def outside(frame: Frame) -> bool:
        time, number = np.array([frame.time]), np.array([frame.number])
        return any(
            int(tracks[name].along(time, number)[0]) in ids
            for name, ids in classes.items()
            if name in tracks
        )

    return outside


def is_black(picture: np.ndarray) -> bool:
    """Whether a BGR uint8 picture [H, W, 3] is black but for noise and small text."""
    thumb = cv2.resize(picture, THUMB, interpolation=cv2.INTER_AREA).max(axis=2)
    return float((thumb > BLACK).mean()) < 0.02


def dropped(
    frames: Iterable[Frame],
    spec: FilterSpec,
    counts: dict[str, int],
    outside: Callable[[Frame], bool] | None = None,
) -> Iterator[tuple[Frame, bool]]:
    """Leaves out what the switched-on filters reject.

    Args:
        frames: in time order, as they would be stored.
        spec: the switches; `crop_borders` is not looked at.
        counts: filter -> frames left out so far; added to.
        outside: tells frames out of body.

    Yields:
        (frame, whether frames before it were left out since the last one). At most `min_seconds` of
        frames are held back.
    """
    gap = False
    kind: str | None = None  # of the stretch that `held` may become
    held: list[Frame] = []
    long = False  # whether the stretch is past `min_seconds`
    reference: np.ndarray | None = None  # thumbnail that a frozen stretch began with

    for frame in frames:
        if spec.drop_out_of_body and outside is not None and outside(frame):
            now = "drop_out_of_body"
        elif spec.drop_black and is_black(frame.picture):
            now = "drop_black"
        else:
            now = None
            if spec.drop_frozen:
                thumb = _thumb(frame.picture)
                if reference is not None and np.abs(thumb - reference).max() <= STILL:
                    now = "drop_frozen"
                else:
                    reference = thumb
        if now != kind:
            for one in held:  # too short a stretch
                yield one, gap
                gap = False
            held, kind, long = [], now, now == "drop_out_of_body"
        if now is None:
            yield frame, gap
            gap = False
            continue
        if now != "drop_frozen":
            reference = None
        if not long:
            held.append(frame)
            long = frame.time - held[0].time >= spec.min_seconds - 1e-6
            if not long:
                continue
            counts[now] = counts.get(now, 0) + len(held)
            held = []
        else:
            counts[now] = counts.get(now, 0) + 1
        gap = True
    for one in held:
        yield one, gap
        gap = False


def _thumb(picture: np.ndarray) -> np.ndarray:
    gray = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
    return cv2.resize(gray, THUMB, interpolation=cv2.INTER_AREA).astype(np.int16)


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum())
