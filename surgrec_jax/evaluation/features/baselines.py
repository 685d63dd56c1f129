"""Baselines that every score is read against: the majority class, and PCA of small pixels.

The third one, a random-initialised encoder of the same shape, is
`surgrec_jax.frozen.encoder.random_encoder`.
"""

import dataclasses

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
