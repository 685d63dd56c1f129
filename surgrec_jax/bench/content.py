"""How surely the audit knows a recording again by its pictures, on a prepared data set.

    python -m surgrec_jax.bench content --data_dir DATA --source phantom_surgery/tiny

Likeness of the same picture stored smaller and coarser against that of pictures of different
videos; copies of all videos (a fifth cut off at both ends, a third of the frames left out, smaller,
coarser) that are found; false alarms when every video is looked for among all others; and the time
it takes.
"""

import argparse
import collections
import time
from pathlib import Path

import cv2
import numpy as np

from surgrec_jax.audit.content import COLOUR, LIKENESS, compare
from surgrec_jax.audit.descriptors import (
    DescribedVideo,
    describe,
    described_video,
    described_videos,
    unit,
)
from surgrec_jax.records.prepared import choose_prepared, decoded_frames

SPLITS = ("train", "val", "test")
COPIES = ((0, 40), (64, 60), (48, 40))  # shorter side (0: as it is) and JPEG quality


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `bench content`."""
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--source", default="phantom_surgery", help="name[/config]")


def run(args: argparse.Namespace) -> dict:
    """Measures, and returns the figures by what they are about."""
    (prepared,) = choose_prepared(Path(args.data_dir), [args.source])
    start = time.process_time()
    videos = list(described_videos(prepared, SPLITS))
    spent = time.process_time() - start
    count = sum(len(video.times) for video in videos)
    same, copies = _copies(prepared)
    found = compare(copies, videos)
    start, alarms = time.process_time(), 0
    for place, video in enumerate(videos):
        others = compare([video], videos[:place] + videos[place + 1 :])
        alarms += len(others.seen) + len(others.alike)
    return {
        "videos": len(videos),
        "described pictures": count,
        "CPU ms per picture": 1000 * spent / count,
        "likeness that counts as one picture": LIKENESS,
        "highest likeness of pictures of two videos": _between(videos),
        "lowest likeness of a picture and its copy": {k: min(v[0]) for k, v in same.items()},
        "levels that count as one colour": COLOUR,
        "largest difference of colour of a picture and its copy": {
            k: int(max(v[1])) for k, v in same.items()
        },
        "copies": len(copies),
        "copies found": len(found.seen),
        "copies in doubt": len(found.alike),
        "false alarms": alarms,
        "CPU s of looking for every video among the others": time.process_time() - start,
    }


def _between(videos: list[DescribedVideo]) -> float:
    """The highest likeness of two pictures of different videos."""
    vectors = [unit(video.gradients) for video in videos]
    best = -1.0
    for place, mine in enumerate(vectors):
        for other in vectors[:place]:
            best = max(best, float((mine @ other.T).max(initial=-1.0)))
    return best


def _copies(prepared) -> tuple[dict, list[DescribedVideo]]:
    """Likeness and colours of pictures and copies, and the videos copied at the last of COPIES."""
    same = collections.defaultdict(lambda: ([], []))
    rows, cases, ends = collections.defaultdict(list), {}, {}
    for frame in decoded_frames(prepared.directory, lambda *_: True):
        ends[frame.split, frame.video_id] = frame.time
        cases[frame.split, frame.video_id] = frame.case_id
        number = len(rows[frame.split, frame.video_id])
        original = describe(frame.picture)
        described = None
        for side, quality in COPIES:
            described = describe(_stored(frame.picture, side, quality))
            if original is None or described is None or number % 7:
                continue
            name = f"side {side or 'as it is'}, quality {quality}"
            likeness = float(unit(original[0][None])[0] @ unit(described[0][None])[0])
            same[name][0].append(likeness)
            same[name][1].append(np.abs(original[1].astype(int) - described[1]).max())
        rows[frame.split, frame.video_id].append((frame.time, described))
    copies = []
    for key, pictures in rows.items():
        cut = [
            (t - 0.2 * ends[key], *described)
            for k, (t, described) in enumerate(pictures)
            if k % 3 and described is not None and 0.2 * ends[key] <= t <= 0.8 * ends[key]
        ]
        copies.append(described_video(key[1], cases[key], cut))
    return same, copies


def _stored(picture: np.ndarray, side: int, quality: int) -> np.ndarray:
    if side:
        scale = side / min(picture.shape[:2])
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
