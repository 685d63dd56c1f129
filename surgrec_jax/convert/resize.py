"""Positions for another clip than a file was trained on, where that is asked for."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from surgrec_jax.convert.plan import ImportOptions, Plan
from surgrec_jax.models.presets import ViTConfig

# Ways to resize DINOv2's learned table, and how each is recorded. With registers its code filters
# (antialias, a = -0.5), without it does not (a = -0.75) and adds 0.1 to the new grid where it maps
# cells; transformers' port leaves the 0.1 out.
TABLES = {
    "antialiased": "bicubic, antialiased",
    "offset": "bicubic (a = -0.75), new grid + 0.1",
    "plain": "bicubic (a = -0.75)",
}
OFFSET = 0.1


def can_extend(encoder: ViTConfig) -> bool:
    """Whether positions may go on: not where they keep their range whatever the clip's size, nor
    where they are a learned table."""
    return encoder.position_grid is None and encoder.position not in ("learned_2d", "rope_2d")


def resize(plan: Plan, trees: dict[str, Any], options: ImportOptions) -> tuple[ViTConfig, str]:
    """The encoder's architecture at the size asked for, and the method; resizes a learned table.

    Fixed tables and rotary coordinates are functions of the grid: "interpolate" keeps their range
    by naming the original grid in `position_grid`, "extend" lets them go on.
    """
    native, method = plan.encoder, options.resize_method
    if options.resize_to is None:
        return native, "none"
    frames, *size = options.resize_to
    changes: dict[str, Any] = {"num_frames": frames, "image_size": tuple(size)}
    resized = dataclasses.replace(native, **changes)
    if native.position == "learned_2d":
        method = TABLES[plan.table_resize]
        for tree in trees.values():
            table = np.asarray(tree["encoder"]["position"])
            tree["encoder"]["position"] = resize_table(
                table, native.grid[1:], resized.grid[1:], plan.table_resize
            )
    elif native.position == "rope_2d":
        method = "none: coordinates are relative to the frame"
    elif method == "interpolate" and resized.grid != native.grid:
        changes["position_grid"] = native.position_grid or native.grid
        resized = dataclasses.replace(native, **changes)
    return resized, method


def resize_table(
    table: np.ndarray, old: tuple[int, int], new: tuple[int, int], how: str
) -> np.ndarray:
    """A table [1 + h w, D] on another grid; the row of the CLS token is kept.

    Args:
        how: a name of `TABLES`.
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
