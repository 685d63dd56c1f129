"""Finds black borders around the picture: pillar and letter boxes, and the circle of an endoscope.

One box per video, from frames spread over it, so that a dark moment is not taken for a border.
"""

import itertools
import os
from pathlib import Path

import av
import cv2
import numpy as np

from data_builders.common.video.container import DEFAULT, DecodeSpec, open_file
from data_builders.common.video.decoder import Faults, decode
from data_builders.common.video.filters import BLACK
from data_builders.common.video.images import IMAGE_SUFFIXES, read_picture
from data_builders.common.video.upright import Converter
from surgrec_jax.records.errors import BadInput

SAMPLES = 16
MIN_SHARE = 0.5  # of an edge row or column that must not be black
MIN_SIDE = 0.3  # a box smaller than this part of a side is no border, but a dark video
MIN_CUT = 0.01  # of a side; less is not worth cutting

Box = tuple[int, int, int, int]  # top, bottom, left, right; bottom and right are exclusive


def find_box(path: Path, spec: DecodeSpec = DEFAULT) -> Box | None:
    """The box to cut a video to, in native pixels, or None where there is no border.

    A pixel belongs to the border when it is black in all sampled frames. From the whole picture
    inwards, the edge with the smallest part of pixels that do not is cut until all four edges have
    at least half. A pillar box is thus cut at its border; the circle of radius r of an endoscope is
    cut to the square of half side 0.894 r (there the edge is half black), which leaves black only
    in small corners.

    Raises:
        BadInput: the video cannot be opened.
    """
    bright = None
    for picture in _sampled(path, spec):
        gray = cv2.medianBlur(np.ascontiguousarray(picture.max(axis=2)), 3)
        if bright is None:
            bright = gray
        elif gray.shape == bright.shape:
            bright = np.maximum(bright, gray)
    if bright is None:
        raise BadInput(path, "not one frame could be decoded")
    return box_of(bright > BLACK)


def box_of(content: np.ndarray) -> Box | None:
    """The box for a mask bool [H, W] of pixels that are not always black; see `find_box`."""
    height, width = content.shape
    # Sums over any rectangle in four look-ups.
    total = np.zeros((height + 1, width + 1), np.int64)
    total[1:, 1:] = content.cumsum(axis=0).cumsum(axis=1)

    def share(top, bottom, left, right):
        inside = total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]
        return inside / ((bottom - top) * (right - left))

    top, bottom, left, right = 0, height, 0, width
    while bottom - top >= MIN_SIDE * height and right - left >= MIN_SIDE * width:
        edges = (
            share(top, top + 1, left, right),
            share(bottom - 1, bottom, left, right),
            share(top, bottom, left, left + 1),
            share(top, bottom, right - 1, right),
        )
        worst = int(np.argmin(edges))
        if edges[worst] >= MIN_SHARE:
            cut = max(top, height - bottom) / height, max(left, width - right) / width
            return (top, bottom, left, right) if max(cut) >= MIN_CUT else None
        top, bottom = top + (worst == 0), bottom - (worst == 1)
        left, right = left + (worst == 2), right - (worst == 3)
    return None


def _sampled(path: Path, spec: DecodeSpec):
    """Up to SAMPLES pictures spread over a video or a folder of pictures."""
    if path.is_dir():
        names = sorted(n for n in os.listdir(path) if n.lower().endswith(IMAGE_SUFFIXES))
        for k in range(min(SAMPLES, len(names))):
            name = names[(2 * k + 1) * len(names) // (2 * min(SAMPLES, len(names)))]
            picture = read_picture(path / name)
            if picture is not None:
                yield picture
        return
    found = 0
    with open_file(path, spec) as file:
        converter = Converter(file.stream)
        for k in range(SAMPLES):
            # Nearest key frame or so: which frames exactly does not matter.
            at = file.zero + (2 * k + 1) * file.seconds / (2 * SAMPLES)
            try:
                file.container.seek(round(at / file.stream.time_base), stream=file.stream)
                decoded = next(decode(file, Faults()), None)
                picture = None if decoded is None else converter.picture(decoded.frame)
            except (av.FFmpegError, ValueError):
                continue
            if picture is not None:
                found += 1
                yield picture
    if not found or not file.seconds:  # no usable header: the first frames
        with open_file(path, spec) as file:
            converter = Converter(file.stream)
            for decoded in itertools.islice(decode(file, Faults()), SAMPLES):
                yield converter.picture(decoded.frame)
