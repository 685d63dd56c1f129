"""Pictures of what a model does, as PNG contact sheets."""

from pathlib import Path

import cv2
import numpy as np

from surgrec_jax.safety import files

GAP = 2


def contact_sheet(rows: np.ndarray, *, frames: int = 8, least_side: int = 96) -> np.ndarray:
    """Lays clips out: a block of rows per clip, time from left to right.

    Args:
        rows: [B, R, T, H, W, 3] uint8, R pictures of each frame.
        frames: how many of the T frames are shown, evenly spaced.
        least_side: smaller frames are enlarged by a whole factor to at least this side.

    Returns:
        [height, width, 3] uint8.
    """
    b, r, t, h, w, _ = rows.shape
    shown = rows[:, :, np.linspace(0, t - 1, min(frames, t)).round().astype(int)]
    factor = max(1, -(-least_side // min(h, w)))
    shown = shown.repeat(factor, 3).repeat(factor, 4)
    h, w, columns = h * factor, w * factor, shown.shape[2]
    sheet = np.full((b * (r * (h + GAP) + 3 * GAP), columns * (w + GAP) + GAP, 3), 255, np.uint8)
    for i in range(b):
        for j in range(r):
            top = i * (r * (h + GAP) + 3 * GAP) + j * (h + GAP) + GAP
            for k in range(columns):
                left = k * (w + GAP) + GAP
                sheet[top : top + h, left : left + w] = shown[i, j, k]
    return sheet


def write_png(path: Path, image: np.ndarray) -> None:
    """Writes [H, W, 3] uint8 RGB; the file appears whole or not at all.

    Raises:
        OSError: the file could not be written.
    """
    encoded = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]
    with files.replacing(path) as file:
        file.write(encoded.tobytes())
