"""Baselines that every score is read against: the majority class, and PCA of small pixels.

Hand-made features are another one, for `bench ceilings`.

The third one, a random-initialised encoder of the same shape, is
`surgrec_jax.frozen.encoder.random_encoder`.
"""

import dataclasses
import itertools

import cv2
import numpy as np

PIXEL_FRAMES, PIXEL_SIZE, PIXEL_COMPONENTS = 4, 16, 128


def majority_scores(
    labels: np.ndarray, count: int, num_classes: int, multi_label: bool
) -> np.ndarray:
    """Constant scores [count, C] from the training labels.

    Args:
        labels: training labels, int [N] (-1 left out), or int [N, K] of 1, 0, -1 for multi-label.
        count: number of examples to score.
        num_classes: C (= K for multi-label).
        multi_label: True gives the rate of each label, which as a constant has average precision =
            prevalence in the test; False gives class frequencies, whose argmax is the majority
            class (ties: the lower id).
    """
    if multi_label:
        known = labels >= 0
        row = (labels * known).sum(0) / np.maximum(known.sum(0), 1)
    else:
        row = np.bincount(labels[labels >= 0], minlength=num_classes) / max((labels >= 0).sum(), 1)
    return np.broadcast_to(row.astype(np.float64), (count, num_classes)).copy()


def pixels(video: np.ndarray, frames: int = PIXEL_FRAMES, size: int = PIXEL_SIZE) -> np.ndarray:
    """Area-averaged small frames of a clip as a vector in 0..1.

    Args:
        video: uint8 [B, T, H, W, 3].
        frames: about how many stretches of frames are averaged over time (at most T).
        size: side of the small frames.

    Returns:
        float32 [B, min(frames, T) * size * size * 3].
    """
    stretches = np.array_split(np.arange(video.shape[1]), min(frames, video.shape[1]))
    rows = []
    for clip in video:
        small = [
            cv2.resize(
                clip[part].mean(0, dtype=np.float32), (size, size), interpolation=cv2.INTER_AREA
            )
            for part in stretches
        ]
        rows.append(np.stack(small).ravel() / 255.0)
    return np.stack(rows).astype(np.float32)


def handmade(video: np.ndarray) -> np.ndarray:
    """Colours, edges and motion of clips, as one would measure them by hand.

    Colours are a histogram of hue and saturation; edges the strength of eight directions in 4 x 4
    cells; motion the dense optical flow (Farneback 2003) on the same cells: mean, deviation and
    mean size over time, and the spectrum over time of its mean over the picture; and how bright
    each cell is at every temporal frequency.

    Args:
        video: uint8 [B, T, H, W, 3].

    Returns:
        float32 [B, D]; D depends on T alone.
    """
    return np.stack([_handmade(clip) for clip in video]).astype(np.float32)


def _handmade(clip: np.ndarray) -> np.ndarray:
    hsv = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV) for frame in clip]).reshape(-1, 3)
    colours = cv2.calcHist([hsv[None]], [0, 1], None, [12, 4], [0, 180, 0, 256]).ravel()
    grey = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in clip])
    edges = []
    for frame in grey[:: max(1, len(grey) // 2)]:
        dx, dy = (cv2.Sobel(frame, cv2.CV_32F, *d) for d in ((1, 0), (0, 1)))
        strength, angle = cv2.cartToPolar(dx, dy)
        way = (angle * 8 / (2 * np.pi)).astype(int) % 8
        edges.append([_cells(strength * (way == k)) for k in range(8)])
    flows = np.stack(
        [
            cv2.calcOpticalFlowFarneback(a, b, None, 0.5, 2, 9, 2, 5, 1.1, 0)
            for a, b in itertools.pairwise(grey)
        ]
    )  # fmt: skip  [T - 1, H, W, 2]
    moves = np.stack([_cells(flow[..., k]) for flow in flows for k in (0, 1)])
    moves = moves.reshape(len(flows), 2, -1)
    speed = np.stack([_cells(np.hypot(flow[..., 0], flow[..., 1])) for flow in flows])
    swings = np.abs(np.fft.rfft(moves.mean(-1), axis=0))
    light = np.abs(np.fft.rfft(np.stack([_cells(frame) for frame in grey]), axis=0))[1:]
    parts = np.sqrt(colours / len(hsv)), np.log1p(np.mean(edges, 0)), moves.mean(0), moves.std(0)
    parts += speed.mean(0), speed.std(0), swings, np.log1p(light)
    return np.concatenate([np.ravel(part) for part in parts])


def _cells(picture: np.ndarray) -> np.ndarray:
    """Means of 4 x 4 cells of a picture [H, W], float32 [16]."""
    size = {"dsize": (4, 4), "interpolation": cv2.INTER_AREA}
    return cv2.resize(picture.astype(np.float32), **size).ravel()


@dataclasses.dataclass(frozen=True)
class PCA:
    """Principal components fitted on training rows: mean [D], components [K, D] (orthonormal)."""

    mean: np.ndarray
    components: np.ndarray

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """Projects rows [M, D] to [M, K], float32."""
        return ((rows - self.mean) @ self.components.T).astype(np.float32)


def fit_pca(rows: np.ndarray, components: int = PIXEL_COMPONENTS) -> PCA:
    """PCA of rows [N, D] by the smaller Gram matrix; at most min(N - 1, D) components."""
    rows = np.asarray(rows, np.float64)
    mean = rows.mean(0)
    centred = rows - mean
    keep = max(1, min(components, len(rows) - 1, rows.shape[1]))
    if len(rows) < rows.shape[1]:
        _, vectors = np.linalg.eigh(centred @ centred.T)
        basis = vectors[:, ::-1][:, :keep].T @ centred
    else:
        _, vectors = np.linalg.eigh(centred.T @ centred)
        basis = vectors[:, ::-1][:, :keep].T
    norm = np.linalg.norm(basis, axis=1, keepdims=True)
    return PCA(mean, basis / np.maximum(norm, 1e-12))
