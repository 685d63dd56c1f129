"""A few real frames of every cluster, as pictures inside a page."""

import base64
from collections.abc import Sequence

import cv2
import numpy as np

from surgrec_jax.data.loading.decode import decode_frames
from surgrec_jax.records.source import Source

GAP = 3
_QUALITY = 80


def spread(count: int, size: int) -> np.ndarray:
    """`wanted` of range(count), evenly spaced, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(size, count)).round().astype(np.int64))


def choose_records(rows: np.ndarray, distance: np.ndarray | None, size: int) -> np.ndarray:
    """Records that stand for a leaf: from the one nearest to its centroid to the farthest.

    Args:
        rows: int [n], the leaf's records. distance: float [n] to the centroid, None: in their
            order.
    """
    order = np.arange(len(rows)) if distance is None else np.argsort(distance, kind="stable")
    return rows[order[spread(len(rows), size)]]


def contact_sheet(
    sources: Sequence[Source], offsets: np.ndarray, rows: np.ndarray, height: int, frames: int = 1
) -> str:
    """Puts the middle frames of records `rows` side by side, as a data URI of a JPEG.

    Args:
        frames: of every record, evenly spaced around its middle.

    Raises:
        UndecodableFrameError, DamagedRecordError: a record cannot be read.
    """
    pictures = []
    for row in rows.tolist():
        s = int(np.searchsorted(offsets, row, side="right")) - 1
        stored = sources[s].record(row - int(offsets[s])).frames
        places = [len(stored) * (2 * k + 1) // (2 * frames) for k in range(frames)]
        for frame in decode_frames(stored, places):
            width = max(1, round(frame.shape[1] * height / frame.shape[0]))
            pictures.append(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA))
            pictures.append(np.full((height, GAP, 3), 255, np.uint8))
    sheet = np.concatenate(pictures[:-1], 1)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR), quality)[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()
