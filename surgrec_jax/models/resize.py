"""Positions for another clip than an encoder was trained on.

Fixed tables and rotary coordinates are functions of the token grid, and so need only another
architecture; the learned table of an image encoder is resampled.
"""

import dataclasses
from typing import Any

import jax
import numpy as np

from surgrec_jax.models.presets import ViTConfig
from surgrec_jax.safety.errors import ConfigError

# "interpolate": positions keep their range; "extend": they go on beyond it.
METHODS = ("interpolate", "extend")
# How DINOv2's code resizes its table. With registers it filters (antialias, a = -0.5), without it
# does not (a = -0.75) and adds 0.1 to the new grid where it maps cells; transformers' port leaves
# the 0.1 out.
BICUBIC = {
    "antialiased": "bicubic, antialiased",
    "offset": "bicubic (a = -0.75), new grid + 0.1",
    "plain": "bicubic (a = -0.75)",
}
OFFSET = 0.1


def can_extend(encoder: ViTConfig) -> bool:
    """Whether positions can go on: not with a fixed or relative range, nor as a learned table."""
    return encoder.position_grid is None and encoder.position not in ("learned_2d", "rope_2d")


def bicubic_of(encoder: ViTConfig, family: str | None) -> str:
    """The name in `BICUBIC` of the way in which an encoder's own code resizes its learned table.

    Args:
        family: of the file that was imported ("dinov2", "hf_dinov2"); None for a trained one.
    """
    if encoder.prefix_tokens > 1:
        return "antialiased"
    return "offset" if family == "dinov2" else "plain"


def resized(
    encoder: ViTConfig, clip: tuple[int, int, int], method: str, family: str | None = None
) -> tuple[ViTConfig, str]:
    """The same encoder for another clip.

    Args:
        clip: (frames, height, width).
        method: one of `METHODS`; "extend" where `can_extend` holds.
        family: see `bicubic_of`.

    Returns:
        The architecture, and the method in words for the record.

    Raises:
        ConfigError: a method that is not one of `METHODS`, or "extend" where positions cannot go
            on.
        ValueError: a clip that does not divide into tubelets and patches.
    """
    if method not in METHODS:
        raise ConfigError(f"positions cannot be resized by {method!r}: choose from {METHODS}")
    if method == "extend" and not can_extend(encoder):
        raise ConfigError(
            f"positions of the kind {encoder.position} cannot go on (extend): interpolate them"
        )
    frames, *size = clip
    larger = dataclasses.replace(encoder, num_frames=frames, image_size=tuple(size))
    if encoder.position == "learned_2d":
        return larger, BICUBIC[bicubic_of(encoder, family)]
    if encoder.position == "rope_2d":
        return larger, "none: coordinates are relative to the frame"
    if method == "interpolate" and larger.grid != encoder.grid:
        grid = encoder.position_grid or encoder.grid
        return dataclasses.replace(larger, position_grid=grid), method
    return larger, method


def resize_params(
    params: dict[str, Any], encoder: ViTConfig, larger: ViTConfig, family: str | None = None
) -> dict[str, Any]:
    """The parameters of an encoder for the clips of `larger`, which `resized` gave."""
    if encoder.position != "learned_2d":
        return params
    how = bicubic_of(encoder, family)
    table = resize_table(np.asarray(params["position"]), encoder.grid[1:], larger.grid[1:], how)
    return params | {"position": table}


def resize_table(
    table: np.ndarray, old: tuple[int, int], new: tuple[int, int], how: str
) -> np.ndarray:
    """A table [1 + h w, D] on another grid; the row of the CLS token is kept.

    Args:
        how: a name of `BICUBIC`.
    """
    if old == new:
        return table
    cells = table[1:].reshape(*old, -1)
    if how == "antialiased":
        shape = (*new, cells.shape[-1])
        cells = np.asarray(jax.image.resize(cells, shape, method="cubic", antialias=True))
    else:
        offset = OFFSET if how == "offset" else 0.0
        rows, columns = (cubic(o, n, (n + offset) / o) for o, n in zip(old, new, strict=True))
        cells = np.einsum("ro,cp,opd->rcd", rows, columns, cells.astype(np.float64))
    return np.concatenate([table[:1], cells.reshape(-1, table.shape[-1]).astype(np.float32)])


def cubic(old: int, new: int, scale: float) -> np.ndarray:
    """[new, old] weights of cubic convolution (Keys 1981 with a = -0.75, torch's bicubic).

    Cell centres are aligned by `scale`, and borders repeated.
    """
    a = -0.75
    where = (np.arange(new) + 0.5) / scale - 0.5
    low = np.floor(where).astype(int)
    weights = np.zeros((new, old))
    for step in (-1, 0, 1, 2):
        x = np.abs(where - (low + step))
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((x - 5) * x + 8) * x * a - 4 * a
        column = np.clip(low + step, 0, old - 1)
        np.add.at(weights, (np.arange(new), column), np.where(x <= 1, near, far))
    return weights
