"""Descriptors of stored pictures, by which one recording is known again in two data sets.

A descriptor holds the soft signs of the gradients of a small grey thumbnail, and the colours of a
coarse one. It survives another rate, size and JPEG quality; it does not survive another crop, a
mirror image, or a black box over a part of the picture.
"""

import dataclasses
from collections.abc import Collection, Iterator, Sequence

import cv2
import numpy as np

from surgrec_jax.records.prepared import Prepared, decoded_frames

RATE = 4  # described frames a second at most, those at whole seconds always among them
GRID = 10  # cells along a side of the thumbnail whose gradients count
SOFT = 12.0  # grey levels between neighbours from which on a gradient counts fully
COLOURS = 8  # cells along a side of the coarse thumbnail
FLAT = 1.5  # length of a descriptor below which a picture shows nothing (black, white, one colour)
SHORT_SIDE = 64  # pixels; larger pictures are decoded at a half, a quarter or an eighth, in no time
KEYS = 64  # pictures of a video that are looked for in others
NEW = 0.85  # two keys of a video are less alike than that


@dataclasses.dataclass(frozen=True, eq=False)
class DescribedVideo:
    """The described pictures of a stored video, those that show something.

    Attributes:
        video_id, case_id: as stored.
        times: float64 [N], seconds.
        gradients: int8 [N, 2 * GRID * GRID], 127 for a full gradient.
        colours: uint8 [N, 3 * COLOURS * COLOURS].
        keys: int [K], places of at most `KEYS` pictures no two of which are alike.
    """

    video_id: str
    case_id: str
    times: np.ndarray
    gradients: np.ndarray
    colours: np.ndarray
    keys: np.ndarray


def describe(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Gradients and colours of a uint8 picture [H, W, 3]; None for one that shows nothing."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    thumb = cv2.resize(gray, (GRID + 1, GRID + 1), interpolation=cv2.INTER_AREA).astype(np.float32)
    corner = thumb[:-1, :-1]
    both = np.stack([thumb[:-1, 1:] - corner, thumb[1:, :-1] - corner])
    soft = np.clip(both.ravel() / SOFT, -1, 1)
    if np.linalg.norm(soft) < FLAT:
        return None
    colours = cv2.resize(picture, (COLOURS, COLOURS), interpolation=cv2.INTER_AREA)
    return np.round(soft * 127).astype(np.int8), colours.ravel()


def unit(gradients: np.ndarray) -> np.ndarray:
    """Gradients [N, D] as float32 vectors of length 1; the product of two is their likeness."""
    rows = gradients.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)


def described_videos(prepared: Prepared, splits: Collection[str]) -> Iterator[DescribedVideo]:
    """The videos of some splits, one after the other; memory is bounded by one video.

    Raises:
        BuildError: a record cannot be read.
    """
    last: dict[tuple[str, str], int] = {}

    def due(split: str, video_id: str, time: float) -> bool:
        step = int(time * RATE + 1e-3)
        if last.get((split, video_id)) == step:
            return False
        last[split, video_id] = step
        return True

    key, case, rows = None, "", []
    frames = decoded_frames(prepared.directory, due, splits=splits, short_side=SHORT_SIDE)
    for frame in frames:
        if (frame.split, frame.video_id) != key:
            if key is not None:
                yield described_video(key[1], case, rows)
            key, case, rows = (frame.split, frame.video_id), frame.case_id, []
        described = describe(frame.picture)
        if described is not None:
            rows.append((frame.time, *described))
    if key is not None:
        yield described_video(key[1], case, rows)


def described_video(
    video_id: str, case_id: str, rows: Sequence[tuple[float, np.ndarray, np.ndarray]]
) -> DescribedVideo:
    """A video of pictures in order: seconds, and what `describe` gives."""
    times = np.array([time for time, _, _ in rows], np.float64)
    gradients = np.array([g for _, g, _ in rows], np.int8).reshape(len(rows), 2 * GRID**2)
    colours = np.array([c for _, _, c in rows], np.uint8).reshape(len(rows), 3 * COLOURS**2)
    return DescribedVideo(video_id, case_id, times, gradients, colours, _keys(times, gradients))


def _keys(times: np.ndarray, gradients: np.ndarray) -> np.ndarray:
    """Places of pictures from all over a video, each unlike those before it.

    Half of them are taken at whole seconds, where data sets of any rate have the same picture, and
    half between, so that some lie close to a picture of a copy that was cut elsewhere.
    """
    if not len(times):
        return np.zeros(0, np.int64)
    seconds = times[-1] - times[0]
    step = max(0.5 if seconds < KEYS / 4 else 1.0, np.ceil(seconds / (2 * KEYS)))
    steps = np.arange(np.floor(times[0] / step), np.floor(times[-1] / step) + 1)
    grid = np.sort(np.concatenate([steps, steps + 0.625])) * step
    places = np.unique(np.clip(np.searchsorted(times, grid - 1e-3), 0, len(times) - 1))
    vectors = unit(gradients[places])
    kept: list[int] = []
    for place, vector in enumerate(vectors):
        if not kept or (vectors[kept] @ vector).max() < NEW:
            kept.append(place)
    chosen = np.unique(np.linspace(0, len(kept) - 1, min(len(kept), KEYS)).round().astype(int))
    return places[np.array(kept)[chosen]]
