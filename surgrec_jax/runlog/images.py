"""Pictures of what a model does, as PNG contact sheets."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from surgrec_jax.safety import files

GAP, FRAMES, LEAST_SIDE = 2, 8, 96
# Captions: the margin's width, the distance of lines and the font's size, by the height of a row.
MARGIN, LINE, LETTERS, FONT_SIZE = 1.5, 0.18, 15, 0.5 / 96
INK = (40, 40, 40)


def contact_sheet(rows: np.ndarray, captions: Sequence[str] = ()) -> np.ndarray:
    """Lays clips out as a block of rows per clip, time from left to right.

    Args:
        rows: [B, R, T, H, W, 3] uint8, R pictures of each frame. At most FRAMES evenly spaced ones
            of the T frames are shown, enlarged by a whole factor to sides of at least LEAST_SIDE.
        captions: what each of the R rows shows; written on the left of it.

    Returns:
        [height, width, 3] uint8.
    """
    b, r, t, h, w, _ = rows.shape
    shown = rows[:, :, np.linspace(0, t - 1, min(FRAMES, t)).round().astype(int)]
    factor = max(1, -(-LEAST_SIDE // min(h, w)))
    shown = shown.repeat(factor, 3).repeat(factor, 4)
    h, w, columns = h * factor, w * factor, shown.shape[2]
    margin, line = int(MARGIN * h) if captions else 0, int(LINE * h)
    width = margin + columns * (w + GAP) + GAP
    sheet = np.full((b * (r * (h + GAP) + 3 * GAP), width, 3), 255, np.uint8)
    for i in range(b):
        for j in range(r):
            top = i * (r * (h + GAP) + 3 * GAP) + j * (h + GAP) + GAP
            lines = textwrap.wrap(captions[j], LETTERS) if captions else []
            first = top + (h - line * (len(lines) - 2)) // 2
            for number, text in enumerate(lines):
                at, size = (2 * GAP, first + line * number), FONT_SIZE * h
                cv2.putText(
                    sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, INK, 1 + h // 200, cv2.LINE_AA
                )
            for k in range(columns):
                left = margin + k * (w + GAP) + GAP
                sheet[top : top + h, left : left + w] = shown[i, j, k]
    return sheet


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes a picture [H, W, 3] uint8 RGB; the file appears whole or not at all.

    Raises:
        OSError: the file could not be written.
    """
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with files.replacing(path) as file:
        file.write(encoded.tobytes())
