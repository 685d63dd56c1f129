"""JPEG bytes to pixels, only for the frames a clip uses."""

from collections.abc import Sequence

import cv2
import numpy as np


class UndecodableFrameError(ValueError):
    """A frame that OpenCV cannot decode; the message names its position in the record."""


def decode_frames(frames: Sequence[bytes], indices: Sequence[int]) -> list[np.ndarray]:
    """Decodes the chosen frames, each once.

    Args:
      frames: encoded images.
      indices: positions in `frames`, possibly repeated (a clip that runs over the end of a short
        segment repeats its last frame).

    Returns:
      One uint8 [H, W, 3] RGB array per index; repeated indices share theirs.

    Raises:
      UndecodableFrameError: bytes that are no image, or frames of different sizes.
    """
    done: dict[int, np.ndarray] = {}
    shape = None
    for i in indices:
        i = int(i)
        if i in done:
            continue
        if not frames[i]:  # cv2.imdecode raises on an empty buffer and returns None on a bad one
            raise UndecodableFrameError(f"frame {i} is empty")
        image = cv2.imdecode(np.frombuffer(frames[i], np.uint8), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise UndecodableFrameError(
                f"frame {i} ({len(frames[i])} bytes) is not a readable image"
            )
        shape = shape or image.shape
        if image.shape != shape:
            raise UndecodableFrameError(
                f"frame {i} measures {image.shape[1]}x{image.shape[0]}, others of its record"
                f" {shape[1]}x{shape[0]}"
            )
        done[i] = image
    return [done[int(i)] for i in indices]
