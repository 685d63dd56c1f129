"""Clips: which frames of a record they take, and their pixels."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from surgrec_jax.data.loading import transforms
from surgrec_jax.data.loading.augment import RandAugment
from surgrec_jax.data.loading.decode import UndecodableFrameError, decode_frames
from surgrec_jax.records import storage
from surgrec_jax.records.source import DamagedRecordError, Record, Source
from surgrec_jax.safety.errors import ConfigError, UserError

CROPS = ("random_resized", "multi_scale", "center")
LABEL_FRAMES = ("centre", "last")  # the frame of a clip whose label is the clip's
# Seconds; times are stored as float32 seconds of the video, which are 1 ms apart at 4 hours.
TIME_TOLERANCE = 2e-3


@dataclasses.dataclass(frozen=True)
class ClipSpec:
    """The clips that a model sees.

    Attributes:
        frames: number of frames, T.
        fps: frames per second; frame k is the stored frame nearest to start + k / fps.
        size: height and width S in pixels.
        crop: "random_resized" (V-JEPA), "multi_scale" (VideoMAE) or "center".
        scale, ratio: share of the area, and width : height, of random_resized.
        flip: whether half of the clips are mirrored.
        augment: alterations of training clips after the crop, or None.
    """

    frames: int
    fps: float
    size: int
    crop: str = "random_resized"
    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 1.35)
    flip: bool = False
    augment: RandAugment | None = None

    def __post_init__(self):
        if self.crop not in CROPS:
            raise ConfigError(f"crop {self.crop!r} is unknown; choose one of {', '.join(CROPS)}")
        if self.frames < 1 or self.size < 1 or not (0 < self.fps < float("inf")):
            raise ConfigError(
                f"a clip needs frames >= 1, size >= 1 and fps > 0, got {self.frames} frames,"
                f" size {self.size}, {self.fps} fps"
            )
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ConfigError(f"scale must be 0 < low <= high <= 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1] < float("inf"):
            raise ConfigError(f"ratio must be 0 < low <= high, got {self.ratio}")


def clip_of(encoder_clip: tuple[int, int, float]) -> ClipSpec:
    """The clip (frames, side, fps) of an encoder, as evaluations cut it."""
    frames, side, fps = encoder_clip
    return ClipSpec(frames=frames, fps=fps, size=side, crop="center")


def num_starts(times: np.ndarray, clip: ClipSpec) -> int:
    """Number of stored frames at which a clip can start and end in time; at least 1."""
    t = times.astype(np.float64)
    span = (clip.frames - 1) / clip.fps
    return max(1, int(np.searchsorted(t, t[-1] - span + TIME_TOLERANCE, side="right")))


def frame_indices(times: np.ndarray, start: int, clip: ClipSpec) -> np.ndarray:
    """The stored frame nearest in time to each frame of a clip that begins at frame `start`.

    Between two frames equally near, the earlier is taken; past the end of the segment, the last.

    Args:
        times: float32 [N], rising.

    Returns:
        int64 [T].
    """
    return _nearest(times, times[start].astype(np.float64) + np.arange(clip.frames) / clip.fps)


def frames_up_to(times: np.ndarray, last: int, clip: ClipSpec) -> np.ndarray:
    """The stored frames of the clip that ends at frame `last`; the first one fills what is missing.

    Args:
        times: float32 [N], rising.

    Returns:
        int64 [T].
    """
    back = np.arange(clip.frames - 1, -1, -1) / clip.fps
    return np.minimum(_nearest(times, times[last].astype(np.float64) - back), last)


def label_frames(times: np.ndarray, clip: ClipSpec, which: str = "centre") -> np.ndarray:
    """The stored frame at a clip's centre (T // 2) or last frame, by start: int64 [starts]."""
    place = {"centre": clip.frames // 2, "last": clip.frames - 1}[which]
    return _nearest(times, times[: num_starts(times, clip)].astype(np.float64) + place / clip.fps)


def _nearest(times: np.ndarray, targets: np.ndarray) -> np.ndarray:
    t = times.astype(np.float64)
    return np.searchsorted((t[1:] + t[:-1]) / 2 + TIME_TOLERANCE, targets, side="left")


def pick_box(
    rng: np.random.Generator, height: int, width: int, clip: ClipSpec
) -> tuple[transforms.Box, bool]:
    """Draws (box, flip) of one view of a clip."""
    if clip.crop == "random_resized":
        box = transforms.random_resized_crop(rng, height, width, clip.scale, clip.ratio)
    elif clip.crop == "multi_scale":
        box = transforms.multi_scale_crop(rng, height, width)
    else:
        box = transforms.center_crop(height, width)
    return box, bool(clip.flip and rng.random() < 0.5)


class SmallFramesError(UserError, ValueError):
    """The stored frames are smaller than the clip."""


def decode_clip(source: Source, index: int, record: Record, start: int, clip: ClipSpec):
    """Decodes the T frames of a clip, uint8 [H, W, 3] each.

    Raises:
        DamagedRecordError: a frame cannot be decoded.
    """
    return decode_shown(source, index, record, frame_indices(record.times, start, clip))


def decode_shown(source: Source, index: int, record: Record, shown: np.ndarray):
    """Decodes the stored frames `shown`; raises as `decode_clip`."""
    try:
        return decode_frames(record.frames, shown)
    except UndecodableFrameError as e:
        raise DamagedRecordError(f"{source.where(index)}: {e}") from e


def check_size(source: Source, index: int, frames: Sequence[np.ndarray], clip: ClipSpec) -> None:
    """Raises SmallFramesError where the frames of record `index` are smaller than a clip."""
    short = min(frames[0].shape[:2])
    if short < clip.size:
        raise SmallFramesError(
            f"clips of {clip.size} pixels are larger than the stored frames of"
            f" {source.where(index)}, whose short side is {short}: use a clip size of at most"
            f" {short}, or build the data set from larger pictures with a larger --short_side"
            " (builders enlarge nothing)"
        )


def spread(count: int, samples: int) -> list[int]:
    """Chooses at most `samples` evenly spread numbers of 0 to count - 1."""
    return np.unique(np.linspace(0, count - 1, samples).astype(int)).tolist()


def check_sizes(
    source: Source, clip: ClipSpec, samples: int = 32, *, skip: bool = False, patience_s: float = 0
) -> None:
    """Checks the frame size of some records that are spread over the source.

    Args:
        skip: whether to pass over records that cannot be used, unless that is true of all.
        patience_s: see `storage.patiently`.

    Raises:
        DamagedRecordError: a frame cannot be decoded.
        SmallFramesError: see `check_size`.
    """
    one, unusable = dataclasses.replace(clip, frames=1), 0
    records = spread(len(source), samples)
    for index in records:
        try:
            record = storage.patiently(functools.partial(source.record, index), patience_s)
            check_size(source, index, decode_clip(source, index, record, 0, one), clip)
        except (DamagedRecordError, SmallFramesError):
            unusable += 1
            if not skip or unusable == len(records):
                raise
