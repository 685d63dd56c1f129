"""Which videos of a data set stand in another one too, told by their pictures alone.

The pictures of one recording are found again at the same distance in time from each other, whatever
its name, rate, size or JPEG quality, and also where it was cut shorter, or joined to others. Two
operations of one kind look alike in single pictures, but not in several unlike ones in a row.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from surgrec_jax.audit.descriptors import DescribedVideo, unit

LIKENESS = 0.93  # of two pictures of one scene: the same 0.97 to 1, others below 0.88 (docs)
COLOUR = 16  # levels by which a cell of the coarse thumbnail may differ
SAME_TIME = 0.5  # seconds by which distances in time may differ
AT_LEAST = 3  # pictures, no two of them alike, that must be found
SHARE = 0.3  # of the pictures looked for where the two videos run side by side
_AT_ONCE = 32  # videos that are looked through together
_BLOCK = 4096  # pictures that they are compared with together


@dataclasses.dataclass
class Content:
    """The videos of a test split that were compared, by pictures, with another data set.

    Attributes:
        seen: video id -> case id of those that stand in the other data set.
        alike: the same of those that look like one there, and show too few different pictures to be
            known for sure.
        blank: the same of those that show nothing that could be compared.
    """

    seen: dict[str, str] = dataclasses.field(default_factory=dict)
    alike: dict[str, str] = dataclasses.field(default_factory=dict)
    blank: dict[str, str] = dataclasses.field(default_factory=dict)


def compare(tests: Sequence[DescribedVideo], others: Iterable[DescribedVideo]) -> Content:
    """Looks for the videos `tests` among `others`, which are gone through once."""
    content = Content()
    content.blank = {v.video_id: v.case_id for v in tests if not len(v.times)}
    shown = [video for video in tests if len(video.times)]
    keys, whole = _Pictures(shown, keys=True), _Pictures(shown)
    rest = iter(others)
    while several := list(itertools.islice(rest, _AT_ONCE)):
        showing = [video for video in several if len(video.times)]
        if not shown or not showing:
            continue
        found = [(test, sure) for test, _, sure in _found(keys, _Pictures(showing))]
        found += [(test, sure) for _, test, sure in _found(_Pictures(showing, keys=True), whole)]
        for place, sure in found:
            video = shown[place]
            (content.seen if sure else content.alike)[video.video_id] = video.case_id
    for video_id in content.seen:
        content.alike.pop(video_id, None)
    return content


class _Pictures:
    """All pictures of some videos, or their keys, in one table.

    Attributes:
        videos: the videos.
        of: int [N], the place in `videos` of each picture.
        times, gradients, colours: of the pictures.
    """

    def __init__(self, videos: Sequence[DescribedVideo], keys: bool = False):
        self.videos = videos
        places = [v.keys if keys else np.arange(len(v.times)) for v in videos]
        parts = list(zip(videos, places, strict=True))
        self.of = np.repeat(np.arange(len(videos)), [len(chosen) for chosen in places])
        self.times, self.gradients, self.colours = (
            np.concatenate([getattr(video, field)[chosen] for video, chosen in parts])
            if parts
            else np.zeros(0)
            for field in ("times", "gradients", "colours")
        )


def _found(keys: _Pictures, among: _Pictures) -> Iterator[tuple[int, int, bool]]:
    """The places of pairs of videos that share keys, and whether they are surely one recording."""
    key, place = _alike(keys, among)
    if not len(key):
        return
    pairs = keys.of[key] * len(among.videos) + among.of[place]
    order = np.argsort(pairs, kind="stable")
    names, starts = np.unique(pairs[order], return_index=True)
    for name, mine in zip(names, np.split(order, starts[1:]), strict=True):
        first, second = divmod(int(name), len(among.videos))
        count = _in_a_row(
            keys.videos[first],
            among.videos[second],
            key[mine],
            among.times[place[mine]] - keys.times[key[mine]],
        )
        if count:
            yield first, second, count >= AT_LEAST


def _in_a_row(
    video: DescribedVideo, other: DescribedVideo, key: np.ndarray, apart: np.ndarray
) -> int:
    """How many keys of a video are found in the other at one distance in time; 0 where too few.

    Args:
        video, other: the two.
        key: int [N], names of keys found.
        apart: [N], seconds from a key to where it was found.
    """
    wanted, most = video.times[video.keys], 0
    for start in np.unique(np.floor(apart / SAME_TIME)) * SAME_TIME:
        near = (apart >= start) & (apart < start + 2 * SAME_TIME)
        count = len(np.unique(key[near]))
        if count < max(min(AT_LEAST, len(wanted)), most):
            continue
        there = wanted + start + SAME_TIME
        both = (there > other.times[0] - SAME_TIME) & (there < other.times[-1] + SAME_TIME)
        if count >= SHARE * both.sum():
            most = count
    return most


def _alike(keys: _Pictures, among: _Pictures) -> tuple[np.ndarray, np.ndarray]:
    """Places of the pairs of pictures, one of each table, that show the same."""
    vectors, first, second = unit(keys.gradients), [], []
    for begin in range(0, len(among.times), _BLOCK):
        block = slice(begin, begin + _BLOCK)
        pairs = np.nonzero(vectors @ unit(among.gradients[block]).T >= LIKENESS)
        ours, theirs = keys.colours[pairs[0]], among.colours[block][pairs[1]]
        close = np.abs(ours.astype(np.int16) - theirs).max(axis=1, initial=0) <= COLOUR
        first.append(pairs[0][close])
        second.append(pairs[1][close] + begin)
    return np.concatenate(first), np.concatenate(second)
