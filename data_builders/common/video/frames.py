"""A decoded frame, and the report of what reading a video found."""

import dataclasses
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from data_builders.common.video.boxes import Boxes


class Frame(NamedTuple):
    """One stored frame.

    Its time is in seconds on the container's clock (0 where a player begins), its number in the
    video counts from 0, its picture is BGR uint8 [H, W, 3]. Its label maps, by name, are uint8 or
    uint16 [H, W], its label boxes fractions of it; most frames have none.
    """

    time: float
    number: int
    picture: np.ndarray
    maps: Mapping[str, np.ndarray] | None = None
    boxes: Mapping[str, Boxes] | None = None


@dataclasses.dataclass
class ReadReport:
    """The findings of reading a video, filled while frames are taken; complete at their end.

    Attributes:
        native_fps: frames per second measured from time stamps (fixed when the first record is
            cut).
        native_height, native_width: square pixels, upright.
        header_frames, header_fps, header_seconds: what the header claims (the seconds are those of
            the picture's end); 0 where it claims nothing.
        frames_read, frames_kept: decoded frames, and those given to the caller.
        duration: seconds from the start to the end of the last decoded frame.
        counted: frames, those lost in damaged places included; 0 where unknown.
        lost_at_end: frames that are missing among the last ones, beyond `counted`.
        begins: seconds of the first decoded frame.
        origin: the raw stamp of 0 seconds, in containers whose clock goes on from file to file
            (MPEG streams); NaN in others.
        damaged: places where decoding failed and went on later.
        interlaced: frames that were flagged as interlaced.
        problems: sentences for the build's report; empty for a sound file.
        notes: sentences for the build's report on a sound file: what was chosen or converted.
        filtered: curation filter -> what it did: frames left out, or 1 for a video that was
            cropped.
        labels: what was labelled, see `label_counts`.
    """

    native_fps: float = 0.0
    native_height: int = 0
    native_width: int = 0
    header_frames: int = 0
    header_fps: float = 0.0
    header_seconds: float = 0.0
    frames_read: int = 0
    frames_kept: int = 0
    duration: float = 0.0
    counted: int = 0
    lost_at_end: int = 0
    begins: float = 0.0
    origin: float = math.nan
    damaged: int = 0
    interlaced: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    filtered: dict[str, int] = dataclasses.field(default_factory=dict)
    labels: dict[str, dict[str, dict[str, float]]] = dataclasses.field(default_factory=dict)
