"""Near-duplicate videos across prepared data sets, by perceptual hashes of their frames.

A frame's hash is the sign of the horizontal gradient of its 9 x 8 grey thumbnail (64 bits), which
survives re-encoding, another size and another brightness, but not another crop or a mirror image.
Frames are compared as sets, so that a clip is found in the video it was cut from.
"""

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np

from surgrec_jax.audit.rules import Finding
from surgrec_jax.records.prepared import Prepared, decoded_frames

EVERY = 2.0  # seconds between hashed frames: hashes of one operation table differ by then
DISTANCE = 6  # bits of 64 that two hashes of one picture may differ in
SHARE = 0.5  # share of the shorter video's hashed frames that must be in the other
MIN_FRAMES = 3  # number of frames that must be in the other
FLAT = 8.0  # standard deviation of grey levels below which a thumbnail has no content
BANDS = 4  # pieces of 16 bits; candidates agree in one of them


@dataclasses.dataclass
class HashedVideo:
    """A stored video: its data set's title, split, ids, and uint64 hashes [N], no two the same."""

    title: str
    split: str
    video_id: str
    case_id: str
    hashes: np.ndarray


def frame_hash(picture: np.ndarray) -> int | None:
    """Hashes a uint8 picture [H, W, 3]; returns None for one without content."""
    gray = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    thumb = cv2.resize(gray, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    if thumb.std() < FLAT:
        return None
    bits = (thumb[:, 1:] > thumb[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def hash_videos(prepared: Prepared) -> list[HashedVideo]:
    """Hashes all videos of a data set, a frame every `EVERY` seconds.

    Raises:
        BuildError: a record cannot be read.
    """
    videos: dict[tuple[str, str], HashedVideo] = {}
    hashes: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    last: dict[tuple[str, str], float] = {}

    def due(split: str, video_id: str, time: float) -> bool:
        before = last.get((split, video_id))
        if before is not None and time < before + EVERY - 1e-3:
            return False
        last[split, video_id] = time
        return True

    for frame in decoded_frames(prepared.directory, due):
        key = frame.split, frame.video_id
        if key not in videos:
            empty = np.zeros(0, np.uint64)
            videos[key] = HashedVideo(prepared.title, *key, frame.case_id, empty)
        value = frame_hash(frame.picture)
        if value is not None:
            hashes[key].add(value)
    for key, video in videos.items():
        video.hashes = np.array(sorted(hashes[key]), np.uint64)
    return list(videos.values())


@dataclasses.dataclass(frozen=True, eq=False)
class Duplicate:
    """A video that stands in another one, with the number of its hashed frames found there."""

    video: HashedVideo
    stands_in: HashedVideo
    frames: int

    def finding(self) -> Finding:
        videos = (self.video, self.stands_in)
        where = [f"{v.title}@{v.split} {v.video_id}" for v in videos]
        text = f"{where[0]} is in {where[1]} ({self.frames} of {len(self.video.hashes)} frames)"
        name = " + ".join(dict.fromkeys(v.title for v in videos))
        return Finding("near_duplicates", name, text, self.frames)

    def to_json(self) -> dict[str, Any]:
        """The JSON values that leaving out duplicates reads."""
        out: dict[str, Any] = {"frames": self.frames, "of": len(self.video.hashes)}
        for key in ("video", "stands_in"):
            v = getattr(self, key)
            out[key] = {"data_set": v.title, "split": v.split, "video_id": v.video_id}
        return out


def near_duplicates(videos: Sequence[HashedVideo]) -> Iterator[Duplicate]:
    """Pairs of videos with at least `SHARE` of the shorter one's frames in common.

    Two hashes count as one picture when they differ in at most `DISTANCE` bits and agree in one of
    four pieces of 16 bits (which finds every pair up to 3 bits apart, and most of the others).
    """
    index: dict[tuple[int, int], list[tuple[int, int]]] = collections.defaultdict(list)
    for k, video in enumerate(videos):
        for value in map(int, video.hashes):
            for band in range(BANDS):
                index[band, value >> 16 * band & 0xFFFF].append((k, value))
    matched: dict[tuple[int, int], set[int]] = collections.defaultdict(set)
    for k, video in enumerate(videos):
        for value in map(int, video.hashes):
            for band in range(BANDS):
                for other, candidate in index[band, value >> 16 * band & 0xFFFF]:
                    if other != k and (value ^ candidate).bit_count() <= DISTANCE:
                        matched[k, other].add(value)
    for (k, other), values in sorted(matched.items()):
        first, second = videos[k], videos[other]
        sizes = (len(first.hashes), k), (len(second.hashes), other)
        if min(sizes) == sizes[0] and len(values) >= max(MIN_FRAMES, SHARE * len(first.hashes)):
            yield Duplicate(first, second, len(values))


def find_duplicates(sets: Sequence[Prepared]) -> list[Duplicate]:
    """Finds near-duplicates among data sets, but for pairs of one case of one data set."""
    videos = [video for prepared in sets for video in hash_videos(prepared)]
    return [
        pair
        for pair in near_duplicates(videos)
        if (pair.video.title, pair.video.case_id) != (pair.stands_in.title, pair.stands_in.case_id)
    ]
