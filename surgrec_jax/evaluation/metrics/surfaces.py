"""How much of the boundaries of two label maps lies close together.

The boundary of a class is those of its pixels that have one of their four neighbours in another
class, in pixels without truth or outside the picture. A pixel of either boundary is right where
some pixel of the other one is no further away than the tolerance. The normalised surface distance
(Nikolov et al. 2018) is the share of right ones among both boundaries' pixels: the definition of
Seidlitz et al. 2022 and of MONAI's `SurfaceDiceMetric`. DeepMind's library, and MONAI's with
`use_subvoxels`, place boundaries between pixels and give each place a length by its neighbourhood,
which comes to other values.
"""

import functools
from collections.abc import Sequence

import cv2
import numpy as np

TOLERANCE = 1 / 56  # of a map's larger side: two pixels of 112


def surface_parts(
    truth: np.ndarray, prediction: np.ndarray, known: np.ndarray, ids: Sequence[int] | np.ndarray
) -> np.ndarray:
    """Pixels of the two boundaries of each class that are (right, there at all).

    Args:
        truth, prediction: ids [H, W].
        known: bool [H, W], where there is truth; elsewhere neither map has a class.
        ids: of the F classes to look at.

    Returns:
        float64 [F, 2].
    """
    disc = _disc(max(truth.shape) * TOLERANCE)
    parts = np.zeros((len(ids), 2))
    for row, k in enumerate(ids):
        pair = [boundary((values == k) & known) for values in (truth, prediction)]
        counts = [int(np.count_nonzero(edge)) for edge in pair]
        right = 0
        if all(counts):
            near = [cv2.dilate(edge, disc) for edge in pair]
            right = np.count_nonzero(pair[0] & near[1]) + np.count_nonzero(pair[1] & near[0])
        parts[row] = right, sum(counts)
    return parts


def boundary(mask: np.ndarray) -> np.ndarray:
    """The pixels of a mask bool [H, W] that have a neighbour outside it, as uint8 [H, W]."""
    values = mask.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    edge = {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0}
    return values - cv2.erode(values, cross, **edge)


@functools.cache
def _disc(radius: float) -> np.ndarray:
    """All steps no longer than `radius`, uint8 [2 r + 1, 2 r + 1]."""
    radius += 1e-6  # a product of fractions may fall short of a whole number
    most = int(radius)
    y, x = np.mgrid[-most : most + 1, -most : most + 1]
    return (y**2 + x**2 <= radius**2).astype(np.uint8)
